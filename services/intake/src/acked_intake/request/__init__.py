"""Reads and checks `POST /process`."""
