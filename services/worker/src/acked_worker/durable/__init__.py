"""Durable calls: the ledger work of a worker's attempts, in groups, and the bridge from their handlers to it."""
