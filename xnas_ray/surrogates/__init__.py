"""Models that controllers learn with: Weisfeiler–Lehman features and Gaussian processes over architecture graphs."""
