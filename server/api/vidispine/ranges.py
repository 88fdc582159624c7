"""The Range header of HTTP (RFC 9110, section 14), as far as one part of a file goes."""

from __future__ import annotations

import re

__all__ = ["Unsatisfiable", "parse_range"]

_ONE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """No byte of the file lies in the range."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The part that is wanted, from its first byte to after its last. Raises Unsatisfiable.

    None when the whole file is to be sent: the header cannot be read, or names several parts, of
    which a thousand would cost far more than they are worth.
    """
    match = _ONE.fullmatch(header)
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        if int(last) == 0 or size == 0:
            raise Unsatisfiable
        return max(size - int(last), 0), size
    start = int(first)
    end = size if not last else int(last) + 1
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(end, size)
