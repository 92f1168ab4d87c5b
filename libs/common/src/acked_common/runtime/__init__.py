"""The base of every process: settings, logs, the clock, start and stop, failpoints."""
