"""Find, import and register the kinds that a worker serves."""
