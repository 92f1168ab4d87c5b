"""Run handlers separately from the plumbing loop."""
