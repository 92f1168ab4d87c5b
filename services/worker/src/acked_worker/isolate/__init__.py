"""Runs an attempt alone in a process of its own."""
