"""Where the server may connect to on behalf of a user.

A URL that a user gives must not reach what only the server can reach: itself, its network, the
metadata service of a cloud. So a host's addresses are looked up once, each is checked, and the
connection then goes to a checked address and nowhere else, whatever DNS says a moment later.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import trio

from server.notify.errors import DeliveryError

__all__ = ["Egress", "Endpoint"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOOK_UP_S = 10
# What the registries of IANA do not call globally reachable, and not every Python knows of: site
# local and other blocks for use inside, translators, and anycast relays that nobody runs any more.
_NOT_PUBLIC: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL whose host has been looked up and allowed.

    Attributes:
        url: with the address in the host's place.
        host: the name as it was given, for the Host header and the certificate.
        authority: the name with its port, as a Host header spells it.
    """

    url: str
    host: str
    authority: str


class Egress:
    """Which addresses may be connected to: public ones, and what the configuration allows."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        """``allowed`` are networks such as ``10.1.0.0/16``; ValueError for what is none."""
        self._allowed: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(text, strict=False) for text in allowed
        )

    def permits(self, address: str) -> bool:
        """Whether this address may be connected to."""
        try:
            found: _Address = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address):
            # The IPv4 address such a one stands for is what is connected to.
            found = found.ipv4_mapped or found.sixtofour or found
        if _is_in(found, self._allowed):
            return True
        if _is_in(found, _NOT_PUBLIC):
            return False
        return found.is_global and not found.is_multicast and not found.is_reserved

    async def resolve(self, url: str) -> Endpoint:
        """The endpoint of an http or https URL. DeliveryError when it may not be reached."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise DeliveryError("the URL's port is none", is_final=True) from None
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            raise DeliveryError("the URL is not one that can be posted to", is_final=True)
        address = await self._address(host, port)
        shown = f"[{address}]" if ":" in address else address
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        name = f"[{host}]" if ":" in host else host
        authority = name if parts.port is None else f"{name}:{port}"
        return Endpoint(f"{parts.scheme}://{shown}:{port}{path}", host, authority)

    async def _address(self, host: str, port: int) -> str:
        try:
            with trio.fail_after(_LOOK_UP_S):
                infos = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, trio.TooSlowError):
            raise DeliveryError("the URL's host is not known") from None
        addresses = [str(info[4][0]) for info in infos]
        # All of them: a name with one inner and one outer address is somebody's trick.
        if not addresses or not all(self.permits(address) for address in addresses):
            raise DeliveryError("the server may not connect to the URL's host", is_final=True)
        return addresses[0]


def _is_in(address: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
