"""Which addresses `http_call` may reach: the rules against server-side request forgery.

Public addresses over https are open. Everything else (plain http, private, loopback, link-local, metadata, multicast
and reserved addresses) needs its host in the allow list. A name is resolved once and the connection goes to the very
addresses that were checked, so a second DNS answer can't change the target.
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
    """Whether an address belongs to the open internet; one that carries an IPv4 address is judged by that."""
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
    """The address that a host spells out, or `None` for a name. Raises `ValueError` for spellings such as `127.1`."""
    if ":" in host or host.replace(".", "").isdigit():
        return ipaddress.ip_address(host)
    return None


def check_name(host: str) -> None:
    """Raise `ValueError` unless the host may be a DNS name (international ones in their `xn--` form)."""
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host[:80]!r} is no host name")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise ValueError(f"{host[:80]!r} is no host name; write an IPv4 address as four decimal numbers")


@dataclass(frozen=True, slots=True)
class AllowList:
    """Hosts that may be called although they are private, and over http; with port `None`, on every port."""

    entries: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "AllowList":
        """Read `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, separated by commas. Raises `ValueError` for others."""
        return cls(frozenset(_entry(part.strip()) for part in text.split(",") if part.strip()))

    def has(self, host: str, port: int) -> bool:
        """Whether this host and port were allowed by name."""
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
    """The target is not one that may be called."""

    def __init__(self, host: str, port: int, why: str) -> None:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__(
            f"{shown} may not be called: {why}. If it is meant to be, add {shown} to ACKED_HTTP_CALL_ALLOW "
            "where the worker is started",
            type="target-not-allowed",
        )


def check_target(scheme: str, host: str, port: int, allowed: AllowList) -> None:
    """What can be said before names are resolved: plain http and addresses in the URL. Raises `Refused`."""
    if allowed.has(host, port):
        return
    if scheme != "https":
        raise Refused(host, port, "other hosts are called over https only")
    address = literal_address(host)
    if address is not None and not is_public(address):
        raise Refused(host, port, "it is not a public address")


class GuardedResolver(AbstractResolver):
    """Resolves for aiohttp, which connects to these addresses; refuses a name with any address that isn't public."""

    def __init__(self, resolver: AbstractResolver, allowed: AllowList) -> None:
        self._resolver = resolver
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The checked addresses of a host. Raises `Refused`, and `OSError` where there are none."""
        found = await self._resolver.resolve(host, port, family)
        if not self._allowed.has(host, port) and not all(is_public(ipaddress.ip_address(one["host"])) for one in found):
            # The addresses stay unsaid: a caller from outside must not map the inner network.
            raise Refused(host, port, "its name leads to an address that is not public")
        return found

    async def close(self) -> None:
        """Close what it resolves with."""
        await self._resolver.close()
