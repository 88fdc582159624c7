"""An uncompressed 16-bit TIFF, as a film scanner's or a compositor's export writes it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SHORT, _LONG, _BYTE = 3, 4, 1
_RGB, _MOSAIC = 2, 32803
_ROWS_PER_STRIP = 64


def tiff_file(samples: NDArray[np.uint16], *, mosaic: bool = False) -> bytes:
    """A little-endian TIFF of (height, width, 3), or of a Bayer mosaic (height, width, 1)."""
    height, width, channels = samples.shape
    data = samples.astype("<u2").tobytes()
    strip = _ROWS_PER_STRIP * width * channels * 2
    starts = list(range(0, len(data), strip))
    counts = [min(strip, len(data) - start) for start in starts]
    entries = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [16] * channels),
        (259, _SHORT, [1]),
        (262, _SHORT, [_MOSAIC if mosaic else _RGB]),
        (273, _LONG, [8 + start for start in starts]),
        (277, _SHORT, [channels]),
        (278, _LONG, [_ROWS_PER_STRIP]),
        (279, _LONG, counts),
        (284, _SHORT, [1]),
    ]
    if mosaic:
        entries += [(33421, _SHORT, [2, 2]), (33422, _BYTE, [0, 1, 1, 2])]
    at = 8 + len(data)
    records, extras = [], b""
    room = at + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{'BHI'[kind - 1 if kind == 1 else kind - 2]}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", room + len(extras))
            extras += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        records.append(struct.pack("<HHI", tag, kind, len(values)) + place)
    directory = struct.pack("<H", len(entries)) + b"".join(records) + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, at) + data + directory + extras
