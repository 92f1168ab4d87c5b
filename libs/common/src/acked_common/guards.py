"""What stands in front of every route: who may call, how large the headers may be, what each answer carries.

A page in any browser on the machine can reach a loopback port. So the Host must be a known name (or a page could point
its own name here), a page of another site may not change anything, and a WebSocket opens only to known origins.
Programs that send none of a browser's headers are not concerned.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from acked_common.problems import render

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Render = Callable[[str, int, str], tuple[bytes, str]]
"""Makes the body and the media type of a problem from its name, status and detail."""

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
MAX_HEADER_BYTES = 32 * 1024

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOSTS_REMEMBERED = 256
_CLOSED_BY_POLICY = 1008

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_STORE = (b"cache-control", b"no-store")
_PAGE_POLICY = (
    b"content-security-policy",
    b"default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'",
)
_ALWAYS = (_NOSNIFF, _NO_REFERRER)
API_ANSWER = (_NOSNIFF, _NO_REFERRER, _NO_STORE)
"""The headers of every answer that is no page and says nothing of caching itself."""

PROBLEM_NAMES = frozenset({"bad-host", "host-not-allowed", "cross-site", "origin-not-allowed", "headers-too-large"})
"""The problems that the guards answer with."""


class _Refusal(Exception):
    def __init__(self, name: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.name = name
        self.status = status
        self.detail = detail


class Guards:
    """ASGI middleware for the whole application, HTTP and WebSocket.

    `allowed_hosts` holds names as they stand in a URL (`localhost`, `[::1]`), each with any port unless it names one;
    give `LOCAL_HOSTS | {...}`. `allowed_origins` holds origins (`https://acked.example`); the origin that the request
    itself was sent to is always allowed. `changing_paths` are those that change something although they are read.
    `on_refused` is told of each HTTP request that is refused here, with the status of the answer.
    """

    def __init__(
        self,
        app: App,
        *,
        allowed_hosts: frozenset[str] = LOCAL_HOSTS,
        allowed_origins: frozenset[str] = frozenset(),
        changing_paths: frozenset[str] = frozenset(),
        render: Render = render,
        on_refused: Callable[[Message, int], object] = lambda scope, status: None,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower().encode() for host in allowed_hosts)
        self._origins = frozenset(origin.encode() for origin in allowed_origins)
        self._changing = changing_paths | {path + "/" for path in changing_paths}
        self._render = render
        self._on_refused = on_refused
        self._seen_hosts: set[bytes] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            try:
                self._check(scope, scope["method"] not in _SAFE_METHODS or scope["path"] in self._changing)
            except _Refusal as refusal:
                self._on_refused(scope, refusal.status)
                await self._refuse(refusal, send)
                return

            def send_guarded(message: Message) -> Awaitable[None]:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": _guarded_headers(message.get("headers", ()))}
                return send(message)

            await self._app(scope, receive, send_guarded)
            return
        if kind == "websocket":
            try:
                self._check(scope, True)
            except _Refusal as refusal:
                await self._refuse_websocket(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Message, changes: bool) -> None:
        size = 0
        host: bytes | None = None
        site = user = b""
        origins: list[bytes] | None = None
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"host":
                if host is not None:
                    raise _bad_host("more than one")
                host = value
            elif name == b"origin":
                origins = [value] if origins is None else [*origins, value]
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"sec-fetch-user":
                user = value
        if size > MAX_HEADER_BYTES:
            detail = f"The headers have {size:,} bytes, {MAX_HEADER_BYTES:,} are allowed. Send fewer (cookies?)."
            raise _Refusal("headers-too-large", 431, detail)
        if host is None:
            raise _bad_host("no")
        if host not in self._seen_hosts:
            self._learn_host(host)
        if not changes:
            return
        if site == b"cross-site" and user != b"?1":
            detail = "A page of another site asked for this, and no person did. Open the page of this server instead."
            raise _Refusal("cross-site", 403, detail)
        if origins is not None:
            for origin in origins:
                self._check_origin(origin, host)

    def _learn_host(self, host: bytes) -> None:
        name = host.lower()
        if name not in self._hosts and _without_port(name) not in self._hosts:
            detail = (
                f"{_shown(host)} is not a name of this server. Use localhost or 127.0.0.1, "
                "or add the name to ACKED_ALLOWED_HOSTS and start the server again."
            )
            raise _Refusal("host-not-allowed", 421, detail)
        if len(self._seen_hosts) < _HOSTS_REMEMBERED:
            self._seen_hosts.add(host)

    def _check_origin(self, origin: bytes, host: bytes) -> None:
        # A proxy that ends TLS leaves no trace here, so both schemes of the own host are its own origin.
        if origin in self._origins or origin in (b"http://" + host, b"https://" + host):
            return
        detail = (
            f"Pages of {_shown(origin)} may not do this. If it is yours, add it to ACKED_ALLOWED_ORIGINS "
            "and start the server again."
        )
        raise _Refusal("origin-not-allowed", 403, detail)

    async def _refuse(self, refusal: _Refusal, send: Send, prefix: str = "http") -> None:
        body, media_type = self._render(refusal.name, refusal.status, refusal.detail)
        headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *API_ANSWER,
        ]
        await send({"type": f"{prefix}.response.start", "status": refusal.status, "headers": headers})
        await send({"type": f"{prefix}.response.body", "body": body})

    async def _refuse_websocket(self, refusal: _Refusal, scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        if "websocket.http.response" in (scope.get("extensions") or ()):
            await self._refuse(refusal, send, "websocket.http")
        else:
            await send({"type": "websocket.close", "code": _CLOSED_BY_POLICY, "reason": refusal.name})


def _guarded_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    stores = policy = False
    page = False
    for name, value in headers:
        # Names of ASGI answers are lower case by its specification, but some applications don't keep to it.
        name = name.lower()
        if name == b"content-type":
            page = value.startswith(b"text/html")
        elif name == b"cache-control":
            stores = True
        elif name == b"content-security-policy":
            policy = True
    added = _ALWAYS if stores else API_ANSWER
    if page and not policy:
        return [*headers, *added, _PAGE_POLICY]
    return [*headers, *added]


def _without_port(host: bytes) -> bytes:
    """The name alone; all of it where the port is none, so that it matches nothing."""
    name, colon, port = host.rpartition(b":")
    if not colon or host.endswith(b"]"):
        return host
    return name if port.isdigit() and len(port) <= 5 else host


def _bad_host(how_many: str) -> _Refusal:
    return _Refusal("bad-host", 400, f"The request has {how_many} Host header. Send exactly one.")


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
