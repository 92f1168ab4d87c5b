"""The worker as an operating system process: signals, forks, output, exit."""
