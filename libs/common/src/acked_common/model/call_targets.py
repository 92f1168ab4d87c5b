"""The URLs that a callback may name: checked before a request is accepted, without resolving names. Pure.

The rules are those of `acked.kinds.http_guard`, which intake is installed without; a test compares their texts. A
worker applies them again to the addresses that it connects to, since a name may resolve to another address by then.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NEVER_PUBLIC = (
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.IPv6Network("2002::/16"),  # 6to4: carries any IPv4 address
    ipaddress.IPv6Network("2001::/32"),  # Teredo: the same
    ipaddress.IPv6Network("3fff::/20"),  # documentation
)


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet; one that embeds an IPv4 address is judged by that."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _NEVER_PUBLIC)


def literal_address(host: str) -> Address | None:
    """Return the address if the host is one, or `None` for a name. Raise `ValueError` for forms such as `127.1`."""
    if ":" in host or host.replace(".", "").isdigit():
        return ipaddress.ip_address(host)
    return None


def check_name(host: str) -> None:
    """Raise `ValueError` unless the host is a valid DNS name (international ones in `xn--` form)."""
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host[:80]!r} is not a host name")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise ValueError(f"{host[:80]!r} is not a host name; write an IPv4 address as four decimal numbers")


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that may be called although they are private, and over http. Port `None` allows every port."""

    entries: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "AllowedHosts":
        """Parse `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, separated by commas. Raise `ValueError`."""
        return cls(frozenset(_entry(part.strip()) for part in text.split(",") if part.strip()))

    def has(self, host: str, port: int) -> bool:
        """Whether the list has this host and port."""
        name = _normal(host)
        return (name, port) in self.entries or (name, None) in self.entries


def _entry(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/@\s]+))(?::([0-9]{1,5}))?", text)
    port = int(match[3]) if match is not None and match[3] else None
    if match is None or (port is not None and not 1 <= port <= 65_535):
        raise ValueError(f"{text!r} is neither host nor host:port")
    host = _normal(match[1] or match[2])
    if literal_address(host) is None:
        check_name(host)
    return host, port


def _normal(host: str) -> str:
    lowered = host.lower().removesuffix(".")
    return str(ipaddress.ip_address(lowered)) if ":" in lowered else lowered


@dataclass(frozen=True, slots=True)
class CallTarget:
    """Where a URL leads."""

    scheme: str
    host: str
    port: int


def target_of(url: str) -> CallTarget:
    """Return where a URL leads. Raise `ValueError`, whose message continues the name of a field."""
    if re.search(r"[^\x21-\x7e]|\\", url):
        raise ValueError("must have no spaces, backslashes or characters beyond ASCII; encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("must start with https:// (or http://) and name a host")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or a password: the signature shows who calls")
    try:
        if literal_address(host) is None:
            check_name(host)
    except ValueError as error:
        raise ValueError(f"must name a host: {error}") from None
    return CallTarget(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))


def check_target(target: CallTarget, allowed: AllowedHosts) -> None:
    """Check scheme and host as they are written. Raise `ValueError` with the way to allow the target."""
    host, port = target.host, target.port
    if allowed.has(host, port):
        return
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    how = f"To allow it, add {shown} to ACKED_HTTP_CALL_ALLOW of gateways, intakes and workers"
    if target.scheme != "https":
        raise ValueError(f"must start with https://, because http is not private. {how}")
    address = literal_address(host)
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or (address is not None and not is_public(address)):
        raise ValueError(f"names {shown[:80]}, which is not a public address. {how}")
