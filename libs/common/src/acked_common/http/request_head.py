"""Rules about the head of a request: its host, the framing of its body, and upgrades to another protocol. Pure.

httptools parses the syntax strictly. These are the rules of RFC 9110 and RFC 9112 that it leaves to the server. Each
rule prevents two parties from reading one request in two ways.
"""

from collections.abc import Collection, Iterable

from acked_common.http.problems import ProblemError, problem

Headers = list[tuple[bytes, bytes]]

_SCHEMES = (b"http", b"https")
_SHOWN_BYTES = 100


def check_framing(codings: Collection[bytes], version: str) -> None:
    """Raise `ProblemError` unless the body is framed by its length or in plain chunks.

    `codings` are the values of all `Transfer-Encoding` headers, as they were sent (RFC 9112, 6.1).
    """
    for coding in codings:
        if coding.lower() != b"chunked":
            raise ProblemError(
                problem(
                    "unsupported-transfer-coding",
                    f"this request has Transfer-Encoding: {_shown(coding)}; send it with a Content-Length, or with "
                    "Transfer-Encoding: chunked and nothing else. Nothing was stored",
                )
            )
    if codings and version == "1.0":
        raise ProblemError(problem("bad-http", "HTTP/1.0 does not support Transfer-Encoding; send a Content-Length"))


def check_version(version: str) -> None:
    """Raise `ProblemError` for other versions than HTTP/1.0 and HTTP/1.1."""
    if version not in ("1.1", "1.0"):
        raise ProblemError(problem("bad-http", f"HTTP/1.1 is served here, not HTTP/{version}"))


def origin_form(target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Split a target in absolute form; return path and query, and the headers with its host (RFC 9112, 3.2.2).

    Requests without exactly one `Host` are unchanged, since the guards refuse them. Raises `ProblemError` for an
    invalid target.
    """
    if target == b"*":
        return target, headers
    scheme, found, rest = target.partition(b"://")
    end = next((at for at, byte in enumerate(rest) if byte in b"/?"), len(rest))
    authority = rest[:end]
    if not found or scheme.lower() not in _SCHEMES or not authority or b"@" in authority:
        raise ProblemError(
            problem("bad-http", f"{_shown(target)} is not a valid request target here; send a path such as /process")
        )
    path = rest[end:]
    if not path.startswith(b"/"):
        path = b"/" + path
    if sum(name == b"host" for name, _ in headers) != 1:
        return path, headers
    return path, [(name, authority if name == b"host" else value) for name, value in headers]


def may_switch(method: str, version: str, headers: Headers) -> bool:
    """Return whether a request that offers an upgrade is exactly a WebSocket handshake (RFC 6455, 4.1)."""
    return (
        method == "GET"
        and version == "1.1"
        and [value.lower() for value in values_of(b"upgrade", headers)] == [b"websocket"]
        and not any(values_of(b"transfer-encoding", headers))
        and not any(int(value) for value in values_of(b"content-length", headers))
    )


def head_without_upgrade(method: str, target: bytes, version: str, headers: Headers) -> bytes:
    """Return the head of the same request without its offer of an upgrade (RFC 9110, 7.8)."""
    lines = [b"%s %s HTTP/%s\r\n" % (method.encode(), target, version.encode())]
    lines += [b"%s: %s\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"".join([*lines, b"\r\n"])


def values_of(name: bytes, headers: Headers) -> Iterable[bytes]:
    """Return all values of one header."""
    return (value for found, value in headers if found == name)


def _shown(value: bytes) -> str:
    return repr(value[:_SHOWN_BYTES].decode("latin-1"))
