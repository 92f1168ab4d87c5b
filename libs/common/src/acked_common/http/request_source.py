"""Determine the source of a GET that starts something: a program, a user who typed the URL, or a page. Pure.

Browsers send Fetch Metadata (`Sec-Fetch-*`), which no page can set or remove; programs send none. Over plain http,
under a name other than localhost, browsers omit Fetch Metadata. There they are recognized by the headers that all of
them send: `User-Agent: Mozilla/…`, `Origin`, `Referer`, and an `Accept` that names what the page loads.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Headers = Iterable[tuple[bytes, bytes]]

_FETCH_METADATA = (b"sec-fetch-site", b"sec-fetch-user", b"sec-fetch-dest")
_PURPOSES = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")
_SPECULATIVE = (b"prefetch", b"prerender", b"preview")
_LOADED_BY_PAGES = (b"text/html", b"application/xhtml", b"image/", b"video/", b"audio/", b"font/", b"text/css")
_WEIGHT = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_NAMES_WITH_FETCH_METADATA = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


def by_name(headers: Headers) -> Mapping[bytes, bytes]:
    """Return the headers by name. Values of a repeated name are joined, so that the result equals neither."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = value if name not in found else found[name] + b", " + value
    return found


def is_speculative(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser sent this request speculatively, or for a page that is not visible yet."""
    return any(word in headers.get(name, b"").lower() for name in _PURPOSES for word in _SPECULATIVE)


def is_by_program(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether no browser can have sent this request for a page."""
    if any(name in headers for name in (*_FETCH_METADATA, b"origin")) or is_speculative(headers):
        return False
    # Node's `fetch` sends only this one. A browser adds an Origin or the other headers.
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
    """Return whether a user requested this: typed the URL, or clicked on a page of this origin.

    A typed URL of another site that redirects here looks the same; browsers do not distinguish it.
    """
    return (
        headers.get(b"sec-fetch-site") in (b"none", b"same-origin")
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-user") == b"?1"
        and headers.get(b"sec-fetch-dest") == b"document"
        and not is_speculative(headers)
    )


VARY_BY_PAGE = {"Vary": "Accept"}
"""A header of both forms of an address: what `asks_for_page` reads decides between them."""


def asks_for_page(scope: Mapping[str, Any]) -> bool:
    """Return whether a browser opens the address as a page: it names HTML, and prefers nothing that programs read.

    Browsers name `text/html` first. `text/html;q=0` rules it out, and a program that reads JSON and only tolerates HTML
    gets JSON (RFC 9110, section 12.4.2).
    """
    if scope["method"] not in ("GET", "HEAD"):
        return False
    accepted = _accepted(scope)
    if b"text/html" not in accepted:
        return False
    page = _weight_of(b"text/html", accepted)
    return page > 0.0 and page >= _weight_of(b"application/json", accepted)


def names_media(scope: Mapping[str, Any], media: str) -> bool:
    """Return whether a request accepts a media type by its name; `*/*` and `text/*` do not name it."""
    return _weight_of(media.encode(), _accepted(scope)) > 0.0


def _accepted(scope: Mapping[str, Any]) -> bytes:
    return b",".join(value for name, value in scope["headers"] if name == b"accept").lower()


def _weight_of(wanted: bytes, accepted: bytes) -> float:
    """Return the weight of a media type; 0 if it is not named."""
    found = 0.0
    for item in accepted.split(b","):
        media, *parameters = (part.strip() for part in item.split(b";"))
        if media == wanted:
            found = max(found, _weight(parameters))
    return found


def _weight(parameters: Iterable[bytes]) -> float:
    """Return the weight of a media range; 0 for one that is not a number from 0 to 1."""
    for parameter in parameters:
        if parameter.startswith(b"q="):
            found = _WEIGHT.fullmatch(parameter[2:])
            return 0.0 if found is None else float(found[0])
    return 1.0


def _is_own(referer: bytes | None, host: bytes) -> bool:
    if not referer:
        return True
    scheme, _, rest = referer.lower().partition(b"://")
    return scheme in (b"http", b"https") and rest.partition(b"/")[0] == host
