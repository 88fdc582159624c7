"""What the files of one user must hold, also when the mount died in the middle of a change."""

from __future__ import annotations

import xxhash

Digest = str
# A file that is not there.
ABSENT: Digest = ""


def digest(data: bytes) -> Digest:
    """A content's digest."""
    return xxhash.xxh3_128_hexdigest(data)


class Ledger:
    """Names and the contents each may have; one thread.

    A name has one possible content, except from the start of a change to its end: a daemon
    killed meanwhile leaves the old or the new.
    """

    def __init__(self) -> None:
        self._possible: dict[str, set[Digest]] = {}

    def names(self) -> list[str]:
        """Names of files that are, or may be, there."""
        return sorted(self._possible)

    def may_become(self, name: str, content: Digest) -> None:
        """A change to this content, or to ABSENT, begins."""
        self._possible.setdefault(name, {ABSENT}).add(content)

    def has_become(self, name: str, content: Digest) -> None:
        """The change was acknowledged, or the file was looked at."""
        if content == ABSENT:
            self._possible.pop(name, None)
        else:
            self._possible[name] = {content}

    def allows(self, name: str, content: Digest) -> bool:
        """Whether a name may have this content."""
        return content in self._possible.get(name, {ABSENT})

    def only(self, name: str) -> Digest:
        """A settled name's content."""
        (content,) = self._possible[name]
        return content

    def is_settled(self, name: str) -> bool:
        """Whether just one content is possible."""
        return len(self._possible[name]) == 1
