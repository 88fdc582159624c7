"""Who may read what is meant for monitors."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MonitorAccess"]

_LOOPBACK = ("127.0.0.0/8", "::1/128")


class MonitorAccess:
    """Networks, and a token if one is set, that a request must show both."""

    def __init__(self, networks: Iterable[str] = _LOOPBACK, token: str = "") -> None:
        """ValueError for what is no network."""
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._token = token.encode()

    def allows(self, address: str, authorization: str) -> bool:
        """Whether a client at this address with this Authorization header may read."""
        try:
            client = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(client, "ipv4_mapped", None)
        if not any((mapped or client) in network for network in self._networks):
            return False
        scheme, _, token = authorization.partition(" ")
        sent = token.strip().encode("utf-8", "surrogateescape")
        if not self._token:
            return True
        return scheme.lower() == "bearer" and hmac.compare_digest(sent, self._token)
