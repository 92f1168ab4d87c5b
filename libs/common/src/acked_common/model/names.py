"""OWNER of the valid names of kinds, batches, keys, schedules, callback endpoints, tenants and clients. Pure."""

import re

KIND_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
BATCH_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Names by which batches are read. Earlier versions accepted `.` and `..` for new ones too."""
NEW_BATCH_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")
"""Names for new jobs. Clients normalize `/batches/.` and `/batches/..` to other paths before they send them."""
IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._:-]{1,255}")
SIGNAL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""As the names of durable calls."""
SCHEDULE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,54}")
"""Shorter than other names, because every job of a schedule has the tag `schedule:` and its name."""
ENDPOINT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,54}")
"""Without dots, because stored fields have it in their names, and as short as the names of schedules."""
TENANT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CLIENT_NAME = TENANT_NAME


def whole(pattern: re.Pattern[str]) -> str:
    """Return the pattern anchored to the whole text, as JSON Schema requires."""
    return f"^{pattern.pattern}$"
