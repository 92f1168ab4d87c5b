"""Acked on one machine without containers and without root: private servers, supervised services."""
