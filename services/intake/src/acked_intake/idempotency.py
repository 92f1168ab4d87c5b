"""The header `Idempotency-Key`, and what makes two requests the same one. Pure."""

import hashlib
import json
from collections.abc import Iterable

from acked_common.names import IDEMPOTENCY_KEY
from acked_common.problems import ProblemError, problem
from acked_intake.submission import Submission

HEADER = b"idempotency-key"

# The standard library's writer: its numbers and escapes stay as they are, and fingerprints live as long as jobs.
_text_of = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


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


def fingerprint(submission: Submission) -> bytes:
    """32 bytes that are equal where two requests ask for the same.

    Only what was asked for counts, so that a field of a later version leaves the fingerprints of now as they are. Two
    payloads are the same where they hold the same values; tags are in no order.
    """
    asked = {
        "kind": submission.kind,
        "payload": json.loads(submission.payload.decode()),
        "delay_s": submission.delay_s or None,
        "batch": submission.batch,
        "tags": sorted(submission.tags) or None,
        "max_attempts": submission.max_attempts,
        "timeout_s": submission.timeout_s,
        "expires_in_s": submission.expires_in_s,
    }
    named = {name: value for name, value in asked.items() if value is not None or name == "payload"}
    return hashlib.sha256(_text_of(named).encode()).digest()


def _bad_key(why: str) -> ProblemError:
    detail = f"an Idempotency-Key has 1 to 255 of the characters A-Z, a-z, 0-9, '.', '_', ':' and '-', and {why}"
    return ProblemError(problem("bad-idempotency-key", f"{detail}. Nothing was stored"))
