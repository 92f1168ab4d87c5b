"""Bulk actions: one command over many jobs, carried out by one gateway at a time."""
