"""Rows of samples laid out in words, for the writers of frame files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def filled_words(
    samples: NDArray[np.uint16], *, shift: int, lowest_first: bool = False
) -> NDArray[np.uint32]:
    """Three 10-bit samples a 32-bit word, ``shift`` bits of padding below; (rows, words).

    Places that a row leaves in its last word are zero.
    """
    wide = _extended(samples, 3)
    first, second, third = wide[:, 0::3], wide[:, 1::3], wide[:, 2::3]
    if lowest_first:
        first, third = third, first
    return ((first << np.uint32(20)) | (second << np.uint32(10)) | third) << np.uint32(shift)


def dense_words(samples: NDArray[np.uint16], bits: int, *, high: bool) -> NDArray[np.uint32]:
    """Samples without gaps in 32-bit words, from their high or their low end; (rows, words)."""
    group = 32 // np.gcd(bits, 32)
    rows, count = samples.shape
    wide = _extended(samples, int(group)).reshape(rows, -1, group)
    out = np.zeros((rows, wide.shape[1], group * bits // 32), np.uint32)
    for index in range(group):
        word, at = divmod(index * bits, 32)
        over = at + bits - 32
        value = wide[:, :, index]
        if high:
            out[:, :, word] |= value >> np.uint32(over) if over > 0 else value << np.uint32(-over)
            if over > 0:
                out[:, :, word + 1] |= value << np.uint32(32 - over)
        else:
            out[:, :, word] |= value << np.uint32(at)
            if over > 0:
                out[:, :, word + 1] |= value >> np.uint32(bits - over)
    return out.reshape(rows, -1)[:, : -(-count * bits // 32)]


def dense_bytes(samples: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Samples without gaps, most significant bit first, rows filled up to whole bytes."""
    words = dense_words(samples, bits, high=True).astype(">u4")
    return words.view(np.uint8)[:, : -(-samples.shape[1] * bits // 8)]


def pairs_exchanged(samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Each row with the two samples of every pair exchanged; rows of an even length."""
    rows, count = samples.shape
    return samples.reshape(rows, count // 2, 2)[:, :, ::-1].reshape(rows, count)


def _extended(samples: NDArray[np.uint16], multiple: int) -> NDArray[np.uint32]:
    """Rows lengthened with zeros to a multiple of samples."""
    missing = -samples.shape[1] % multiple
    return np.pad(samples.astype(np.uint32), ((0, 0), (0, missing)))


def check_samples(samples: NDArray[np.uint16], bits: int) -> None:
    """Raise ValueError unless there are samples and each fits in ``bits`` bits."""
    if not samples.size:
        raise ValueError(f"a picture must have samples, not the shape {samples.shape}")
    if int(samples.max()) >> bits:
        raise ValueError(f"a sample of {int(samples.max())} does not fit in {bits} bits")
