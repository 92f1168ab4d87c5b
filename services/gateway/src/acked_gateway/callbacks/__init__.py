"""Callbacks over HTTP: the deliveries of a job, sending one again, and the secrets that sign them."""
