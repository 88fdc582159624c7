"""What a volume does with the files written to it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

import codec

Mode = Literal["on-close", "manual"]

MIB = 1 << 20


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _default_cache_bytes() -> int:
    return min(512 * MIB, _physical_memory_bytes() // 8)


def _default_encode_bytes() -> int:
    return _physical_memory_bytes() // 4


def _default_threads() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Policy:
    """One volume's rules; immutable, checked when made (ValueError).

    Attributes:
        mode: ``on-close`` compresses a file once it has settled, ``manual`` only on demand.
        settle_s: seconds a file must have been closed before it is compressed.
        level: effort of the encoder, one of ``codec.LEVELS``.
        include, exclude: globs over the file's path inside the volume or its bare name; a
            file is compressed by itself when some include and no exclude matches.
        encode_threads: frames encoded at the same time.
        min_size: bytes below which a file stays as it is ("too small").
        cache_bytes: budget of decoded blocks kept in memory.
        encode_bytes: budget of source bytes held in memory by running conversions. A single
            file larger than it is left as it is.
        reserve_bytes: free space that a conversion must leave on the backing file system.
        throttle_read, throttle_write: bytes a second that requests and conversions may move
            at first; 0 is paused, None unlimited.
        rescan: look for raw files that wait for compression when the volume starts.
        drain: finish the whole queue when the mount ends, instead of leaving it to the next one.
        list_xattrs: name the control xattrs in listings, too.
    """

    mode: Mode = "on-close"
    settle_s: float = 3.0
    level: codec.Level = "balanced"
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    encode_threads: int = field(default_factory=_default_threads)
    min_size: int = 4096
    cache_bytes: int = field(default_factory=_default_cache_bytes)
    encode_bytes: int = field(default_factory=_default_encode_bytes)
    reserve_bytes: int = 64 * MIB
    throttle_read: int | None = None
    throttle_write: int | None = None
    rescan: bool = True
    drain: bool = False
    list_xattrs: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, not {self.mode!r}")
        if self.level not in codec.LEVELS:
            raise ValueError(f"level must be one of {', '.join(codec.LEVELS)}, not {self.level!r}")
        if self.encode_threads < 1:
            raise ValueError(f"encode_threads must be at least 1, not {self.encode_threads}")
        for name in ("settle_s", "min_size", "cache_bytes", "encode_bytes", "reserve_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")
        for name in ("throttle_read", "throttle_write"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")

    def wants(self, path: bytes) -> bool:
        """Whether the file at ``path`` (relative to the volume's root) is to be compressed
        without being asked."""
        text = os.fsdecode(path)
        name = text.rpartition("/")[2]

        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatchcase(text, glob) or fnmatchcase(name, glob) for glob in patterns)

        return matches(self.include) and not matches(self.exclude)

    def to_json(self) -> dict[str, object]:
        """The policy as plain JSON values."""
        return asdict(self)
