"""What all commands share: options, the client, exit codes, error messages."""
