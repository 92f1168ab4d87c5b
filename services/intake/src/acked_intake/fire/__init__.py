"""Fire the schedules of all tenants: decide due instants, and insert their jobs."""
