"""Reports to gateways over the worker channel."""
