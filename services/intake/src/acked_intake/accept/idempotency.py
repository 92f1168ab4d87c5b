"""The header `Idempotency-Key`, and what makes two requests the same one. Pure."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from acked_common.http.problems import ProblemError, problem
from acked_common.model.names import IDEMPOTENCY_KEY
from acked_common.model.options import DEFAULTS
from acked_intake.accept.submission import Submission

HEADER = b"idempotency-key"

# The standard library's writer: its numbers and escapes stay as they are, and fingerprints live as long as jobs.
# Only an id is no JSON by itself.
_text_of = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that a request carries, None where it carries none. Raises `ProblemError` with 400.

    `"a"` in double quotes, as the draft of the header's standard writes it, is the key `a`.
    """
    found: bytes | None = None
    for name, value in headers:
        if name == HEADER:
            if found is not None:
                raise _bad_key("the request has more than one")
            found = value
    if found is None:
        return None
    text = found.strip(b" \t").decode("latin-1")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if IDEMPOTENCY_KEY.fullmatch(text) is None:
        raise _bad_key(f"this one has {len(text):,}" if len(text) > 255 else "this one is empty or has others")
    return text


_PAYLOAD = "payload"
_UNORDERED = frozenset({"tags"})
_APART = frozenset({_PAYLOAD, "options"})
_ASKABLE = tuple(
    (field.name, field.default) for field in msgspec.structs.fields(Submission) if field.name not in _APART
)
"""Each field with its default; `NODEFAULT` equals nothing."""


def fingerprint(submission: Submission) -> bytes:
    """32 bytes that are equal where two requests ask for the same.

    Every field counts, also one of a later version. A field at its default was not asked for and does not count, so a
    new field with a default leaves the fingerprints of earlier requests as they are. Two payloads are the same where
    they hold the same values; tags are in no order.
    """
    asked: dict[str, Any] = {_PAYLOAD: json.loads(submission.payload.decode())}
    for part, defaults in ((submission, _ASKABLE), (submission.options, DEFAULTS.items())):
        for name, default in defaults:
            value = getattr(part, name)
            if value != default:
                asked[name] = sorted(value) if name in _UNORDERED else value
    return hashlib.sha256(_text_of(asked).encode()).digest()


def _bad_key(why: str) -> ProblemError:
    detail = f"an Idempotency-Key has 1 to 255 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-', and {why}"
    return ProblemError(problem("bad-idempotency-key", f"{detail}. Nothing was stored"))
