"""Schedules as clients define them and operators act on them. Intake fires them."""
