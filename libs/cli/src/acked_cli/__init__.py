"""The command line of Acked: `acked`."""
