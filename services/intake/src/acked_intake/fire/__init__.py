"""Fire the schedules of all tenants: decide what is due, and insert its jobs."""
