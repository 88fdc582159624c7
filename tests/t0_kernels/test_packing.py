"""Packing kernels against the bit-by-bit oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codec.formats import dpx
from codec.kernels.packing import PAD, pack_row, unpack_rows
from tests.flavors import FLAVORS, flavor_id, frame
from tests.oracle import bits as oracle


@pytest.mark.parametrize("width", [16, 17, 18, 19])
@pytest.mark.parametrize("flavor", FLAVORS, ids=flavor_id)
def test_rows_unpack_and_pack_as_the_oracle_says(flavor: dict[str, Any], width: int) -> None:
    file = frame("noise", width, 3, flavor, padding_bits="random")
    (e,) = dpx.probe(file[:4096], len(file)).elements
    planes = np.zeros((e.components, e.rows, width + 2 * PAD), np.uint16)
    source = np.frombuffer(file, np.uint8)
    place = (int(e.packing), e.bits, e.shift, e.big_endian, e.reverse)
    stray = unpack_rows(source, e.offset, e.row_bytes, e.rows, width, e.components, *place, planes)
    is_luma = flavor["descriptor"] == "luma"
    how = {k: flavor[k] for k in ("bits", "packing", "byte_order")}
    any_padding = False
    for r in range(e.rows):
        line = file[e.offset + r * e.row_bytes :][: e.row_bytes]
        values, padding = oracle.unpack_line(line, width * e.components, **how, luma=is_luma)
        any_padding = any_padding or any(padding)
        inside = planes[:, r, PAD : PAD + width]
        assert inside.T.reshape(-1).tolist() == values
        target = np.full(e.row_bytes, 0xAA, np.uint8)
        words = np.zeros(e.row_bytes + 16, np.uint8)
        linear = np.zeros(width * e.components + 3, np.uint16)
        dims = (e.row_bytes, width, e.components)
        pack_row(target, 0, *dims, *place, planes[:, r], words, linear)
        assert target.tobytes() == oracle.pack_line(values, **how, luma=is_luma)
    assert bool(stray) == any_padding
