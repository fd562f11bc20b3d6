"""What a plug-in must pass: conformance suites to inherit."""
