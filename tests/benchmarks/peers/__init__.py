"""The peers, each behind the same endpoint. Runs in an environment of its own: imports nothing of the product."""
