"""Rates as people write them: ``50M``, ``0`` (paused), ``unlimited``."""

from __future__ import annotations

import re

UNLIMITED = "unlimited"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGT]?)(?:i?B)?(?:/s)?", re.ASCII | re.I)
# More than any storage moves, few enough for exact arithmetic in a float.
_FASTEST = 1 << 50


def parse_rate(text: str) -> int | None:
    """Bytes a second, None for unlimited; K, M, G and T are powers of 1024.

    Raises ValueError, with a text that says what is wanted.
    """
    text = text.strip()
    if text.lower() == UNLIMITED:
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no rate: give bytes a second such as 800K, 50M or 1.5G, 0 to pause,"
            f" or {UNLIMITED}"
        )
    rate = int(float(match["number"]) * _UNITS[match["unit"].upper()])
    if rate > _FASTEST:
        raise ValueError(f"{text!r} is more than 1024T a second; say {UNLIMITED}")
    if rate == 0 and float(match["number"]) > 0:
        raise ValueError(f"{text!r} is less than a byte a second; say 0 to pause")
    return rate


def format_rate(rate: int | None) -> str:
    """The text `parse_rate` reads back as exactly this rate."""
    if rate is None:
        return UNLIMITED
    for unit in ("T", "G", "M", "K"):
        if rate and rate % _UNITS[unit] == 0:
            return f"{rate // _UNITS[unit]}{unit}"
    return str(rate)
