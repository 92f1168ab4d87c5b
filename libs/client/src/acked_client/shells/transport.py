"""What both shells share: headers, TLS, the meaning of errors of the HTTP and WebSocket libraries."""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx2
from websockets.exceptions import InvalidStatus

from acked_client.core.effects import JSON, LINES, Lost, Request, Response
from acked_client.model.requests import RetryPolicy, TraceContext

USER_AGENT = f"acked-client/{version('acked-client')}"
CONNECT_S = 10.0
"""The longest time for a connection."""
MOST_CONNECTIONS = 200
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A snapshot of 1,000 jobs has about 1 MiB."""
FRAMES_HELD = 256
"""Frames that wait for the user. Beyond them the gateway sees a slow reader, and sends `resync`."""
_TRACE_HEADERS = ("traceparent", "tracestate")
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Config:
    """How one client reaches the services."""

    gateway: str
    intake: str | None
    policy: RetryPolicy
    verify: ssl.SSLContext | bool
    trace_context: TraceContext | None
    token: str | None = field(repr=False)

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = {"User-Agent": USER_AGENT, "Accept": f"{JSON}, {LINES}, application/problem+json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def headers_of(self, request: Request) -> dict[str, str]:
        """Return the headers of one request."""
        headers = self.trace_headers()
        if request.body is not None:
            headers["Content-Type"] = request.media_type
        if request.idempotency_key is not None:
            headers["Idempotency-Key"] = request.idempotency_key
        return headers

    def trace_headers(self) -> dict[str, str]:
        """Return the W3C trace context of the caller."""
        given: Mapping[str, str] = {} if self.trace_context is None else self.trace_context()
        return {name: given[name] for name in _TRACE_HEADERS if given.get(name)}

    def http_options(self) -> dict[str, Any]:
        """Return the arguments of the HTTP client."""
        limits = httpx2.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS)
        return {"headers": self.headers(), "verify": self.verify, "limits": limits, "follow_redirects": False}

    def feed_options(self, url: str, timeout_s: float) -> dict[str, Any]:
        """Return the arguments of the WebSocket client."""
        options: dict[str, Any] = {
            "additional_headers": {name: text for name, text in self.headers().items() if name != "User-Agent"},
            "user_agent_header": USER_AGENT,
            "compression": None,
            "open_timeout": min(timeout_s, CONNECT_S),
            "close_timeout": 1.0,
            "max_size": MAX_FRAME_BYTES,
            "max_queue": FRAMES_HELD,
            "logger": QUIET,
        }
        if url.startswith("wss:"):
            options["ssl"] = (
                self.verify if isinstance(self.verify, ssl.SSLContext) else httpx2.create_ssl_context(self.verify)
            )
        return options


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """The library logs the headers of the handshake, with the token, at DEBUG."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - overrides
        return level > logging.DEBUG and super().isEnabledFor(level)


QUIET = _Quiet(logging.getLogger("acked_client.feed"), {})


def timeout_of(timeout_s: float) -> httpx2.Timeout:
    """Return the timeout of one request."""
    return httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))


def response_of(found: httpx2.Response) -> Response:
    """Return a response that was read."""
    return Response(found.status_code, {name.lower(): text for name, text in found.headers.items()}, found.content)


def lost_request(error: httpx2.TransportError | httpx2.DecodingError) -> Lost:
    """Return what an error of the HTTP library means."""
    text = str(error) or type(error).__name__
    is_final = _has_bad_certificate(error) or isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)
    return Lost(text, may_have_arrived=not is_final and not isinstance(error, _NOT_SENT), is_final=is_final)


def refused_feed(error: Exception) -> Response | Lost:
    """Return what an error of the handshake means."""
    if isinstance(error, InvalidStatus):
        found = error.response
        return Response(
            found.status_code, {n.lower(): text for n, text in found.headers.raw_items()}, bytes(found.body or b"")
        )
    text = str(error) or type(error).__name__
    return Lost(text, may_have_arrived=False, is_final=_has_bad_certificate(error))


def feed_url(base_url: str, path: str) -> str:
    """Return the address of a WebSocket."""
    parts = urlsplit(base_url)
    scheme = {"http": "ws", "https": "wss"}[parts.scheme]
    return f"{scheme}://{parts.netloc}{parts.path}{path}"


def _has_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
