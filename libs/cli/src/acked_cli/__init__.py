"""The command line of Acked."""
