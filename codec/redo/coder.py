"""What every way of compressing looks like to `codec.redo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray


class Coder(Protocol):
    """A family of encoders that differ in their setting, a few bytes.

    All arrays are one-dimensional contiguous uint8. Coders hold no state.

    ``max_gain`` is more than a byte of compressed data can ever say.
    """

    @property
    def max_gain(self) -> int: ...

    def decode(self, body: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], int]:
        """The ``size`` bytes that ``body`` begins with, and how much of it says them.

        Raises CannotRedo where it does not say them.
        """
        ...

    def settings(self, body: NDArray[np.uint8]) -> Iterable[bytes]:
        """The settings that may have made ``body``, likeliest first."""
        ...

    def check(self, setting: bytes) -> None:
        """Raise DamagedError unless ``setting`` is one that `encode` takes."""
        ...

    def encode(
        self, setting: bytes, data: NDArray[np.uint8], capacity: int
    ) -> NDArray[np.uint8] | None:
        """``data`` compressed, or None where that is more than ``capacity`` bytes."""
        ...

    def makes(self, setting: bytes, data: NDArray[np.uint8], body: NDArray[np.uint8]) -> bool:
        """Whether `encode` makes exactly ``body`` of ``data``; stops early where it does not."""
        ...

    def refusal(self, body: NDArray[np.uint8]) -> str:
        """Why no setting made ``body``, for a person."""
        ...
