"""Webhooks: a signed POST of JSON.

    X-PixFS-Event: job.succeeded
    X-PixFS-Delivery: 41                      the same for every attempt at one message
    X-PixFS-Timestamp: 1767225600             seconds since 1970, of this attempt
    X-PixFS-Signature: sha256=<hex>           HMAC-SHA256 of "<timestamp>.<body>"

The receiver answers 2xx when it has the message; anything else is tried again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import httpx
import trio

from server.notify.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from server.notify.egress import Egress

__all__ = ["Webhook", "signature"]

_PATIENCE_S = 15


def signature(key: bytes, timestamp: int, body: bytes) -> str:
    """The value of the signature header."""
    return "sha256=" + hmac.new(key, b"%d." % timestamp + body, hashlib.sha256).hexdigest()


class Webhook:
    """Posts messages; any trio task may."""

    def __init__(self, egress: Egress, *, patience_s: float = _PATIENCE_S) -> None:
        self._egress = egress
        self._patience_s = patience_s

    async def send(
        self,
        url: str,
        payload: Mapping[str, Any],
        *,
        event: str,
        number: int,
        key: bytes,
        now: datetime,
    ) -> None:
        """Posts one message. DeliveryError unless the receiver has taken it."""
        endpoint = await self._egress.resolve(url)
        body = json.dumps(payload).encode()
        timestamp = int(now.timestamp())
        headers = {
            "Host": endpoint.authority,
            "Content-Type": "application/json",
            "User-Agent": "PixFS",
            "X-PixFS-Event": event,
            "X-PixFS-Delivery": str(number),
            "X-PixFS-Timestamp": str(timestamp),
            "X-PixFS-Signature": signature(key, timestamp, body),
        }
        with trio.move_on_after(self._patience_s) as scope:
            status = await self._post(endpoint.url, endpoint.host, headers, body)
        if scope.cancelled_caught:
            raise DeliveryError(f"no answer within {self._patience_s:g} s")
        if not 200 <= status < 300:
            raise DeliveryError(f"the receiver answered {status}")

    async def _post(self, url: str, host: str, headers: dict[str, str], body: bytes) -> int:
        """The answer's status; its body, however long, is not read. No redirects, no proxies of
        the environment: both would lead to addresses that nobody checked."""
        try:
            async with (
                httpx.AsyncClient(trust_env=False, follow_redirects=False) as client,
                client.stream(
                    "POST",
                    url,
                    headers=headers,
                    content=body,
                    extensions={"sni_hostname": host},
                    timeout=self._patience_s,
                ) as response,
            ):
                return response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise DeliveryError(
                f"the receiver cannot be reached ({type(error).__name__})"
            ) from error
