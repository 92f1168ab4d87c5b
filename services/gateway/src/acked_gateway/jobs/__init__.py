"""Jobs and batches over HTTP, and the commands of operators."""
