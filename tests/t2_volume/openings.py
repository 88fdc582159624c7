"""Which files a volume opens on the backing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixfs.volume import backing

if TYPE_CHECKING:
    import pytest


def noted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names that are opened by `backing.open_listed` from now on."""
    opened: list[bytes] = []
    really_open = backing.open_listed

    def open_listed(dir_fd: int, name: bytes) -> int:
        opened.append(name)
        return really_open(dir_fd, name)

    monkeypatch.setattr(backing, "open_listed", open_listed)
    return opened
