"""FFV1 version 3 by ffmpeg, timed without what ffmpeg does around it.

A codec that lives in another process cannot be timed call by call. The same picture, repeated,
goes through ffmpeg twice: once through the codec, once with the codec left out (raw video in, raw
video discarded; or packets copied and discarded). The difference of the two CPU times, which the
kernel counts for the child, divided by the repetitions, is the codec's. Files live on tmpfs.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.errors import MissingToolError, NotLosslessError, UnreadableFrameError

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from benchmarks.frames import Frame

NAME: Final = "FFV1"
METHOD: Final = (
    "ffmpeg -level 3 -coder 1 -context 0 -g 1 -slices 4 -slicecrc 1 -threads 1, planar samples; "
    "CPU time of the process less that of the same command without the codec"
)
_ENCODER: Final = ["-c:v", "ffv1", "-level", "3", "-coder", "1", "-context", "0", "-g", "1"]
_SLICES: Final = ["-slices", "4", "-slicecrc", "1", "-threads", "1"]
_QUIET: Final = ["ffmpeg", "-v", "error", "-nostdin", "-y"]

# (channels, bits) to pixel format; FFV1 keeps colour in planes of green, blue, red, alpha.
_FORMATS: Final = {
    (1, 8): "gray",
    (1, 10): "gray10le",
    (1, 12): "gray12le",
    (1, 16): "gray16le",
    (3, 10): "gbrp10le",
    (3, 12): "gbrp12le",
    (3, 16): "gbrp16le",
    (4, 10): "gbrap10le",
    (4, 12): "gbrap12le",
    (4, 16): "gbrap16le",
    (3, 8): "bgr0",
    (4, 8): "bgra",
}


@dataclass(frozen=True, slots=True)
class Timing:
    """One round: stored bytes of one picture and CPU seconds a picture."""

    stored: int
    encode_s: float
    decode_s: float


class Ffv1:
    """Owns a folder on tmpfs; use it as a context manager, from one thread."""

    def __init__(self) -> None:
        if shutil.which("ffmpeg") is None:
            raise MissingToolError("ffmpeg is needed for FFV1: apt install ffmpeg (or --no-ffv1)")
        memory = Path("/dev/shm")
        base = memory if os.access(memory, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="pixfs-bench-", dir=base)
        self._checked: set[str] = set()

    def __enter__(self) -> Ffv1:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def measure(self, frame: Frame) -> Timing:
        """Encode and decode the frame once (a few times in a row, for its small overheads).

        Raises:
            UnreadableFrameError: FFV1 has no pixel format for it.
            NotLosslessError: the decoded samples differ.
            subprocess.CalledProcessError: ffmpeg failed.
        """
        height, width, channels = frame.picture.samples.shape
        layout = _FORMATS.get((channels, frame.picture.bits))
        if layout is None:
            raise UnreadableFrameError(f"FFV1 has no {channels} x {frame.picture.bits} bits")
        folder = Path(self._folder.name)
        raw, coded = folder / "raw", folder / "coded.nut"
        payload = _planes(frame.picture.samples, frame.picture.bits)
        repeat = max(2, min(40, round(2e7 / len(payload))))
        raw.write_bytes(payload * repeat)
        source = ["-f", "rawvideo", "-pix_fmt", layout, "-s", f"{width}x{height}", "-i", str(raw)]
        through = [*source, *_ENCODER, *_SLICES]
        # The null muxer drops the packets; the file for decoding is made apart, untimed.
        encode_s = _cpu([*through, "-f", "null", "-"])
        encode_s -= _cpu([*source, "-c:v", "copy", "-f", "null", "-"])
        subprocess.run([*_QUIET, *through, "-f", "nut", str(coded)], check=True)
        if frame.name not in self._checked:
            self._check(frame.name, coded, layout, payload * repeat)
            self._checked.add(frame.name)
        decode_s = _cpu(["-threads", "1", "-i", str(coded), "-c:v", "wrapped_avframe", *_NULL])
        decode_s -= _cpu(["-i", str(coded), "-c:v", "copy", *_NULL])
        stored = coded.stat().st_size // repeat
        return Timing(stored, max(encode_s, 1e-9) / repeat, max(decode_s, 1e-9) / repeat)

    def _check(self, name: str, coded: Path, layout: str, payload: bytes) -> None:
        command = [*_QUIET, "-i", str(coded), "-f", "rawvideo", "-pix_fmt", layout, "-"]
        decoded = subprocess.run(command, check=True, capture_output=True).stdout
        if decoded != payload:
            raise NotLosslessError(f"FFV1 is not lossless on {name}")


_NULL: Final = ["-f", "null", "-"]


def _cpu(arguments: list[str]) -> float:
    """CPU seconds, of user and system, of one run of ffmpeg."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*_QUIET, *arguments], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _planes(samples: NDArray[np.uint16], bits: int) -> bytes:
    """Raw video of the pixel format that `_FORMATS` names."""
    channels = samples.shape[2]
    if bits == 8 and channels >= 3:
        alpha = samples[:, :, 3:] if channels == 4 else np.zeros_like(samples[:, :, :1])
        return np.concatenate([samples[:, :, 2::-1], alpha], axis=2).astype(np.uint8).tobytes()
    order = {1: (0,), 3: (1, 2, 0), 4: (1, 2, 0, 3)}[channels]
    planes = samples[:, :, order].transpose(2, 0, 1)
    return planes.astype(np.uint8 if bits == 8 else np.dtype("<u2")).tobytes()
