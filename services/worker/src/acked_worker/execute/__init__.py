"""Runs handlers away from the plumbing loop."""
