"""DPX files (SMPTE 268M-2003, version V2.0) around pixels in memory.

Facts the writer follows, checked against ffmpeg and OpenImageIO:

- One image element at offset 2048, no encoding, no end-of-line or end-of-image padding. Each
  line starts on a 32-bit word.
- *Filled A*, 10 bits: three samples a word, the first in the highest bits, two padding bits
  lowest. *Filled B*: the same samples two bits lower, the padding bits highest. 10-bit luma
  turns the order of the three samples round, as scanners' monochrome files do.
- *Filled A*, 12 bits: one sample in each 16 bits, four padding bits below it; *filled B*: above.
- *Packed*: samples follow each other without gaps, lowest bits of each 32-bit word first.
- 8 and 16 bits have one form only and the packing field 0; 8 bits are bytes in file order,
  whatever the file's byte order.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np

from codec.synthetic.picture import image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Packing = Literal["filled-a", "filled-b", "packed"]
ByteOrder = Literal["be", "le"]
Descriptor = Literal["rgb", "rgba", "luma"]
PaddingBits = Literal["zero", "ones", "random"]

Sample = TypeVar("Sample", np.uint8, np.uint16)

BITS: Final = (8, 10, 12, 16)
HEADER_SIZE: Final = 2048

_PACKING: Final = {"packed": 0, "filled-a": 1, "filled-b": 2}
_DESCRIPTOR: Final = {"rgb": (50, 3), "rgba": (51, 4), "luma": (6, 1)}
_CREATION_TIME: Final = b"2024:02:29:12:00:00UTC"
_PRINTING_DENSITY: Final = 1
_FRAMES_PER_SECOND: Final = 24
_UNDEFINED: Final = 0xFFFFFFFF


def dpx_frame(
    width: int,
    height: int,
    *,
    bits: int = 10,
    packing: Packing = "filled-a",
    byte_order: ByteOrder = "be",
    descriptor: Descriptor = "rgb",
    seed: int = 0,
    frame: int = 0,
    trailing: bytes = b"",
    padding_bits: PaddingBits = "zero",
) -> bytes:
    """Make a complete DPX file of `codec.synthetic.image` with these arguments.

    Raises:
        ValueError: a size, depth, packing, order, descriptor or padding that does not exist.
    """
    if descriptor not in _DESCRIPTOR:
        raise ValueError(f"unknown descriptor {descriptor!r}")
    channels = _DESCRIPTOR[descriptor][1]
    return dpx_file(
        image(width, height, channels=channels, bits=bits, seed=seed, frame=frame),
        bits=bits,
        packing=packing,
        byte_order=byte_order,
        frame=frame,
        trailing=trailing,
        padding_bits=padding_bits,
    )


def dpx_file(
    pixels: NDArray[np.uint16],
    *,
    bits: int = 10,
    packing: Packing = "filled-a",
    byte_order: ByteOrder = "be",
    frame: int = 0,
    trailing: bytes = b"",
    padding_bits: PaddingBits = "zero",
) -> bytes:
    """Make a complete DPX file of pixels of (height, width, 1 or 3 or 4), samples below 2**bits.

    Raises:
        ValueError: a shape, depth, packing, order or padding that does not exist, or a sample
            that does not fit in `bits` bits.
    """
    _check(pixels, bits, packing, byte_order, padding_bits)
    height, width, channels = pixels.shape
    filler = _Filler(padding_bits, frame)
    samples = np.ascontiguousarray(pixels, np.uint16).reshape(height, width * channels)
    order = ">" if byte_order == "be" else "<"
    payload = _pack(samples, bits, packing, order, filler, reverse=channels == 1)
    descriptor = next(code for code, count in _DESCRIPTOR.values() if count == channels)
    length = HEADER_SIZE + len(payload) + len(trailing)
    field = 0 if bits in (8, 16) else _PACKING[packing]
    header = _header(width, height, bits, field, descriptor, order, frame, length)
    return b"".join((header, payload, trailing))


def _check(
    pixels: NDArray[np.uint16], bits: int, packing: str, byte_order: str, padding_bits: str
) -> None:
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise ValueError(f"pixels must be (height, width, 1 or 3 or 4), not {pixels.shape}")
    if bits not in BITS:
        raise ValueError(f"bits must be one of {BITS}, not {bits}")
    if packing not in _PACKING:
        raise ValueError(f"unknown packing {packing!r}")
    if byte_order not in ("be", "le"):
        raise ValueError(f"unknown byte order {byte_order!r}")
    if padding_bits not in ("zero", "ones", "random"):
        raise ValueError(f"unknown padding bits {padding_bits!r}")
    if int(pixels.max()) >> bits:
        raise ValueError(f"a sample of {int(pixels.max())} does not fit in {bits} bits")


class _Filler:
    """Values for the bits that carry no picture."""

    def __init__(self, kind: str, frame: int) -> None:
        self._kind = kind
        self._source = np.random.PCG64(np.random.SeedSequence((5, frame)))

    def words(self, shape: tuple[int, int], bits: int) -> NDArray[np.uint32]:
        """An array of the shape with values of `bits` bits (1..32)."""
        top = (1 << bits) - 1
        if self._kind == "zero":
            return np.zeros(shape, np.uint32)
        if self._kind == "ones":
            return np.full(shape, top, np.uint32)
        raw = self._source.random_raw(shape[0] * shape[1])
        return (raw >> np.uint64(64 - bits)).astype(np.uint32).reshape(shape)


def _pack(
    samples: NDArray[np.uint16],
    bits: int,
    packing: str,
    order: str,
    filler: _Filler,
    *,
    reverse: bool,
) -> bytes:
    """Lay the lines of samples out in 32-bit words, and those in the file's byte order."""
    if bits == 8:
        return _pad_lines(samples.astype(np.uint8), 4, filler).tobytes()
    if bits == 16:
        return _pad_lines(samples, 2, filler).astype(order + "u2").tobytes()
    if packing == "packed":
        return _pack_dense(samples, bits, filler).astype(order + "u4").tobytes()
    if bits == 12:
        shift, fill = (4, 0) if packing == "filled-a" else (0, 12)
        out = samples << np.uint16(shift)
        out |= (filler.words(out.shape, 4) << np.uint32(fill)).astype(np.uint16)
        return _pad_lines(out, 2, filler).astype(order + "u2").tobytes()
    return _fill_10(samples, packing, filler, reverse).astype(order + "u4").tobytes()


def _extend(
    samples: NDArray[np.uint16], multiple: int, bits: int, filler: _Filler
) -> NDArray[np.uint32]:
    """Lengthen each line to a multiple of samples with filler."""
    height, count = samples.shape
    missing = -count % multiple
    wide = samples.astype(np.uint32)
    if not missing:
        return wide
    return np.concatenate([wide, filler.words((height, missing), bits)], axis=1)


def _fill_10(
    samples: NDArray[np.uint16], packing: str, filler: _Filler, reverse: bool
) -> NDArray[np.uint32]:
    wide = _extend(samples, 3, 10, filler)
    first, second, third = wide[:, 0::3], wide[:, 1::3], wide[:, 2::3]
    if reverse:
        first, third = third, first
    words = (first << np.uint32(20)) | (second << np.uint32(10)) | third
    padding = filler.words(words.shape, 2)
    if packing == "filled-a":
        return (words << np.uint32(2)) | padding
    return words | (padding << np.uint32(30))


def _pack_dense(samples: NDArray[np.uint16], bits: int, filler: _Filler) -> NDArray[np.uint32]:
    """Pack without gaps: 16 samples of 10 bits fill 5 words, 8 of 12 bits fill 3."""
    group = 16 if bits == 10 else 8
    words_per_group = group * bits // 32
    height, count = samples.shape
    wide = _extend(samples, group, bits, filler).reshape(height, -1, group)
    out = np.zeros((height, wide.shape[1], words_per_group), np.uint32)
    for index in range(group):
        word, shift = divmod(index * bits, 32)
        out[:, :, word] |= wide[:, :, index] << np.uint32(shift)
        if shift + bits > 32:
            out[:, :, word + 1] |= wide[:, :, index] >> np.uint32(32 - shift)
    return out.reshape(height, -1)[:, : -(-count * bits // 32)]


def _pad_lines(lines: NDArray[Sample], multiple: int, filler: _Filler) -> NDArray[Sample]:
    """Lengthen each line of 8- or 16-bit items to whole 32-bit words."""
    height, count = lines.shape
    missing = -count % multiple
    if not missing:
        return lines
    padding = filler.words((height, missing), 8 * lines.itemsize).astype(lines.dtype)
    return np.concatenate([lines, padding], axis=1)


def _header(
    width: int,
    height: int,
    bits: int,
    packing: int,
    descriptor: int,
    order: str,
    frame: int,
    length: int,
) -> bytes:
    """The 2048 header bytes; what is not set is marked undefined as the standard says."""
    header = bytearray(HEADER_SIZE)

    def put(offset: int, fields: str, *values: object) -> None:
        struct.pack_into(order + fields, header, offset, *values)

    name = b"synthetic.%07d.dpx" % frame
    magic = b"SDPX" if order == ">" else b"XPDS"
    put(0, "4sI8sIIIII", magic, HEADER_SIZE, b"V2.0", length, 1, 1664, 384, 0)
    put(36, "100s24s100s", name, _CREATION_TIME, b"PixFS")
    put(660, "I", _UNDEFINED)  # encryption key: not encrypted
    put(768, "HHII", 0, 1, width, height)
    # Data sign, low code and quantity, high code and quantity.
    put(780, "IIfIf", 0, 0, 0.0, (1 << bits) - 1, 2.046)
    put(800, "BBBB", descriptor, _PRINTING_DENSITY, _PRINTING_DENSITY, bits)
    put(804, "HHIII", packing, 0, HEADER_SIZE, 0, 0)
    for unused in range(780 + 72, 780 + 8 * 72, 72):
        put(unused, "40s", b"\xff" * 40)
    put(1408, "IIffII", 0, 0, width / 2, height / 2, width, height)
    put(1432, "100s24s32s32s", name, _CREATION_TIME, b"synthetic", b"1")
    put(1620, "4HII", 0, 0, 0, 0, 1, 1)
    put(1712, "IIIff", frame, _UNDEFINED, 1, float(_FRAMES_PER_SECOND), 180.0)
    put(1920, "II", _time_code(frame), 0)
    put(1928, "56s", b"\xff" * 56)
    return bytes(header)


def _time_code(frame: int) -> int:
    """SMPTE time code hh:mm:ss:ff as eight decimal digits of four bits."""
    seconds, frames = divmod(frame, _FRAMES_PER_SECOND)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return int(f"{hours % 24:02d}{minutes:02d}{seconds:02d}{frames:02d}", 16)
