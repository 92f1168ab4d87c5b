"""Bulk actions: one command over many jobs, executed by one gateway at a time."""
