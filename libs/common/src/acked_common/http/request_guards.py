"""Guards in front of every route: allowed hosts and origins, the size of headers, and headers of every response.

A page in any browser on the machine can reach a loopback port. So `Host` must be a known name (otherwise a page could
point its own name here), a page of another origin may not change anything, and only known origins may open a WebSocket.
Another port of localhost is another origin. Programs, which send none of a browser's headers, are unaffected.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from acked_common.http.probes import PROBE_PATHS, STRANGER
from acked_common.http.problems import ProblemError, problem
from acked_common.http.request_source import asks_for_page, by_name, is_by_person, is_by_program

Message = MutableMapping[str, Any]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
MAX_HEADER_BYTES = 32 * 1024

_LOOPBACK = frozenset(host.encode() for host in LOCAL_HOSTS)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN_SITES = (b"cross-site", b"same-site")
_ASKS_METHOD = b"access-control-request-method"
_HOSTS_REMEMBERED = 256

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_STORE = (b"cache-control", b"no-store")
_PAGE_POLICY = (
    b"content-security-policy",
    b"default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    # No script may turn a text into HTML or code: payloads and errors are shown by the pages.
    b"require-trusted-types-for 'script'; trusted-types 'none'",
)
_PAGE_HEADERS = (
    # No other page can hold a reference to the window, and no page uses the devices of the machine.
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_ALWAYS = (_NOSNIFF, _NO_REFERRER)
API_ANSWER = (_NOSNIFF, _NO_REFERRER, _NO_STORE)
"""Headers of every response except pages and responses with their own cache headers."""


class RequestGuards:
    """Checks each request and each WebSocket handshake.

    `allowed_hosts` has names as in URLs (`localhost`, `[::1]`), valid for any port unless they contain one; pass
    `LOCAL_HOSTS | {...}`. `allowed_origins` has origins (`https://acked.example`). The origin that a request was sent
    to is always allowed, and so, for a WebSocket, is the same port under another loopback name. `changing_paths` are
    paths whose GET changes something: programs and users who typed the URL may call them, other browser requests only
    get the page.
    """

    def __init__(
        self,
        *,
        allowed_hosts: frozenset[str] = LOCAL_HOSTS,
        allowed_origins: frozenset[str] = frozenset(),
        changing_paths: frozenset[str] = frozenset(),
    ) -> None:
        self._hosts = frozenset(host.lower().encode() for host in allowed_hosts)
        self._origins = frozenset(origin.encode() for origin in allowed_origins)
        self._changing = changing_paths | {path + "/" for path in changing_paths}
        self._seen_hosts: set[bytes] = set()

    def check(self, scope: Message) -> None:  # noqa: C901 - one rule a branch
        """Raise `ProblemError` for a request that is not allowed."""
        size = 0
        host: bytes | None = None
        site = b""
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
        if size > MAX_HEADER_BYTES:
            detail = f"The headers have {size:,} bytes, {MAX_HEADER_BYTES:,} are allowed. Send fewer (cookies?)."
            raise ProblemError(problem("headers-too-large", detail))
        if host is None and scope.get("http_version") != "1.0":
            raise _bad_host("no")
        if scope["path"] in PROBE_PATHS:
            scope[STRANGER] = host is None or not self._is_own(host.lower())
            return
        if host is None:
            raise _bad_host("no")
        if host not in self._seen_hosts:
            self._learn_host(host)
        if scope["type"] == "http" and scope["method"] in _SAFE_METHODS:
            if scope["method"] == "OPTIONS":
                if is_preflight(scope):
                    self._check_origins(origins or (), host)
                return
            if scope["path"] not in self._changing:
                return
            self._check_origins(origins or (), host)
            if origins is None and not asks_for_page(scope):
                _check_source(by_name(scope["headers"]))
            return
        if origins is not None:
            # An Origin is exact, and a listed origin is cross-site too.
            if scope["type"] == "websocket" and _are_one_loopback(origins, host):
                return
            self._check_origins(origins, host)
        elif site in _FOREIGN_SITES:
            raise _cross_site("A page of another origin sent this request.")

    def _learn_host(self, host: bytes) -> None:
        if not self._is_own(host.lower()):
            detail = (
                f"{_shown(host)} is not a name of this server. Use localhost or 127.0.0.1, "
                "or add the name to ACKED_ALLOWED_HOSTS and start the server again."
            )
            raise ProblemError(problem("host-not-allowed", detail))
        if len(self._seen_hosts) < _HOSTS_REMEMBERED:
            self._seen_hosts.add(host)

    def _is_own(self, name: bytes) -> bool:
        return name in self._hosts or _without_port(name) in self._hosts

    def _check_origins(self, origins: Sequence[bytes], host: bytes) -> None:
        for origin in origins:
            self._check_origin(origin, host)

    def _check_origin(self, origin: bytes, host: bytes) -> None:
        # A proxy that terminates TLS leaves no trace here, so both schemes of the host count as its own origin.
        if origin in self._origins or origin in (b"http://" + host, b"https://" + host):
            return
        detail = (
            f"Pages of {_shown(origin)} may not do this. If it is yours, add it to ACKED_ALLOWED_ORIGINS "
            "and start the server again."
        )
        raise ProblemError(problem("origin-not-allowed", detail))


def is_preflight(scope: Message) -> bool:
    """Return whether this is a CORS preflight."""
    return scope["method"] == "OPTIONS" and any(name == _ASKS_METHOD for name, _ in scope["headers"])


def _are_one_loopback(origins: Sequence[bytes], host: bytes) -> bool:
    """Return whether origin and host are the same port under loopback names: a page on 127.0.0.1 follows the feed at
    localhost. A page under a rebound name has that name as its origin."""
    name, port = _parts(host.lower())
    if name not in _LOOPBACK:
        return False
    for origin in origins:
        scheme, _, rest = origin.partition(b"://")
        if scheme not in (b"http", b"https") or _parts(rest)[0] not in _LOOPBACK or _parts(rest)[1] != port:
            return False
    return True


def _parts(host: bytes) -> tuple[bytes, bytes]:
    """Split a host into its name and its port, which may be empty."""
    name = _without_port(host)
    return name, host[len(name) :]


def _check_source(headers: Mapping[bytes, bytes]) -> None:
    if not is_by_program(headers) and not is_by_person(headers):
        raise _cross_site(
            "A browser sent this request, but no user typed the URL. Open the page of this server and press Run; "
            "programs send POST, or none of a browser's headers"
        )


def _cross_site(detail: str) -> ProblemError:
    return ProblemError(problem("cross-site", detail))


def guarded_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response with the mandatory ones added."""
    stores = policy = False
    page = False
    for name, value in headers:
        # ASGI requires header names in lower case, but some applications ignore that.
        name = name.lower()
        if name == b"content-type":
            page = value.startswith(b"text/html")
        elif name == b"cache-control":
            stores = True
        elif name == b"content-security-policy":
            policy = True
    added = _ALWAYS if stores else API_ANSWER
    if not page:
        return [*headers, *added]
    return [*headers, *added, *_PAGE_HEADERS] if policy else [*headers, *added, *_PAGE_HEADERS, _PAGE_POLICY]


def _without_port(host: bytes) -> bytes:
    """Return the name without its port; the whole text if the port is invalid, so that it matches nothing."""
    name, colon, port = host.rpartition(b":")
    if not colon or host.endswith(b"]"):
        return host
    return name if port.isdigit() and len(port) <= 5 else host


def _bad_host(how_many: str) -> ProblemError:
    return ProblemError(problem("bad-host", f"The request has {how_many} Host header. Send exactly one."))


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
