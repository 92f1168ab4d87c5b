"""Host names and origins in settings, in the canonical form of browsers and URLs. Pure."""

import re

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?"
_HOST = re.compile(_NAME)
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://" + _NAME)
_HTTP_URL = re.compile(r"https?://(?i:" + _NAME + r")(?:/[^\s?#]*)?")


def origin_of(text: str) -> str:
    """Return the origin in the form that browsers send: lower case, without the default port. Raises `ValueError` with
    a correction."""
    if text == "*":
        raise ValueError("this would allow every web page; list each origin, such as https://acked.example")
    if text.lower() == "null":
        raise ValueError(
            "files, sandboxed frames and many others call themselves null; serve the page from an address and name it, "
            "such as http://localhost:3000"
        )
    lower = text.lower()
    parts = _ORIGIN.fullmatch(lower)
    if parts is None:
        found = _ORIGIN.match(lower)
        wanted = found[0] if found is not None and lower[found.end()] in "/?#" else "https://acked.example"
        raise ValueError(f"must be scheme://host or scheme://host:port and nothing after it; write {wanted}")
    scheme, host, port = parts.groups()
    if port is None:
        return lower
    if not 1 <= int(port) <= 65535:
        raise ValueError("a port is 1 to 65535")
    return f"{scheme}://{host}" if int(port) == _DEFAULT_PORTS.get(scheme) else f"{scheme}://{host}:{int(port)}"


def host_of(text: str) -> str:
    """Return the host name as in URLs, with or without a port. Raises `ValueError` with a correction."""
    if _HOST.fullmatch(text.lower()) is None:
        raise ValueError(
            "never the name in a URL; write each name by itself, such as acked.example, acked.example:8443 or "
            "[fd00::1], without a scheme, a path or *"
        )
    return text


def is_http_url(text: str) -> bool:
    """Return whether a text is an http(s) URL with a host, perhaps a port and a path, and nothing else."""
    return _HTTP_URL.fullmatch(text) is not None
