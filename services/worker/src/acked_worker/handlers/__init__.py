"""Finds, imports and registers the kinds that a worker serves."""
