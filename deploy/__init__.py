"""How Acked is run."""
