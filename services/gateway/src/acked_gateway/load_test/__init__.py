"""The load test: many real calls to the intake, as figures and as a page."""
