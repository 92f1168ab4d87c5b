"""A text that a test puts into payloads, so that only this run can have returned it."""

import os
import secrets

VARIABLE = "ACKED_TEST_NONCE"
"""Whoever runs a test may give it one from outside."""


def nonce() -> str:
    """Return the nonce of this run, or a random one where none is given."""
    return os.environ.get(VARIABLE) or secrets.token_hex(6)
