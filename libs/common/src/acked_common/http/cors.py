"""Allow pages of listed origins to call: CORS as the Fetch standard defines it. Pure.

Starlette's middleware does not fit. It wraps the application, so rejections made ahead of it would lack CORS headers,
and each response would pass one more layer. Acked uses no cookies or other browser credentials, so it never sends
`Access-Control-Allow-Credentials`; a page sets `Authorization` itself.
"""

from collections.abc import Iterable

from acked_common.http.request_guards import API_ANSWER, Message, is_preflight

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
"""Request headers that pages may send, beyond the safelisted ones."""
EXPOSED_HEADERS = (
    *("Allow", "Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"),
)
"""Response headers that pages may read, beyond the safelisted ones."""
MAX_AGE_S = 600
"""How long a browser may cache a preflight response."""

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
    """The CORS headers of responses when at least one origin is listed."""

    def __init__(self, origins: Iterable[str]) -> None:
        """Take `origins` in serialized form, as browsers send them: `https://acked.example`."""
        self._by_origin: dict[bytes, Headers] = {
            origin.encode(): (
                *_VARIES,
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
            )
            for origin in origins
        }

    def headers(self, request_headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return the CORS headers of the response to a request.

        Every response varies with the origin, even without a match: a cache must not serve one page's response to
        another.
        """
        found = [value for name, value in request_headers if name == b"origin"]
        return self._by_origin.get(found[0], _VARIES) if len(found) == 1 else _VARIES

    def preflight(self, scope: Message) -> Headers | None:
        """Return the headers for a preflight of a listed origin; None for other requests."""
        if not is_preflight(scope):
            return None
        (_, *allowed) = self.headers(scope["headers"])
        if not allowed:
            return None
        network: Headers = ()
        if any(name == _ASKS_NETWORK for name, _ in scope["headers"]):
            network = ((b"access-control-allow-private-network", b"true"),)
        return (allowed[0], *_PREFLIGHT, *network)
