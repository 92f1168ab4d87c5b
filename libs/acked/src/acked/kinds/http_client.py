"""The HTTP client of the shipped kinds: sends one request to a guarded target, and reads the start of the response."""

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.resolver import DefaultResolver
from yarl import URL

from acked.kinds import settings
from acked.kinds.http_answer import HttpCallError, HttpResponse
from acked.kinds.http_body import MAX_BODY_BYTES
from acked.kinds.http_guard import AllowList, GuardedResolver, check_target
from acked.kinds.http_request import CallRequest
from acked.resources import LoopResource

MAX_CONNECTIONS = 200
MAX_CONNECTIONS_PER_HOST = 50
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice by definition (RFC 9110, section 9.2.2)."""


class _UsedConnection:
    """Whether the newest connection of one request had served another one before."""

    def __init__(self) -> None:
        self.is_reused = False


class _ClosedWhileKept(Exception):
    """The server closed a kept connection instead of responding. Keep-alive allows that at any time."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Caller:
    """The sessions shared by all calls of one event loop, and the hosts that they may reach."""

    session: aiohttp.ClientSession
    without_reuse: aiohttp.ClientSession
    """Opens a connection for each request: a pool may hold several that the server is closing."""
    allowed: AllowList

    @classmethod
    def open(cls) -> "Caller":
        """Read the allow list and open the sessions."""
        allowed = settings.http_call_allow()
        return cls(_session(allowed, reuse=True), _session(allowed, reuse=False), allowed)

    async def close(self) -> None:
        """Close the sessions."""
        await self.session.close()
        await self.without_reuse.close()

    async def call(self, request: CallRequest, url: URL, idempotency_key: str, timeout_s: float) -> HttpResponse:
        """Send one request. Raise `Refused` for a forbidden target, `HttpCallError` without a response."""
        check_target(url.scheme, url.raw_host or "", url.port or 0, self.allowed)
        try:
            # One timeout for both sendings.
            async with asyncio.timeout(timeout_s):
                try:
                    return await _send(self.session, request, url, idempotency_key)
                except _ClosedWhileKept as error:
                    if request.verb not in IDEMPOTENT_METHODS:
                        raise error.cause from None
                    return await _send(self.without_reuse, request, url, idempotency_key)
        except TimeoutError:
            raise HttpCallError(f"{name_of(request, url)} timed out after {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise HttpCallError(f"{name_of(request, url)} failed: {type(error).__name__}: {error}") from None


def _session(allowed: AllowList, *, reuse: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(DefaultResolver(), allowed),
        use_dns_cache=False,
        limit=MAX_CONNECTIONS,
        limit_per_host=MAX_CONNECTIONS_PER_HOST,
        force_close=not reuse,
    )
    # No proxy from the environment, no cookies, no unbounded decompression: the checked target is the one called.
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        trace_configs=[_connection_trace()],
    )


def _connection_trace() -> aiohttp.TraceConfig:
    async def opened(_session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.is_reused = False

    async def reused(_session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.is_reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(opened)
    trace.on_connection_reuseconn.append(reused)
    return trace


async def _send(session: aiohttp.ClientSession, request: CallRequest, url: URL, idempotency_key: str) -> HttpResponse:
    connection = _UsedConnection()
    sending = session.request(
        request.verb,
        url,
        headers=request.all_headers(idempotency_key),
        data=request.content,
        allow_redirects=False,
        # The caller bounds it.
        timeout=aiohttp.ClientTimeout(),
        trace_request_ctx=connection,
    )
    try:
        response = await sending
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        # aiohttp has sent an idempotent request twice by now, perhaps on two kept connections.
        if connection.is_reused:
            raise _ClosedWhileKept(error) from None
        raise
    async with response:
        body, truncated = await _start_of(response.content)
        if truncated:
            response.close()
        headers = {name.lower(): value for name, value in response.headers.items()}
        if len(codings := response.headers.getall("content-encoding", [])) > 1:
            headers["content-encoding"] = ", ".join(codings)
        return HttpResponse(response.status, headers, body, truncated)


caller = LoopResource(Caller.open, Caller.close)
"""The client of the running loop, shared by all kinds."""


def name_of(request: CallRequest, url: URL) -> str:
    """Name the call in messages, without the query, which may contain secrets."""
    return f"{request.verb} {url.with_query(None)}"


async def _start_of(stream: aiohttp.StreamReader) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    async for part in stream.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            return b"".join(parts)[:MAX_BODY_BYTES], True
    return b"".join(parts), False
