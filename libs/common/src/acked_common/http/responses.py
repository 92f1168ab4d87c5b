"""JSON responses and problem responses."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from acked_common.http import problems
from acked_common.http.limits import HeldBytes
from acked_common.http.problems import Problem, ProblemError

PART_BYTES = 64 * 1024
"""Of a response that is sent in parts."""

_encoder = msgspec.json.Encoder()


def encode(value: Mapping[str, Any]) -> bytes:
    """Encode a mapping as JSON; values that are `msgspec.Raw` are inserted as they are."""
    return _encoder.encode(value)


class JsonResponse(Response):
    """A JSON response from a mapping; values that are `msgspec.Raw` are inserted as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode(content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. A large one is sent in parts, as fast as the client reads, and counts towards its
        bytes."""
        body = bytes(self.body)
        if len(body) <= PART_BYTES:
            await super().__call__(scope, receive, send)
            return
        held = HeldBytes(scope)
        try:
            held.grow_to(len(body), reserved=True)
        except ProblemError as error:
            await ProblemResponse(error.problem)(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(body), PART_BYTES):
                part = body[start : start + PART_BYTES]
                more_body = start + PART_BYTES < len(body)
                await send({"type": "http.response.body", "body": part, "more_body": more_body})
        finally:
            held.release()


class ProblemResponse(Response):
    """A problem response."""

    media_type = problems.MEDIA_TYPE

    def __init__(self, found: Problem) -> None:
        super().__init__(found.to_bytes(), found.status, dict(found.headers))
