"""FFV1 version 3 by ffmpeg, timed without what ffmpeg does around it.

A codec that lives in another process cannot be timed call by call. The same picture, repeated,
goes through ffmpeg twice: once through the codec, once with the codec left out (raw video in, raw
video discarded; or packets copied and discarded). The difference of the two CPU times, which the
kernel counts for the child, divided by the repetitions, is the codec's. Files live on tmpfs.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.contender import split
from benchmarks.errors import MissingToolError, NotLosslessError, UnreadableFrameError
from benchmarks.folders import memory_folder
from benchmarks.pictures import in_order, sites

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from benchmarks.frames import Frame
    from benchmarks.pictures import Picture

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
    (3, 14): "gbrp14le",
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


@dataclass(frozen=True, slots=True)
class _Form:
    """One frame as raw video: a pixel format, a size, and the bytes of one or more pictures."""

    layout: str
    width: int
    height: int
    payload: bytes

    def source(self, raw: Path) -> list[str]:
        """ffmpeg's arguments to read it from a file."""
        size = ["-s", f"{self.width}x{self.height}"]
        return ["-f", "rawvideo", "-pix_fmt", self.layout, *size, "-i", str(raw)]


def _forms(picture: Picture) -> list[_Form]:
    """The forms of a picture.

    Raises UnreadableFrameError where FFV1 has no pixel format for it.
    """
    samples = in_order(picture.samples) if picture.kind == "half" else picture.samples
    forms = [_form(samples, picture.bits)]
    if picture.kind == "bayer":
        one, *others = (_form(plane, picture.bits) for plane in split(sites(picture.samples)))
        payload = b"".join([one.payload, *(other.payload for other in others)])
        forms.append(_Form(one.layout, one.width, one.height, payload))
    return forms


def _form(samples: NDArray[np.uint16], bits: int) -> _Form:
    height, width, channels = samples.shape
    # Grey of 14 bits is not to be had: it goes as 16.
    layout = _FORMATS.get((channels, bits)) or (bits == 14 and _FORMATS.get((channels, 16)))
    if not layout:
        raise UnreadableFrameError(f"FFV1 has no {channels} x {bits} bits")
    return _Form(layout, width, height, _planes(samples, bits))


class Ffv1:
    """Owns a folder on tmpfs; use it as a context manager, from one thread."""

    def __init__(self) -> None:
        if shutil.which("ffmpeg") is None:
            raise MissingToolError("ffmpeg is needed for FFV1: apt install ffmpeg (or --no-ffv1)")
        self._folder = memory_folder()
        self._numbers: dict[str, int] = {}
        self._chosen: dict[str, int] = {}

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
        form = self._form(frame)
        folder = Path(self._folder.name)
        raw, coded = folder / "raw", folder / f"{self._number(frame)}.nut"
        repeat = max(2, min(40, round(1e7 / len(form.payload))))
        raw.write_bytes(form.payload * repeat)
        through = [*form.source(raw), *_ENCODER, *_SLICES]
        # The null muxer drops the packets; the file for decoding is made apart, untimed.
        encode_s = _cpu([*through, "-f", "null", "-"])
        encode_s -= _cpu([*form.source(raw), "-c:v", "copy", "-f", "null", "-"])
        if not coded.exists():
            subprocess.run([*_QUIET, *through, "-f", "nut", str(coded)], check=True)
            self._check(frame.name, coded, form.layout, form.payload * repeat)
        decode_s = _cpu(["-threads", "1", "-i", str(coded), "-c:v", "wrapped_avframe", *_NULL])
        decode_s -= _cpu(["-i", str(coded), "-c:v", "copy", *_NULL])
        stored = coded.stat().st_size // repeat
        return Timing(stored, max(encode_s, 1e-9) / repeat, max(decode_s, 1e-9) / repeat)

    def _number(self, frame: Frame) -> int:
        """What the frame's coded file is called; it is kept for the rounds that follow."""
        return self._numbers.setdefault(frame.name, len(self._numbers))

    def _form(self, frame: Frame) -> _Form:
        """The frame as raw video; of a mosaic, whole or its four sites apart by their sizes."""
        forms = _forms(frame.picture)
        if len(forms) == 1:
            return forms[0]
        if frame.name not in self._chosen:
            sizes = [self._size(form) for form in forms]
            self._chosen[frame.name] = sizes.index(min(sizes))
        return forms[self._chosen[frame.name]]

    def _size(self, form: _Form) -> int:
        raw, coded = (Path(self._folder.name) / name for name in ("raw", "coded.nut"))
        raw.write_bytes(form.payload)
        arguments = [*form.source(raw), *_ENCODER, *_SLICES, "-f", "nut", str(coded)]
        subprocess.run([*_QUIET, *arguments], check=True)
        return coded.stat().st_size

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
