"""OWNER of what kinds, batches, idempotency keys, tenants and clients may be called. Pure."""

import re

KIND_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
BATCH_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._:-]{1,255}")
TENANT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CLIENT_NAME = TENANT_NAME


def whole(pattern: re.Pattern[str]) -> str:
    """The pattern as JSON Schema wants it: of the whole text."""
    return f"^{pattern.pattern}$"
