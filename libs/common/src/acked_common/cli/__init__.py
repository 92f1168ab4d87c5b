"""Command-line programs that recipes call."""
