"""What is in memory is read at once, and what is not is not begun to be read."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import pagecache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 1 << 20
DATA = os.urandom(SIZE + 5000)


@contextmanager
def opened(path: Path, data: bytes = DATA) -> Iterator[int]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def forget(fd: int) -> None:
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    if not pagecache.missing_pages(fd, len(DATA), 0):
        pytest.skip("this file system, or kernel, keeps or tells nothing of what is in memory")


@pytest.mark.parametrize(
    ("size", "offset"),
    [(4096, 0), (SIZE, 0), (SIZE, 777), (SIZE, 5000), (SIZE, 6000), (SIZE, 2 * SIZE), (5, SIZE)],
)
def test_what_is_in_memory_is_read_at_once(tmp_path: Path, size: int, offset: int) -> None:
    """Also past the end."""
    with opened(tmp_path / "file") as fd:
        assert pagecache.pread_nowait(fd, size, offset) == DATA[offset : offset + size]


def test_what_is_not_in_memory_is_not_begun_to_be_read(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as fd:
        forget(fd)
        missing = pagecache.missing_pages(fd, len(DATA), 0)
        assert missing == -(-len(DATA) // 4096)
        assert pagecache.pread_nowait(fd, SIZE, 100) is None
        assert pagecache.missing_pages(fd, len(DATA), 0) == missing


def test_the_rest_of_what_is_in_memory_is_not_either(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as fd:
        forget(fd)
        # Nothing is read ahead.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(fd, 256 << 10, 0)
        assert pagecache.pread_nowait(fd, SIZE, 0) is None
        assert pagecache.pread_nowait(fd, 256 << 10, 0) == DATA[: 256 << 10]


def test_a_kernel_that_does_not_tell_is_asked_by_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "file") as fd:
        forget(fd)
        monkeypatch.setattr(pagecache, "_SYS_CACHESTAT", 100_000)
        assert pagecache.missing_pages(fd, SIZE, 0) == 0
        assert pagecache.pread_nowait(fd, SIZE, 0) is None
        assert os.pread(fd, SIZE, 0) == DATA[:SIZE]
        assert pagecache.pread_nowait(fd, SIZE, 0) == DATA[:SIZE]


def test_a_hint_has_all_of_a_file_read_however_little_the_kernel_reads_ahead(
    tmp_path: Path,
) -> None:
    """What one hint was taken for was 8 MiB here, and 128 KiB on many machines."""
    size = (12 << 20) + 100
    with opened(tmp_path / "file", bytes(size)) as fd:
        forget(fd)
        pagecache.will_read(fd)
        assert pagecache.missing_pages(fd, size, 0) == 0
