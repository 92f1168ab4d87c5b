"""The audit: an entry for each act of an operator, written before the act, and their list."""
