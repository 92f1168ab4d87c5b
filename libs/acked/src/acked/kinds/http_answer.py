"""What an answer to `http_call` means: a result, a failure for good, or one worth another try. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from acked import Permanent, RetryLater

MAX_BODY_BYTES = 64 * 1024
MAX_HEADER_CHARS = 1_024
TRANSIENT = frozenset({408, 425, 429})
KEPT_HEADERS = (
    "content-type",
    "content-encoding",
    "date",
    "etag",
    "last-modified",
    "location",
    "request-id",
    "retry-after",
    "x-request-id",
)


class HttpCallError(Exception):
    """The call failed in a way that may pass."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with at most `MAX_BODY_BYTES` of its body. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool


def result_of(answer: Answer) -> dict[str, Any]:
    """The job's result: `status`, a few `headers`, `json` or else `body`, and `truncated` if it was cut."""
    result: dict[str, Any] = {
        "status": answer.status,
        "headers": {name: answer.headers[name][:MAX_HEADER_CHARS] for name in KEPT_HEADERS if name in answer.headers},
    }
    if answer.truncated:
        result["truncated"] = True
    if _is_json(answer):
        try:
            return {**result, "json": msgspec.json.decode(answer.body)}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return {**result, "body": answer.body.decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")}


def raise_failure(what: str, answer: Answer, now: datetime) -> None:
    """Raise what an answer that wasn't expected means; `what` names the call, `now` is an aware UTC instant."""
    message = f"{what} answered {answer.status}"
    if answer.status in (429, 503):
        after_s = retry_after_s(answer.headers, now)
        if after_s is not None:
            raise RetryLater(after_s, f"{message} and asked to wait {after_s:g} s")
    if answer.status in TRANSIENT or answer.status >= 500:
        raise HttpCallError(message)
    if 300 <= answer.status <= 399:
        raise Permanent(f"{message}; redirects are not followed, call the final URL", type="http-redirect")
    raise Permanent(message, type="http-status")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The wait that `Retry-After` asks for: seconds, or a date, which is compared with the answer's own clock."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # Longer ones than 12 digits are nonsense and the cap is far below.
        return float(text[:12])
    due_at = _date(text)
    if due_at is None:
        return None
    seconds = (due_at - (_date(headers.get("date", "")) or now)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def _is_json(answer: Answer) -> bool:
    media_type = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    is_json = media_type == "application/json" or media_type.endswith("+json")
    return is_json and bool(answer.body) and not answer.truncated
