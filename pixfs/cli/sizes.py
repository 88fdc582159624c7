"""Numbers of bytes as people read them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_size(count: float) -> str:
    """Bytes the way file managers of this trade show them: decimal units."""
    size = float(count)
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes every size")


def format_ratio(logical: int, stored: int) -> str:
    """How many logical bytes a stored one stands for: ``2.19:1``."""
    return f"{logical / stored:.2f}:1" if stored else "-"
