"""Canon EOS C500 ``.rmf`` (Raw Media Format), one frame a file, in the dress of a DPX file.

Facts, from open-source readers; no real file was at hand
    Magic ``XPDS``, that of a little-endian DPX, so this format is asked before DPX. Offsets:
    0x800 the maker's name, 0x829 and 0x82B height and width (16 bits, little-endian, at odd
    offsets), 0x865 the model, 0x10000 the picture.
    10-bit codes of a Bayer mosaic, three in each little-endian 32-bit word, the first lowest, the
    two lowest bits unused: the other way round than in DPX. Rows are ``width // 3`` words.
    The first four codes of a row belong to the right end of the row two above; they only predict
    badly. Nothing says which sites are green, and nothing depends on it.

Liars met
    None yet. A DPX file whose user data begins with the same name is told by the sizes, and by
    their having no place there.

What stays verbatim
    Data cut short. A third code that makes a row odd is kept beside, as padding; so are the two
    low bits, the rest of the header and trailing bytes.
"""

from __future__ import annotations

import struct

from codec.formats.base import NotUnderstood
from codec.formats.bayer import Mosaic
from codec.types import Layout, Packing, Segment

DATA_OFFSET = 0x10000
_MAKER_AT = 0x800
_SIZE_AT = 0x829
_FIELDS_SIZE = 0x883
_MIN_SIDE, _MAX_SIDE = 64, 16384
_CODES = Segment(2, 10, Packing.FILLED, shift=2, reverse=True)


def recognises(head: bytes) -> bool:
    """Whether a little-endian DPX magic, Canon's name and a size that can be stand there."""
    if head[:4] != b"XPDS" or len(head) < _FIELDS_SIZE:
        return False
    if head[_MAKER_AT : _MAKER_AT + 5].lower() != b"canon":
        return False
    return all(_MIN_SIDE <= side <= _MAX_SIDE for side in struct.unpack_from("<HH", head, _SIZE_AT))


def probe(head: bytes, size: int) -> str:
    """See `codec.formats.base.Format.probe`."""
    return _parse(head, size)[0]


def layout(file: memoryview) -> Layout:
    """See `codec.formats.base.Format.layout`."""
    name, mosaic = _parse(bytes(file[:_FIELDS_SIZE]), len(file))
    return Layout(name, (mosaic.element(),))


def _parse(head: bytes, size: int) -> tuple[str, Mosaic]:
    height, width = struct.unpack_from("<HH", head, _SIZE_AT)
    name = f"canon c500 raw {width}x{height} bayer 10-bit"
    words = width // 3
    mosaic = Mosaic(DATA_OFFSET, 3 * words, height, 4 * words, _CODES)
    if mosaic.end > size:
        raise NotUnderstood("unsupported: C500 raw image data is cut short", name)
    return name, mosaic
