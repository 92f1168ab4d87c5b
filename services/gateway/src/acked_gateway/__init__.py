"""The gateway: status, lists, commands, load tests and pages."""
