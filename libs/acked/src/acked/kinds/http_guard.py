"""The addresses that `http_call` may reach: protection against server-side request forgery.

Public addresses over https are open. Everything else (plain http, private, loopback, link-local, metadata, multicast
and reserved addresses) needs an entry in the allow list. A name is resolved once, and the connection uses exactly the
checked addresses, so a second DNS response can't change the target.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

from acked import Permanent

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
class AllowList:
    """Hosts that may be called although they are private, and over http. Port `None` allows every port."""

    entries: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "AllowList":
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


class Refused(Permanent):
    """The target may not be called."""

    def __init__(self, host: str, port: int, why: str) -> None:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__(
            f"{shown} may not be called: {why}. To allow it, add {shown} to ACKED_HTTP_CALL_ALLOW of the worker",
            type="target-not-allowed",
        )


def check_target(scheme: str, host: str, port: int, allowed: AllowList) -> None:
    """Check scheme and literal address before names are resolved. Raise `Refused`."""
    if allowed.has(host, port):
        return
    if scheme != "https":
        raise Refused(host, port, "only https is allowed for other hosts")
    address = literal_address(host)
    if address is not None and not is_public(address):
        raise Refused(host, port, "it is not a public address")


class GuardedResolver(AbstractResolver):
    """Resolve names for aiohttp, which connects to the returned addresses; refuse names with a non-public address."""

    def __init__(self, resolver: AbstractResolver, allowed: AllowList) -> None:
        self._resolver = resolver
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the checked addresses of a host. Raise `Refused`, and `OSError` if there are none."""
        found = await self._resolver.resolve(host, port, family)
        if not self._allowed.has(host, port) and not all(is_public(ipaddress.ip_address(one["host"])) for one in found):
            # The message omits the addresses: callers must not be able to map the internal network.
            raise Refused(host, port, "its name resolves to an address that is not public")
        return found

    async def close(self) -> None:
        """Close the underlying resolver."""
        await self._resolver.close()
