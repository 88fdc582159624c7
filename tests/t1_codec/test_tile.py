"""Tiles of every layout give their bytes back, by the codec and by the specification alone."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codec.container import Directory, Header, check_element, checksum, parse_directory
from codec.effort import EFFORTS
from codec.tile import MODE_PACKED, MODE_PREDICTED, decode_tile, encode_tile
from codec.types import LEVELS, Element, Level, Packing, Region, Segment
from tests.layouts import KINDS, elements, region_bytes, values
from tests.oracle import container as oracle

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tile_of(
    e: Element, kind: str, seed: int, level: Level, stray: bool
) -> tuple[bytes, list[bytes]]:
    """A tile of all of an element's rows, and the bytes it was made from."""
    samples = values(kind, e.rows, e.width * e.components, seed)
    regions = region_bytes(e, e.rows, samples, seed, stray)
    return encode_tile(regions, e.rows, e, EFFORTS[level]), [r.tobytes() for r in regions]


def as_read(e: Element) -> oracle.Element:
    """The element as the oracle reads it from a directory."""
    raw = Directory(elements=[e]).pack()
    at = raw.index(b"ELEM")
    size = int.from_bytes(raw[at + 4 : at + 8], "little")
    (parsed,) = oracle.parse_elements(raw[at + 8 : at + 8 + size])
    return parsed


@settings(max_examples=250)
@given(
    e=elements(),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from(LEVELS),
    stray=st.booleans(),
)
def test_every_layout_comes_back(
    e: Element, kind: str, seed: int, level: Level, stray: bool
) -> None:
    check_element(e)
    tile, regions = tile_of(e, kind, seed, level, stray)
    assert [r.tobytes() for r in decode_tile(tile, e.rows, e)] == regions


@settings(max_examples=60)
@given(
    e=elements(max_rows=6),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from(LEVELS),
    stray=st.booleans(),
)
def test_the_specification_decodes_every_layout(
    e: Element, kind: str, seed: int, level: Level, stray: bool
) -> None:
    tile, regions = tile_of(e, kind, seed, level, stray)
    assert oracle.decode_tile(tile, e.rows, as_read(e)) == regions


def gray(width: int, rows: int, bits: int = 16) -> Element:
    segment = Segment(1, bits, Packing.WORD)
    return Element(width, rows, (Region(0, 2 * width),), (segment,), (0,))


def clean(rows: int, width: int, bits: int) -> NDArray[np.uint16]:
    """Letters far apart on an even ground: what a general-purpose compressor is good at."""
    random = np.random.default_rng(bits)
    cell = np.full((32, 100), 1, np.uint16)
    cell[:16, :24] = random.integers(0, 1 << bits, (16, 24))
    return np.tile(cell, (-(-rows // 32), -(-width // 100)))[:rows, :width].copy()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("level", LEVELS)
def test_clean_pictures_are_packed(level: Level, bits: int) -> None:
    e = gray(400, 64, bits)
    raw = clean(64, 400, bits).view(np.uint8).reshape(-1)
    tile = encode_tile([raw], 64, e, EFFORTS[level])
    assert tile[0] == MODE_PACKED
    assert decode_tile(tile, 64, e)[0].tobytes() == raw.tobytes()
    assert oracle.decode_tile(tile, 64, as_read(e)) == [raw.tobytes()]


def test_both_packers_are_used() -> None:
    packers = set()
    for noisy in (0, 150):
        raw = clean(64, 400, 8)
        at = np.random.default_rng(2).integers(0, raw.size, noisy)
        raw.reshape(-1)[at] ^= np.arange(noisy, dtype=np.uint16)
        e = gray(400, 64, 8)
        tile = encode_tile([raw.view(np.uint8).reshape(-1)], 64, e, EFFORTS["balanced"])
        assert decode_tile(tile, 64, e)[0].tobytes() == raw.tobytes()
        packers.add((tile[0], tile[1]))
    assert packers == {(MODE_PACKED, 1), (MODE_PACKED, 2)}


def test_flat_and_noisy_planes_stand_side_by_side() -> None:
    """The blocks of a plane that are all zero are not written; the others are."""
    rows, width = 40, 300
    samples = np.full((rows, width), 77, np.uint16)
    samples[10:20, 100:250] = np.random.default_rng(4).integers(0, 1 << 16, (10, 150))
    e = gray(width, rows)
    tile = encode_tile([samples.view(np.uint8).reshape(-1)], rows, e, EFFORTS["balanced"])
    assert tile[0] == MODE_PREDICTED
    assert oracle.decode_tile(tile, rows, as_read(e)) == [samples.tobytes()]
    assert decode_tile(tile, rows, e)[0].tobytes() == samples.tobytes()


def test_the_specifications_example_is_true() -> None:
    page = Path(__file__).resolve().parent.parent.parent / "docs" / "format" / "container-v1.md"
    section = page.read_text().partition("### Example")[2].partition("## Versions")[0]
    blocks = re.findall(r"(?:^    (?:[0-9A-F]{2} ?)+\n)+", section, re.M)
    tile, residuals, rows = (bytes.fromhex(block) for block in blocks)
    e = Element(10, 2, (Region(0, 10),), (Segment(1, 8, Packing.BYTE),), (0,))
    assert zlib.decompress(tile[16 + tile[4] :]) == residuals
    assert oracle.decode_tile(tile, 2, as_read(e)) == [rows]
    assert decode_tile(tile, 2, e)[0].tobytes() == rows


@given(elements())
@example(gray(5, 5))
def test_elements_are_written_and_read(e: Element) -> None:
    directory = Directory(elements=[e])
    raw = directory.pack()
    header = Header("container", 0, 64 + len(raw), len(raw), bytes(16), checksum(raw))
    (read,) = parse_directory(raw, header).elements
    assert read == e


def _two(**changes: object) -> Element:
    """Two planes in two regions with bands of four rows; ``changes`` are the second region's."""
    plane = {"offset": 400, "row_bytes": 8, "band_rows": 4, "band_header": 2, **changes}
    regions = (Region(0, 8, 4, 2), Region(**plane))  # type: ignore[arg-type]
    planes = (
        Segment(1, 8, Packing.BYTE),
        Segment(1, 8, Packing.BYTE, region=1),
    )
    return Element(8, 12, regions, planes, (0, 1))


def test_bands_that_differ_from_region_to_region_are_refused() -> None:
    """A tile could begin at a band of one region and inside one of another."""
    check_element(_two())
    check_element(_two(band_rows=0, band_header=0))
    with pytest.raises(ValueError, match="bands differ"):
        check_element(_two(band_rows=3))


@pytest.mark.parametrize(("start", "region"), [(7, 0), (0, 0), (8, 1)])
def test_segments_that_overlap_are_refused(start: int, region: int) -> None:
    first = Segment(1, 8, Packing.BYTE)
    second = Segment(1, 8, Packing.BYTE, start=start, region=region)
    e = Element(8, 1, (Region(0, 16), Region(16, 16)), (first, second), (0, 1))
    if region:
        check_element(e)
        return
    with pytest.raises(ValueError, match="overlap"):
        check_element(e)
