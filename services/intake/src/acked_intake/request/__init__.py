"""Parse and validate `POST /process`."""
