"""Loops that run beside requests: the sweeper, the bundle publisher, monitors and caches."""
