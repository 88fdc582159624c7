"""One call for a whole file in memory, which answers with a status and never raises.

For callers that hand over whatever they have and act on a code: media asset managers, transfer
tools, the C library (`codec.native`). docs/api/library.md says what each status means and what
to do about it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from codec import licence as licences
from codec.container import HEAD_SIZE, is_container_head
from codec.encode import decompress, encode, probe
from codec.errors import (
    CodecError,
    DamagedError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
)
from codec.formats.base import PROBE_SIZE
from codec.reader import Reader
from codec.types import LEVELS, Level

if TYPE_CHECKING:
    from typing_extensions import Buffer

log = logging.getLogger(__name__)


class Mode(StrEnum):
    """What `process` is to do; AUTO decompresses a container and compresses anything else."""

    COMPRESS = "compress"
    DECOMPRESS = "decompress"
    AUTO = "auto"


class Status(IntEnum):
    """What came of it. The numbers are those of the C library and never change."""

    SUCCESS = 0
    NOT_SUPPORTED = 1
    """Neither a frame of a known format nor a container."""
    SUPPORTED_FAILED = 2
    """Recognised, and yet not done: the message says why."""
    ALREADY_COMPRESSED = 3
    """A container was to be compressed."""
    ALREADY_DECOMPRESSED = 4
    """A frame was to be decompressed."""
    INPUT_BUFFER_ERROR = 5
    """The input cannot be read, is empty, or is a damaged container; or the call is wrong."""
    OUTPUT_BUFFER_OPEN_ERROR = 6
    """There is no memory for the output."""
    LICENSE_EXPIRED = 7
    """A licence is needed, and the key is expired, invalid or missing."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """What `process` found and made.

    Attributes:
        status: see `Status`.
        message: for a person: what was done, or what was wrong and what to do about it.
        output: the container or the original; None unless the status is SUCCESS.
        format: the frame's format as a person would name it, as far as it is known.
        original_size, compressed_size: bytes; 0 where not known.
        level: how the container was encoded; empty where there is none.
        hash: XXH3-128 of the original, in hex; empty where not known.
    """

    status: Status
    message: str
    output: bytes | bytearray | memoryview | None = field(default=None, repr=False)
    format: str | None = None
    original_size: int = 0
    compressed_size: int = 0
    level: str = ""
    hash: str = ""


class _Refused(Exception):
    """An answer that is known before anything was coded."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.result = ProcessResult(status, message)


def process(
    mode: Mode | str,
    buffer: Buffer,
    license: str | None = None,
    *,
    level: Level = "balanced",
    threads: int = 1,
    max_output: int | None = None,
    public_key: str | None = None,
) -> ProcessResult:
    """Compress a frame's file to a container, or decompress a container to the file.

    ``buffer`` is the whole file: anything bytes-like and contiguous. It is read and never
    written to, and must not change meanwhile. What was made has been decoded and compared
    (compress) or checked against the original's hash (decompress) before it is returned.

    ``max_output`` bounds the output in bytes, by default to the machine's memory, so that a small
    container cannot ask for more. ``license`` is looked at only where a public key is configured
    (``public_key``, or ``PIXFS_LICENSE_PUBLIC_KEY`` in the environment). ``level`` counts for
    compressing alone.

    Never raises an Exception, whatever it is given: a status says what happened. Any number of
    threads may call this at once; the work is done without the GIL. Memory: the output, and some
    20 MB a thread.
    """
    try:
        _check_licence(license, public_key)
        verb = _check_call(mode, level, threads, max_output)
        view = _view(buffer)
        is_container = is_container_head(view[:HEAD_SIZE])
        if verb is Mode.DECOMPRESS or (verb is Mode.AUTO and is_container):
            return _decompress(view, is_container, threads, max_output)
        return _compress(view, is_container, level, threads)
    except _Refused as refused:
        return refused.result
    except DamagedError as error:
        return ProcessResult(
            Status.INPUT_BUFFER_ERROR,
            f"the container is damaged ({error}): take it from another copy",
        )
    except MemoryError:
        return ProcessResult(
            Status.OUTPUT_BUFFER_OPEN_ERROR,
            "there is no memory for the output: free some, or work on fewer files at once",
        )
    except CodecError as error:
        return ProcessResult(Status.SUPPORTED_FAILED, f"{error}: the input is untouched, keep it")
    except Exception as error:
        log.exception("processing %s failed", mode)
        return ProcessResult(
            Status.SUPPORTED_FAILED,
            f"internal error ({type(error).__name__}: {error}): the input is untouched, keep it"
            " and report this",
        )


def _check_licence(key: str | None, public_key: str | None) -> None:
    public_key = public_key or licences.configured_public_key()
    if public_key is None:
        return
    try:
        licences.check(key, public_key)
    except licences.LicenceSetupError as error:
        raise _Refused(Status.LICENSE_EXPIRED, f"{error}") from error
    except licences.LicenceError as error:
        raise _Refused(
            Status.LICENSE_EXPIRED, f"{error}: ask whoever supplied this library for a key"
        ) from error


def _check_call(mode: Mode | str, level: str, threads: int, max_output: int | None) -> Mode:
    try:
        verb = Mode(mode)
    except ValueError:
        wrong = f"mode {mode!r} is none of {', '.join(Mode)}"
        raise _Refused(Status.INPUT_BUFFER_ERROR, wrong) from None
    if level not in LEVELS:
        wrong = f"level {level!r} is none of {', '.join(LEVELS)}"
    elif not isinstance(threads, int) or threads < 1:
        wrong = "threads must be at least one"
    elif max_output is not None and (not isinstance(max_output, int) or max_output < 0):
        wrong = "max_output must be a number of bytes, or None"
    else:
        return verb
    raise _Refused(Status.INPUT_BUFFER_ERROR, wrong)


def _view(buffer: Buffer) -> memoryview:
    """The input as read-only bytes. Raises _Refused where that cannot be."""
    try:
        given = memoryview(buffer)
        if given.nbytes == 0:
            raise _Refused(
                Status.INPUT_BUFFER_ERROR, "the input is empty: was the file read, and whole?"
            )
        if "O" in given.format:
            raise TypeError("it holds references to objects")
        return given.toreadonly().cast("B")
    except (TypeError, ValueError, BufferError) as error:
        raise _Refused(
            Status.INPUT_BUFFER_ERROR,
            f"the input cannot be read as bytes ({error}): give one contiguous buffer of them",
        ) from error


def _compress(view: memoryview, is_container: bool, level: Level, threads: int) -> ProcessResult:
    if is_container:
        return _already_compressed(view)
    found = probe(view[:PROBE_SIZE], len(view))
    if found.format is None:
        return _not_supported(view, found.reason)
    if found.reason is not None:
        return _kept(view, found.format, found.reason)
    made = encode(view, level=level, threads=threads)
    if made.reason is not None and len(made.container) >= len(view):
        return _kept(view, made.format, made.reason)
    ratio = len(view) / len(made.container)
    return ProcessResult(
        Status.SUCCESS,
        f"compressed {ratio:.2f}:1",
        made.container,
        made.format,
        len(view),
        len(made.container),
        made.level,
        made.hash,
    )


def _not_supported(view: memoryview, reason: str | None) -> ProcessResult:
    return ProcessResult(
        Status.NOT_SUPPORTED,
        f"{reason or 'the format is not known'}: keep the file as it is",
        original_size=len(view),
    )


def _kept(view: memoryview, name: str, reason: str) -> ProcessResult:
    return ProcessResult(
        Status.SUPPORTED_FAILED,
        f"{reason}: keep the file as it is",
        format=name,
        original_size=len(view),
    )


def _already_compressed(view: memoryview) -> ProcessResult:
    size = len(view)
    try:
        reader = Reader(view)
    except (UnsupportedVersionError, UnsupportedFeatureError) as error:
        message = f"the input is a container already, of a later release ({error})"
        return ProcessResult(Status.ALREADY_COMPRESSED, message, compressed_size=size)
    _check_length(reader)
    return ProcessResult(
        Status.ALREADY_COMPRESSED,
        "the input is a container already: use it as it is, or decompress it",
        None,
        reader.format,
        reader.original_length,
        size,
        reader.level,
        reader.hash,
    )


def _decompress(
    view: memoryview, is_container: bool, threads: int, max_output: int | None
) -> ProcessResult:
    if not is_container:
        found = probe(view[:PROBE_SIZE], len(view))
        if found.format is None:
            return _not_supported(view, "neither a container nor a frame of a known format")
        message = "the input is no container: use it as it is, or compress it"
        return ProcessResult(
            Status.ALREADY_DECOMPRESSED, message, format=found.format, original_size=len(view)
        )
    reader = Reader(view)
    _check_length(reader)
    limit = _memory() if max_output is None else max_output
    if reader.original_length > limit:
        raise _Refused(
            Status.OUTPUT_BUFFER_OPEN_ERROR,
            f"the output would have {reader.original_length} bytes and may have {limit}:"
            " decompress it where there is more memory, or raise max_output",
        )
    output = decompress(view, threads=threads)
    return ProcessResult(
        Status.SUCCESS,
        "decompressed, and its hash holds" if reader.hash else "taken out of its wrap",
        output,
        reader.format,
        len(output),
        len(view),
        reader.level,
        reader.hash,
    )


def _check_length(reader: Reader) -> None:
    """Refuse a container with bytes missing or left over: what follows it would be lost."""
    header = reader.header
    if header.kind == "wrap":
        return
    more = reader.stored_length - header.container_length
    if more < 0:
        raise DamagedError("container", f"it is cut short by {-more} bytes", 0)
    if more > 0:
        raise _Refused(
            Status.INPUT_BUFFER_ERROR,
            f"{more} bytes follow the container: give its own {header.container_length} alone",
        )


def _memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
