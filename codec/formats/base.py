"""What every format module shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from codec.types import Layout

PROBE_SIZE = 4096
"""Bytes of a file's head that a probe is given, or all of a shorter file."""


class NotUnderstood(Exception):
    """A file that stays verbatim.

    ``format`` names what was recognised all the same, or is None.
    """

    def __init__(self, reason: str, format_name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.format = format_name


class Format(Protocol):
    """A format module: three functions, each total and bounded on any bytes.

    They raise nothing but NotUnderstood, allocate by what the file holds and never by what a
    header claims, and look at no more of it than they need.
    """

    def recognises(self, head: bytes) -> bool:
        """Whether the first PROBE_SIZE bytes of a file (or fewer) are of this format."""
        ...

    def probe(self, head: bytes, size: int) -> str:
        """The format's name, as far as the head of a recognised file of ``size`` bytes tells.

        Raises NotUnderstood where the head alone shows that the file stays verbatim.
        """
        ...

    def layout(self, file: memoryview) -> Layout:
        """The layout of a recognised file, given whole (bytes, read-only).

        Raises NotUnderstood with the reason it stays verbatim.
        """
        ...
