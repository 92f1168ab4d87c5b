"""Who made a GET that starts something: a program, a person who typed the address, or a page. Pure.

Browsers say it in Fetch Metadata (`Sec-Fetch-*`), which no page can set or remove. Programs send none of it. Under a
name other than localhost browsers leave Fetch Metadata out over plain http, so there they are known by what all of them
send: `User-Agent: Mozilla/…`, `Origin`, `Referer`, and an `Accept` that names what the page loads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Headers = Iterable[tuple[bytes, bytes]]

_FETCH_METADATA = (b"sec-fetch-site", b"sec-fetch-user", b"sec-fetch-dest")
_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
_SPECULATIVE = (b"prefetch", b"prerender", b"preview")
_LOADED_BY_PAGES = (b"text/html", b"application/xhtml", b"image/", b"video/", b"audio/", b"font/", b"text/css")
_NAMES_WITH_FETCH_METADATA = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


def by_name(headers: Headers) -> Mapping[bytes, bytes]:
    """The headers by their names; the values of a name that stands twice are joined, so that they equal neither."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = value if name not in found else found[name] + b", " + value
    return found


def is_speculative(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser loads this ahead of a person's wish, or for a page that nobody sees yet."""
    return any(word in headers.get(name, b"").lower() for name in _PURPOSES for word in _SPECULATIVE)


def is_by_program(headers: Mapping[bytes, bytes]) -> bool:
    """Whether no browser can have sent this for a page."""
    if any(name in headers for name in (*_FETCH_METADATA, b"origin")) or is_speculative(headers):
        return False
    # `fetch` of Node sends this one alone. A browser sends an Origin or the others with it.
    if headers.get(b"sec-fetch-mode", b"cors") != b"cors":
        return False
    host = headers.get(b"host", b"").lower()
    if not _is_own(headers.get(b"referer"), host):
        return False
    accept = headers.get(b"accept", b"").lower()
    if any(kind in accept for kind in _LOADED_BY_PAGES):
        return False
    name = host if host.endswith(b"]") else host.rpartition(b":")[0] or host
    return name in _NAMES_WITH_FETCH_METADATA or b"mozilla/" not in headers.get(b"user-agent", b"").lower()


def is_by_person(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a person asked a browser for this: typed the address, or clicked on a page of this very origin.

    What is typed and redirected here from elsewhere looks the same; browsers do not tell.
    """
    return (
        headers.get(b"sec-fetch-site") in (b"none", b"same-origin")
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-user") == b"?1"
        and headers.get(b"sec-fetch-dest") == b"document"
        and not is_speculative(headers)
    )


def asks_for_page(scope: Mapping[str, Any]) -> bool:
    """Whether a browser opens the address as a page: it accepts HTML."""
    return scope["method"] in ("GET", "HEAD") and any(
        name == b"accept" and b"text/html" in value for name, value in scope["headers"]
    )


def _is_own(referer: bytes | None, host: bytes) -> bool:
    if not referer:
        return True
    scheme, _, rest = referer.lower().partition(b"://")
    return scheme in (b"http", b"https") and rest.partition(b"/")[0] == host
