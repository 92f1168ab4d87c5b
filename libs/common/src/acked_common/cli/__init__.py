"""Command-line programs behind recipes."""
