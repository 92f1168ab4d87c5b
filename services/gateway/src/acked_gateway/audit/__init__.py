"""The audit: who asked for what, written before it is done, and its list."""
