"""Read the body of a request, bounded in size, and check its media type.

The server's protocol (`acked_common.http.server.protocol`) bounds the time, for every route.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from acked_common.api.routes import LINES
from acked_common.http.idempotency_key import HEADER
from acked_common.http.limits import UNCOUNTED_BYTES, HeldBytes
from acked_common.http.problems import ProblemError, problem
from acked_common.model import strict_json
from acked_intake.request.lines import MAX_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DISCARDED_BYTES = 8 * 2**20
DISCARDED_WITHIN_S = 2.0
_JSON = b"application/json"
_LINES = LINES.encode()
_JSON_WHITESPACE = b" \t\n\r"
_UTF8 = (b"utf-8", b"utf8")
_PLAIN = (b"", b"identity")


class ClientLeft(Exception):
    """The client disconnected before it had sent its whole body, so no response is possible."""


def curl_line(scope: Message) -> str:
    """Return a curl command line with a valid `POST /process`, to copy."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost:8081")
    return f"curl -H 'Content-Type: application/json' -d '{{\"kind\": \"demo\"}}' http://{host}/process"


def is_of_lines(headers: Headers) -> bool:
    """Return whether the body is declared as newline-delimited JSON."""
    # Every request comes here: most are decided by one comparison.
    for name, value in headers:
        if name == b"content-type":
            return value != _JSON and value.partition(b";")[0].strip().lower() == _LINES
    return False


def check_lines(scope: Message) -> None:
    """Check the head of a request with a body of lines. Raises `ProblemError` with 400, 413 or 415."""
    declared_bytes, refusal = _check_headers(scope, _LINES)
    if refusal is not None:
        raise refusal
    if declared_bytes > MAX_BYTES:
        raise _too_large(MAX_BYTES, f"this one has {declared_bytes:,}")
    if any(name == HEADER for name, _ in scope["headers"]):
        detail = "each line has its own idempotency_key, and one for the whole request would mean nothing"
        raise ProblemError(problem("bad-idempotency-key", f"{detail}. Leave out the header. Nothing was stored"))


async def read_body(
    scope: Message, receive: Receive, *, max_bytes: int = strict_json.MAX_BYTES, held: HeldBytes | None = None
) -> bytes:
    """Return the whole body. Raises `ProblemError` with 400, 413, 415 or from `held`, and `ClientLeft`.

    A body must be declared as JSON. It may be empty only if no header shows that the client meant to send one. `held`
    counts a large body, by its declared length before it arrives; the caller releases it.
    """
    declared_bytes, refusal = _check_headers(scope)
    if declared_bytes > max_bytes:
        raise _too_large(max_bytes, f"this one has {declared_bytes:,}")
    if refusal is not None and declared_bytes:
        raise refusal
    if declared_bytes > UNCOUNTED_BYTES and held is not None:
        held.grow_to(declared_bytes)
    # Most bodies have already arrived, in one piece.
    message = await receive()
    body = chunk_of(message)
    if message.get("more_body", False):
        body = await _read_rest(body, receive, max_bytes, held)
    if len(body) > max_bytes:
        raise _too_large(max_bytes, "this one has more")
    if not body.strip(_JSON_WHITESPACE):
        check_empty(scope)
    if len(body) > UNCOUNTED_BYTES and held is not None:
        held.grow_to(len(body))
    if refusal is not None and body:
        raise refusal
    return body


def check_empty(scope: Message) -> None:
    """Raise `ProblemError` if an empty body was lost in transit.

    A client that streams its body sends an empty one if it repeats the request after a lost connection or a redirect.
    """
    for name, value in scope["headers"]:
        if name == HEADER or (name == b"content-type" and b"json" in value.lower()):
            says = "carries an Idempotency-Key" if name == HEADER else "declares a body of JSON"
            line = curl_line(scope)
            detail = (
                f"the request {says}, but its body is empty. Send it with its body; a stream must be read again for "
                f"each try. For a job of kind demo send neither header. Nothing was stored. Try: {line}"
            )
            raise ProblemError(problem("empty-body", detail, extra={"example": line}))


async def discard_rest(receive: Receive) -> None:
    """Discard the rest of a refused body, up to 8 MiB and 2 s, until the client has sent all or disconnects."""
    discarded = 0
    try:
        async with asyncio.timeout(DISCARDED_WITHIN_S):
            while discarded < DISCARDED_BYTES:
                message = await receive()
                discarded += len(chunk_of(message))
                if not message.get("more_body", False):
                    return
    except (TimeoutError, ClientLeft):
        return


async def _read_rest(body: bytes, receive: Receive, max_bytes: int, held: HeldBytes | None) -> bytes:
    collected = bytearray(body)
    while len(collected) <= max_bytes:
        if len(collected) > UNCOUNTED_BYTES and held is not None:
            held.grow_to(len(collected))
        message = await receive()
        collected += chunk_of(message)
        if not message.get("more_body", False):
            break
    return bytes(collected)


def chunk_of(message: Message) -> bytes:
    """Return the part of the body in a message of the server. Raises `ClientLeft`."""
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    return body


def _check_headers(scope: Message, wanted: bytes = _JSON) -> tuple[int, ProblemError | None]:
    """Return the declared length, 0 without one, and the problem to respond with if there is a body."""
    declared_bytes = 0
    media_type: bytes | None = None
    types_seen = 0
    is_encoded = False
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value
            types_seen += 1
        elif name == b"content-length":
            # 18 digits are far beyond every limit; a longer number need not be read.
            declared_bytes = int(value[:18]) if value.isdigit() else 0
        elif name == b"content-encoding" and value.lower() not in _PLAIN:
            is_encoded = True
    if media_type != wanted or types_seen != 1:
        if media_type is None:
            return declared_bytes, _unsupported("the body has no Content-Type", scope)
        if types_seen > 1:
            return declared_bytes, _unsupported("the request has more than one Content-Type", scope)
        if why := _not_json(media_type, wanted):
            return declared_bytes, _unsupported(why, scope)
    if is_encoded:
        return declared_bytes, _unsupported("the body has a Content-Encoding; send it as it is", scope)
    return declared_bytes, None


def _not_json(media_type: bytes, wanted: bytes) -> str | None:
    """Return why a Content-Type is not JSON in UTF-8; None if it is."""
    essence, *parameters = media_type.split(b";")
    if essence.strip().lower() != wanted:
        return f"the body is declared as {media_type[:100].decode('latin-1')!r}, not as application/json"
    for parameter in parameters:
        name, _, value = parameter.strip().partition(b"=")
        if name.strip().lower() == b"charset" and value.strip().strip(b'"').lower() not in _UTF8:
            return "JSON is sent as UTF-8, and the Content-Type names another charset"
    return None


def _unsupported(why: str, scope: Message) -> ProblemError:
    line = curl_line(scope)
    return ProblemError(problem("unsupported-media-type", f"{why}. Try: {line}", extra={"example": line}))


def _too_large(max_bytes: int, how_large: str) -> ProblemError:
    detail = f"a body may have {max_bytes:,} bytes, and {how_large}. Nothing was stored"
    return ProblemError(problem("body-too-large", detail))
