"""Lets pages of listed origins call: CORS, as the Fetch standard has it. Pure.

Starlette's middleware is no fit: it wraps the application, so refusals made ahead of it would carry no header, and each
answer would pass one more layer. No cookie or other credential of the browser means anything here, so
`Access-Control-Allow-Credentials` is never sent; a page shows a token in `Authorization` by itself.
"""

from collections.abc import Iterable

from acked_common.http.request_guards import API_ANSWER, Message, is_preflight

METHODS = ("GET", "HEAD", "POST")
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key")
"""What a page may send beside what every page may."""
EXPOSED_HEADERS = (
    *("Allow", "Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"),
)
"""What a page may read beside what every page may."""
MAX_AGE_S = 600
"""How long a browser may remember what a preflight was told."""

Headers = tuple[tuple[bytes, bytes], ...]

_VARIES: Headers = ((b"vary", b"Origin"),)
_PREFLIGHT: Headers = (
    (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    (b"access-control-allow-methods", ", ".join(METHODS).encode()),
    (b"access-control-allow-headers", ", ".join(REQUEST_HEADERS).encode()),
    (b"access-control-max-age", str(MAX_AGE_S).encode()),
    *API_ANSWER,
)
_ASKS_NETWORK = b"access-control-request-private-network"


class Cors:
    """What answers carry where at least one origin is listed."""

    def __init__(self, origins: Iterable[str]) -> None:
        """`origins` as browsers write them: `https://acked.example`."""
        self._by_origin: dict[bytes, Headers] = {
            origin.encode(): (
                *_VARIES,
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
            )
            for origin in origins
        }

    def headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The headers that the answer to a request carries. All answers vary with the origin, also where none is
        given: a cache must not give a page what was answered to another one."""
        found = [value for name, value in request_headers if name == b"origin"]
        return self._by_origin.get(found[0], _VARIES) if len(found) == 1 else _VARIES

    def preflight(self, scope: Message) -> Headers | None:
        """The headers that answer a preflight of a listed origin; None for every other request."""
        if not is_preflight(scope):
            return None
        (_, *allowed) = self.headers(scope["headers"])
        if not allowed:
            return None
        network: Headers = ()
        if any(name == _ASKS_NETWORK for name, _ in scope["headers"]):
            network = ((b"access-control-allow-private-network", b"true"),)
        return (allowed[0], *_PREFLIGHT, *network)
