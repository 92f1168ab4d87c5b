"""Parse the RabbitMQ nodes of a setting. Pure.

One URL may list several hosts, as MongoDB's do: `amqp://user:password@a:5672,b:5672/vhost`. Several whole URLs may be
separated by commas too, where nodes differ in more than their address.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PORTS = {"amqp": 5672, "amqps": 5671}
_BETWEEN_URLS = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_MOST = 32


@dataclass(frozen=True, slots=True)
class Address:
    """One node. `name` is its host and port, for logs; `url` may hold a password."""

    name: str
    url: str = field(repr=False)


def urls_in(text: str) -> list[str]:
    """Split a list into whole URLs."""
    return _BETWEEN_URLS.split(text.strip())


def addresses(text: str) -> tuple[Address, ...]:
    """Return each node once, in the order of the text. Raise `ValueError`, whose text has no user and password."""
    found: dict[Address, None] = {}
    for url in urls_in(text):
        scheme, mark, rest = url.partition("://")
        scheme = scheme.lower()
        if not mark or scheme not in _PORTS:
            raise ValueError("must begin with amqp:// or amqps://, as in amqp://user@rabbit-1:5672,rabbit-2:5672/")
        end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
        authority, tail = rest[:end], rest[end:]
        user, at, hosts = authority.rpartition("@")
        if "#" in tail or tail.partition("?")[0].count("/") > 1:
            raise ValueError("has more than one / behind its hosts, or a #; write a / in a name or a password as %2F")
        for host in hosts.split(","):
            name = _checked(scheme, host)
            found[Address(name, f"{scheme}://{user}{at}{name}{tail or '/'}")] = None
    if len(found) > _MOST:
        raise ValueError(f"names {len(found)} hosts; at most {_MOST}")
    return tuple(found)


def _checked(scheme: str, text: str) -> str:
    """Check `host:port` and return it. Raise `ValueError`."""
    host = text.strip()
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port or _PORTS[scheme]
        is_usable = bool(parts.hostname) and parts.netloc == host and not host.endswith(":") and parts.port != 0
        is_usable = is_usable and not re.search(r"[\s%\\]", host)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(
            f"{host!r} is not a host: write host, host:port or [IPv6]:port, several separated by commas"
            if host
            else "has an empty host: write hosts separated by single commas, as in rabbit-1:5672,rabbit-2:5672"
        )
    hostname = parts.hostname or ""
    return f"[{hostname}]:{port}" if ":" in hostname else f"{hostname}:{port}"
