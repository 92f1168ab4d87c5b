"""Tokens over HTTP: what the presented token allows, and the tokens of its tenant."""
