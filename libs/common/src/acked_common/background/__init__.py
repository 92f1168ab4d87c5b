"""Background loops: the sweeper, the bundle publisher, monitors and caches."""
