"""What needs attention: failed jobs by group of errors, and what people note on a group."""
