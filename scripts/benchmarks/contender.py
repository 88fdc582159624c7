"""What a codec must offer to be measured: one thread each, every result checked.

PixFS takes and gives back the file; most peers take samples in the form that suits them best and
give back samples. They are thereby spared the work of unpacking words, packing them again and
keeping the header; the figures favour them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import NotLosslessError
from benchmarks.pictures import Picture, in_order, sites

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.frames import Frame

# A smaller result must be this much smaller before it is chosen over a faster one.
_WORTH = 0.995


class Contender(ABC):
    """One codec at one setting. Instances belong to the thread that runs the benchmark."""

    name: str
    method: str
    rounds: int | None = None
    """Rounds to take part in; None: all. With 1, the checked pass is the timed one."""

    def takes(self, frame: Frame) -> bool:
        """Whether the frame is measured with it at all."""
        return True

    def prepare(self, frame: Frame) -> Any:  # noqa: ANN401 - each contender has its own form
        """The frame in the form that `encode` takes; not timed."""
        return frame.picture.samples

    @abstractmethod
    def encode(self, source: Any) -> Any:  # noqa: ANN401
        """Encode what `prepare` made."""

    @abstractmethod
    def decode(self, stored: Any) -> Any:  # noqa: ANN401
        """Decode what `encode` made."""

    def stored_size(self, stored: Any) -> int:  # noqa: ANN401
        """Bytes of what `encode` made."""
        return len(stored)

    def check(self, source: Any, decoded: Any) -> None:  # noqa: ANN401
        """Raise NotLosslessError unless the decoded form equals the prepared one; not timed."""
        if not np.array_equal(np.asarray(source), np.asarray(decoded).reshape(source.shape)):
            raise NotLosslessError(f"{self.name} is not lossless")


class OfFile(Contender):
    """A contender that takes the file's bytes."""

    def prepare(self, frame: Frame) -> bytes:
        return frame.file

    def check(self, source: bytes, decoded: bytes | bytearray) -> None:
        if decoded != source:
            raise NotLosslessError(f"{self.name} is not lossless")


class OfPictures(Contender):
    """A contender that takes pictures, in whichever of several forms it makes smallest.

    A form is a list of (picture of shape (height, width, channels), bits) that are coded apart.
    The forms of a frame are compared once, untimed; the first wins unless another is 0.5 %
    smaller.
    """

    def __init__(self) -> None:
        self._chosen: dict[str, int] = {}

    def forms(self, picture: Picture) -> list[list[NDArray[Any]]]:
        """The forms to try; by default the whole picture, and a mosaic's four sites apart."""
        samples = of_depth(picture)
        if picture.kind == "bayer":
            return [[samples], split(of_depth(picture, sites(picture.samples)))]
        return [[samples]]

    @abstractmethod
    def encode_one(self, samples: NDArray[Any], bits: int) -> Any:  # noqa: ANN401
        """Encode one picture of (height, width, channels), uint8 below nine bits."""

    @abstractmethod
    def decode_one(self, stored: Any, shape: tuple[int, ...], bits: int) -> Any:  # noqa: ANN401
        """Decode one picture."""

    def prepare(self, frame: Frame) -> list[tuple[NDArray[Any], int]]:
        forms = [
            [(samples, frame.picture.bits) for samples in form]
            for form in self.forms(frame.picture)
        ]
        if frame.name not in self._chosen:
            self._chosen[frame.name] = self._smallest(forms) if len(forms) > 1 else 0
        return forms[self._chosen[frame.name]]

    def _smallest(self, forms: list[list[tuple[NDArray[Any], int]]]) -> int:
        sizes = [self.stored_size(self.encode(form)) for form in forms]
        best = min(range(len(sizes)), key=sizes.__getitem__)
        return best if sizes[best] < sizes[0] * _WORTH else 0

    def encode(self, source: list[tuple[NDArray[Any], int]]) -> list[tuple[Any, Any, int]]:
        return [(self.encode_one(one, bits), one.shape, bits) for one, bits in source]

    def decode(self, stored: list[tuple[Any, Any, int]]) -> list[Any]:
        return [self.decode_one(data, shape, bits) for data, shape, bits in stored]

    def stored_size(self, stored: list[tuple[Any, Any, int]]) -> int:
        return sum(len(data) for data, _, _ in stored)

    def check(self, source: list[tuple[NDArray[Any], int]], decoded: list[Any]) -> None:
        for (samples, _), result in zip(source, decoded, strict=True):
            same = np.array_equal(bits_of(samples), bits_of(np.asarray(result)))
            if not same:
                raise NotLosslessError(f"{self.name} is not lossless")


def of_depth(picture: Picture, samples: NDArray[np.uint16] | None = None) -> NDArray[Any]:
    """The samples in the smallest type, contiguous; half floats' patterns in order."""
    chosen = picture.samples if samples is None else samples
    if picture.kind == "half":
        chosen = in_order(chosen)
    item: type[np.unsignedinteger[Any]] = np.uint8 if picture.bits == 8 else np.uint16
    return np.ascontiguousarray(chosen, item)


def split(samples: NDArray[Any]) -> list[NDArray[Any]]:
    """Each channel as a picture of its own."""
    return [
        np.ascontiguousarray(samples[:, :, channel : channel + 1])
        for channel in range(samples.shape[2])
    ]


def bits_of(samples: NDArray[Any]) -> NDArray[Any]:
    """What to compare: half floats by their bits, since NaN differs from itself."""
    return samples.view(np.uint16).ravel() if samples.dtype == np.float16 else samples.ravel()
