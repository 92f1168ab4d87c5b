"""The fingerprint by which two requests with one `Idempotency-Key` are the same. Pure."""

import hashlib
import json
from typing import Any

import msgspec

from acked_common.model.options import DEFAULTS
from acked_intake.accept.submission import Submission

# The standard library's encoder: fingerprints live as long as jobs, so the format of numbers must never change.
# Of all values, only an id is not JSON.
_text_of = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


_PAYLOAD = "payload"
_UNORDERED = frozenset({"tags"})
_APART = frozenset({_PAYLOAD, "options"})
_ASKABLE = tuple(
    (field.name, field.default) for field in msgspec.structs.fields(Submission) if field.name not in _APART
)
"""Each field with its default; `NODEFAULT` equals nothing."""


def fingerprint(submission: Submission) -> bytes:
    """Return 32 bytes that are equal for two equal requests.

    Every field counts, including fields of later versions. A field with its default value does not count, so a new
    field with a default does not change the fingerprints of earlier requests. Two payloads are equal if they have the
    same values; the order of tags does not matter.
    """
    asked: dict[str, Any] = {_PAYLOAD: json.loads(submission.payload.decode())}
    for part, defaults in ((submission, _ASKABLE), (submission.options, DEFAULTS.items())):
        for name, default in defaults:
            value = getattr(part, name)
            if value != default:
                asked[name] = sorted(value) if name in _UNORDERED else _plain(value)
    return hashlib.sha256(_text_of(asked).encode()).digest()


def _plain(value: Any) -> Any:
    """Return a record as its fields, whose names live as long as fingerprints."""
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
