"""Reads a request's body: bounded in size, of the one media type that is meant, without waste.

Its time is bounded by the server's protocol (`acked_common.http.server.protocol`), for every route.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from acked_common.http.limits import UNCOUNTED_BYTES, HeldBytes
from acked_common.http.problems import ProblemError, problem
from acked_common.model import strict_json
from acked_intake.accept.idempotency import HEADER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = list[tuple[bytes, bytes]]

DISCARDED_BYTES = 8 * 2**20
DISCARDED_WITHIN_S = 2.0
_JSON = b"application/json"
_JSON_WHITESPACE = b" \t\n\r"
_UTF8 = (b"utf-8", b"utf8")
_PLAIN = (b"", b"identity")


class ClientLeft(Exception):
    """The client went away before its whole body was here. Nobody is left to answer."""


def curl_line(scope: Message) -> str:
    """A call of `POST /process` that works, for a person to copy."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost:8081")
    return f"curl -H 'Content-Type: application/json' -d '{{\"kind\": \"demo\"}}' http://{host}/process"


async def read_body(
    scope: Message, receive: Receive, *, max_bytes: int = strict_json.MAX_BYTES, held: HeldBytes | None = None
) -> bytes:
    """The whole body; empty only where nothing says that there was one. Raises `ProblemError` with 400, 413, 415 or
    what `held` raises, or `ClientLeft`.

    A body must be declared as JSON; where there is none, nothing has to be declared. `held` counts a large one, the
    declared part of it before it is here; the caller releases it.
    """
    declared_bytes, refusal = _check_headers(scope)
    if declared_bytes > max_bytes:
        raise _too_large(max_bytes, f"this one has {declared_bytes:,}")
    if refusal is not None and declared_bytes:
        raise refusal
    if declared_bytes > UNCOUNTED_BYTES and held is not None:
        held.grow_to(declared_bytes)
    # Most bodies are here already, in one piece.
    message = await receive()
    body = _chunk(message)
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
    """Raises `ProblemError` where an empty body lost what it was to hold.

    A client that sends a body from a stream once more, after a lost connection or a redirect, sends nothing.
    """
    for name, value in scope["headers"]:
        if name == HEADER or (name == b"content-type" and b"json" in value.lower()):
            says = "carries an Idempotency-Key" if name == HEADER else "declares a body of JSON"
            line = curl_line(scope)
            detail = (
                f"the request {says}, and its body is empty. Send it with its body; a stream has to be read anew for "
                f"each try. For a job of kind demo send neither header. Nothing was stored. Try: {line}"
            )
            raise ProblemError(problem("empty-body", detail, extra={"example": line}))


async def discard_rest(receive: Receive) -> None:
    """Reads on after a refusal, up to 8 MiB or 2 s, until the client has sent all or has left."""
    discarded = 0
    try:
        async with asyncio.timeout(DISCARDED_WITHIN_S):
            while discarded < DISCARDED_BYTES:
                message = await receive()
                discarded += len(_chunk(message))
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
        collected += _chunk(message)
        if not message.get("more_body", False):
            break
    return bytes(collected)


def _chunk(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientLeft
    body: bytes = message.get("body", b"")
    return body


def _check_headers(scope: Message) -> tuple[int, ProblemError | None]:
    """The declared length (0 where none is) and what to answer where there is a body."""
    declared_bytes = 0
    media_type: bytes | None = None
    types_seen = 0
    is_encoded = False
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value
            types_seen += 1
        elif name == b"content-length":
            # A number of more digits is huge all the same.
            declared_bytes = int(value[:18]) if value.isdigit() else 0
        elif name == b"content-encoding" and value.lower() not in _PLAIN:
            is_encoded = True
    if media_type != _JSON or types_seen != 1:
        if media_type is None:
            return declared_bytes, _unsupported("the body has no Content-Type", scope)
        if types_seen > 1:
            return declared_bytes, _unsupported("the request has more than one Content-Type", scope)
        if why := _not_json(media_type):
            return declared_bytes, _unsupported(why, scope)
    if is_encoded:
        return declared_bytes, _unsupported("the body has a Content-Encoding; send it as it is", scope)
    return declared_bytes, None


def _not_json(media_type: bytes) -> str | None:
    """Why a Content-Type is not JSON in UTF-8; None where it is."""
    essence, *parameters = media_type.split(b";")
    if essence.strip().lower() != _JSON:
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
