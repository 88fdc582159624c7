"""Uncompressed half-float OpenEXR frames, and OpenEXR's own compressions as peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import OpenEXR

from benchmarks.contender import Contender
from benchmarks.errors import NotLosslessError
from benchmarks.folders import memory_folder
from benchmarks.pictures import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.frames import Frame

_COMPRESSIONS = {"ZIP": OpenEXR.ZIP_COMPRESSION, "PIZ": OpenEXR.PIZ_COMPRESSION}


def read_picture(file: bytes) -> Picture:
    """The bit patterns of a half-float frame, its channels in the file's order."""
    with memory_folder() as folder:
        path = Path(folder) / "frame.exr"
        path.write_bytes(file)
        with OpenEXR.File(str(path), separate_channels=True) as opened:
            channels = opened.channels()
            planes = [channels[name].pixels.view(np.uint16) for name in sorted(channels)]
    samples = np.ascontiguousarray(np.stack(planes, axis=2))
    return Picture(samples, 16, samples.nbytes, "half")


class ExrFile(Contender):
    """One of OpenEXR's lossless compressions, by the OpenEXR library through a file on tmpfs.

    The library writes files, not buffers, and the header with the pixels, as PixFS does.
    """

    def __init__(self, compression: str) -> None:
        OpenEXR.set_global_thread_count(0)
        self.name = f"EXR {compression}"
        self.method = (
            f"OpenEXR {OpenEXR.OPENEXR_VERSION}, {compression}, half floats, a file on tmpfs "
            "written and read whole, no extra threads"
        )
        self._compression = _COMPRESSIONS[compression]
        self._folder = memory_folder()
        self._path = str(Path(self._folder.name) / "frame.exr")

    def takes(self, frame: Frame) -> bool:
        return frame.picture.kind == "half"

    def prepare(self, frame: Frame) -> dict[str, NDArray[np.float16]]:
        names = {3: "BGR", 4: "ABGR"}[frame.picture.samples.shape[2]]
        planes = frame.picture.samples.view(np.float16)
        return {name: np.ascontiguousarray(planes[:, :, i]) for i, name in enumerate(names)}

    def encode(self, source: dict[str, NDArray[np.float16]]) -> bytes:
        header = {"compression": self._compression, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, dict(source)) as out:
            out.write(self._path)
        return Path(self._path).read_bytes()

    def decode(self, stored: bytes) -> dict[str, NDArray[np.float16]]:
        Path(self._path).write_bytes(stored)
        with OpenEXR.File(self._path, separate_channels=True) as opened:
            return {name: channel.pixels for name, channel in opened.channels().items()}

    def check(
        self, source: dict[str, NDArray[np.float16]], decoded: dict[str, NDArray[np.float16]]
    ) -> None:
        same = source.keys() == decoded.keys() and all(
            np.array_equal(source[name].view(np.uint16), decoded[name].view(np.uint16))
            for name in source
        )
        if not same:
            raise NotLosslessError(f"{self.name} is not lossless")
