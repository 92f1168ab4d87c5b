"""The worker: claims jobs, runs their handlers, records the outcome."""
