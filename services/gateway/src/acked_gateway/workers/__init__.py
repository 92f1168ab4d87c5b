"""The worker channel and the commands that travel over it."""
