"""Table look-ups as trials, and official benchmark files as such tables."""
