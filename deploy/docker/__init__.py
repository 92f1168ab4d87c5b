"""Acked in containers on one machine, through Docker Compose."""
