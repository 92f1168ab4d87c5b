"""What every process needs: settings, logs, the clock, start and stop, failpoints."""
