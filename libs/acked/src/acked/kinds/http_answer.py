"""Classify a response to `http_call`: a result, a permanent failure, or a retryable one. Pure."""

import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from acked import Permanent, RetryLater, json_values
from acked.json_values import MAX_DEPTH
from acked.kinds.http_body import IncompleteBody, text_of, unpack

MAX_HEADER_CHARS = 1_024
MAX_RETRY_AFTER_S = 3_600
"""The longest wait that a response can request; the error message says if it requested more."""
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
    """The call failed with a retryable error."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response with at most `MAX_BODY_BYTES` of its body. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool


def result_of(answer: HttpResponse) -> dict[str, Any]:
    """Return the job's result: `status`, some `headers`, one of `json`, `body` and `body_base64`, `truncated` if cut.

    `body` is the text decoded by the Content-Type's charset, after gzip and deflate are undone. `json` replaces it if
    the
    text is strict JSON. `body_base64` holds the raw bytes of a body that is not text, or whose content coding is not
    supported. Raise `HttpCallError` for an incomplete body.
    """
    result: dict[str, Any] = {
        "status": answer.status,
        "headers": {
            name: _plain_header(answer.headers[name])[:MAX_HEADER_CHARS]
            for name in KEPT_HEADERS
            if name in answer.headers
        },
    }
    try:
        unpacked = unpack(answer.body, answer.headers.get("content-encoding", ""), truncated=answer.truncated)
    except IncompleteBody as error:
        raise HttpCallError(f"the response is invalid: {error}") from None
    body, truncated = unpacked or (answer.body, answer.truncated)
    if truncated:
        result["truncated"] = True
    content_type = answer.headers.get("content-type", "")
    text = None if unpacked is None else text_of(body, content_type, truncated=truncated)
    if text is None:
        return {**result, "body_base64": b64encode(body).decode()}
    if text and not truncated and _is_json(content_type):
        try:
            # The result object adds one level.
            return {**result, "json": json_values.decode(text.removeprefix("\ufeff"), max_depth=MAX_DEPTH - 1)}
        except ValueError:
            pass
    return {**result, "body": text}


def raise_failure(what: str, answer: HttpResponse, now: datetime) -> None:
    """Raise the error for an unexpected response; `what` names the call, `now` is an aware UTC instant."""
    message = f"{what} returned {answer.status}"
    if answer.status in (429, 503):
        after_s = retry_after_s(answer.headers, now)
        if after_s is not None:
            asked = f"{message} and requested a wait of {after_s:g} s"
            if after_s > MAX_RETRY_AFTER_S:
                asked += f"; the next attempt waits the maximum of {MAX_RETRY_AFTER_S:,} s"
            raise RetryLater(min(after_s, MAX_RETRY_AFTER_S), asked)
    if answer.status in TRANSIENT or answer.status >= 500:
        raise HttpCallError(message)
    if 300 <= answer.status <= 399:
        raise Permanent(f"{message}; redirects are not followed, call the final URL", type="http-redirect")
    raise Permanent(message, type="http-status")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the wait in `Retry-After`: seconds, or a date, which is compared with the response's own `Date`."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        # More than 12 digits are nonsense, and the cap is far below.
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


def _plain_header(value: str) -> str:
    """Decode a non-UTF-8 header as ISO-8859-1: aiohttp returns lone surrogates, which JSON can't represent."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def _is_json(content_type: str) -> bool:
    media_type = content_type.split(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
