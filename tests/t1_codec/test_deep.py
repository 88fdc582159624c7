"""Tiles in mode 6 give their bytes back, by the codec and by the specification alone."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.container import parse_directory
from codec.deep import promises_much
from codec.effort import EFFORTS
from codec.errors import DamagedError
from codec.kernels import class_predict
from codec.kernels.packing import PAD
from codec.synthetic import dpx_file, image
from codec.tile import MODE_DEEP, decode_tile, encode_tile
from codec.types import Element, Packing, Region, Segment
from tests.layouts import KINDS, elements, region_bytes, values
from tests.oracle import container as oracle
from tests.t1_codec.test_tile import as_read

ALWAYS = replace(EFFORTS["max"], deep_rounds=2, deep_rows=4, deep_worth=math.inf)
"""An effort under which every tile is in mode 6."""


def tile_of(e: Element, kind: str, seed: int, stray: bool = False) -> tuple[bytes, list[bytes]]:
    """A tile of all of an element's rows, and the bytes it was made from."""
    samples = values(kind, e.rows, e.width * e.components, seed)
    regions = region_bytes(e, e.rows, samples, seed, stray)
    tile = encode_tile(regions, e.rows, e, ALWAYS)
    assert tile[0] == MODE_DEEP
    return tile, [r.tobytes() for r in regions]


@settings(max_examples=150)
@given(
    e=elements(max_rows=40),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    stray=st.booleans(),
)
def test_every_layout_comes_back(e: Element, kind: str, seed: int, stray: bool) -> None:
    tile, regions = tile_of(e, kind, seed, stray)
    assert [r.tobytes() for r in decode_tile(tile, e.rows, e)] == regions


@settings(max_examples=60)
@given(
    e=elements(max_rows=6),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    stray=st.booleans(),
)
def test_the_specification_decodes_every_layout(
    e: Element, kind: str, seed: int, stray: bool
) -> None:
    tile, regions = tile_of(e, kind, seed, stray)
    assert oracle.decode_tile(tile, e.rows, as_read(e)) == regions


def words(width: int, rows: int, components: int, bits: int = 16) -> Element:
    segment = Segment(components, bits, Packing.WORD)
    order = tuple(range(components))
    return Element(width, rows, (Region(0, 2 * width * components),), (segment,), order)


MOSAIC = (Segment(2, 12, Packing.WORD), replace(Segment(2, 12, Packing.WORD), start=256))


def head_of(tile: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", tile, 4)
    return zlib.decompress(tile[16 : 16 + length])


def with_head(tile: bytes, head: bytes) -> bytes:
    """The tile with other heads."""
    (length,) = struct.unpack_from("<I", tile, 4)
    packed = zlib.compress(head)
    return tile[:4] + struct.pack("<I", len(packed)) + tile[8:16] + packed + tile[16 + length :]


def picture(width: int, rows: int, components: int) -> np.ndarray:
    """Stripes and slopes that lean differently in their parts, values that are all multiples of
    three in the last component, and noise."""
    y, x = np.indices((rows, width))
    random = np.random.default_rng(rows)
    made = np.where(x < width // 2, 40 * np.sin(x / 3) + y, 90 * np.cos(y / 2) + 2 * x)
    noisy = made[..., None] * np.arange(1, components + 1) + random.normal(0, 3, (rows, width, 1))
    made = np.clip(np.rint(noisy + 2000), 0, 65535).astype(np.uint16)
    made[..., -1] = made[..., -1] // 3 * 3
    return made


def test_classes_and_own_maps_are_used() -> None:
    e = words(200, 150, 3)
    raw = picture(200, 150, 3).view(np.uint8).reshape(-1)
    tile = encode_tile([raw], 150, e, EFFORTS["max"])
    assert tile[0] == MODE_DEEP
    head = head_of(tile)
    assert head[4] > 1, "the first plane has one set of coefficients"
    assert decode_tile(tile, 150, e)[0].tobytes() == raw.tobytes()
    assert oracle.decode_tile(tile, 150, as_read(e)) == [raw.tobytes()]
    plain = encode_tile([raw], 150, e, EFFORTS["balanced"])
    assert len(tile) < 0.9 * len(plain)


def test_extreme_coefficients_wrap_as_specified() -> None:
    """Sums that leave 32 bits are the same for encoder, decoder and specification."""
    e = words(70, 5, 2)
    samples = values("noise", 5, 140, 1)
    tile, regions = tile_of(e, "noise", 1)
    head = bytearray(head_of(tile))
    first_taps = 3 + 8 + 6 + 30
    head[first_taps : first_taps + 14] = struct.pack("<7h", *[32767, -32768, 32767] * 2, 32767)
    damaged = with_head(tile, bytes(head))
    assert samples.size
    try:
        decoded = decode_tile(damaged, 5, e)[0].tobytes()
    except DamagedError:
        return
    assert oracle.decode_tile(damaged, 5, as_read(e)) == [decoded]
    assert decoded != regions[0]


BASE = words(70, 20, 2, 10)
TILE, _ = tile_of(BASE, "smooth", 3)
HEAD = head_of(TILE)
FIRST = 3
"""Where the first plane's head begins: after two shifts and no maps."""


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [
        (0, 0, "out of range"),
        (0, class_predict.MAX_CLASSES + 1, "out of range"),
        (1, 2, "out of range"),
        (2, 16, "out of range"),
        (3, 16, "out of range"),
        (6, 65, "out of range"),
        (7, 1, "out of range"),
        (8 + 6 + 30 + 14, 129, "weight"),
    ],
)
def test_heads_that_make_no_sense_are_refused(at: int, byte: int, reason: str) -> None:
    assert HEAD[:FIRST] == bytes(FIRST)
    head = bytearray(HEAD)
    head[FIRST + at] = byte
    with pytest.raises(DamagedError, match=reason):
        decode_tile(with_head(TILE, bytes(head)), BASE.rows, BASE)


def test_heads_of_another_length_are_refused() -> None:
    with pytest.raises(DamagedError, match="too long"):
        decode_tile(with_head(TILE, HEAD + b"\0"), BASE.rows, BASE)
    for size in (FIRST, FIRST + 7, len(HEAD) - 1):
        with pytest.raises(DamagedError, match="cut short"):
            decode_tile(with_head(TILE, HEAD[:size]), BASE.rows, BASE)


def test_classes_and_maps_that_make_no_sense_are_refused() -> None:
    e = words(200, 150, 3)
    raw = picture(200, 150, 3).view(np.uint8).reshape(-1)
    tile = encode_tile([raw], 150, e, EFFORTS["max"])
    head = head_of(tile)
    with pytest.raises(DamagedError, match="no coefficients"):
        decode_tile(with_head(tile, head[:-1] + b"\x08"), 150, e)
    blocks = 10 * 13
    size = (1 << oracle.parse_values(head, as_read(e))[0][2].bits) // 8
    assert any(head[-blocks - size : -blocks]), "the last plane has no map"
    empty = head[: -blocks - size] + bytes(size) + head[-blocks:]
    with pytest.raises(DamagedError, match="takes no values"):
        decode_tile(with_head(tile, empty), 150, e)


def test_a_stream_that_does_not_end_as_it_should_is_refused() -> None:
    body = 16 + struct.unpack_from("<I", TILE, 4)[0]
    for at in (body, len(TILE) - 1):
        damaged = bytearray(TILE)
        damaged[at] ^= 0x81
        with pytest.raises(DamagedError, match="end where they should"):
            decode_tile(bytes(damaged), BASE.rows, BASE)
    with pytest.raises(DamagedError, match="do not fill"):
        decode_tile(TILE[:-1], BASE.rows, BASE)


@settings(max_examples=300)
@given(
    where=st.booleans(),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_is_an_error_or_rows_of_the_right_length(
    where: bool, changes: list[tuple[float, int]]
) -> None:
    raw = bytearray(HEAD if where else TILE)
    for at, byte in changes:
        raw[int(at * (len(raw) - 1))] = byte
    damaged = with_head(TILE, bytes(raw)) if where else bytes(raw)
    try:
        regions = decode_tile(damaged, BASE.rows, BASE)
    except DamagedError:
        return
    assert [r.size for r in regions] == [BASE.regions[0].length(BASE.rows)]


def flat_planes(tile: bytes, e: Element) -> list[bool]:
    """Whether each plane's head says that it has no tokens, of a tile of 200 by 150."""
    head, flat = head_of(tile), []
    found, at = oracle.parse_values(head, as_read(e))
    for p, component in enumerate(e.order):
        sets, mapped, tokens = head[at], head[at + 1], head[at + 6]
        flat.append(tokens == 0)
        at += 8 + 6 + 2 * min(p, 2) + 30 + 2 * sets * (7 + 6 * min(p, 3)) + 16 * tokens + 32
        at += (10 * 13 if sets > 1 else 0) + mapped * (1 << found[component].bits) // 8
    assert at == len(head)
    return flat


def test_a_plane_equal_to_another_takes_no_streams() -> None:
    e = words(200, 150, 3)
    grey = np.ascontiguousarray(picture(200, 150, 2)[..., [0, 0, 0]])
    raw = grey.view(np.uint8).reshape(-1)
    tile = encode_tile([raw], 150, e, EFFORTS["balanced"])
    assert tile[0] == MODE_DEEP
    assert flat_planes(tile, e) == [False, True, True]
    assert decode_tile(tile, 150, e)[0].tobytes() == raw.tobytes()
    assert oracle.decode_tile(tile, 150, as_read(e)) == [raw.tobytes()]


def test_a_plane_without_tokens_must_have_no_streams() -> None:
    e = words(40, 9, 2)
    tile, _ = tile_of(e, "zero", 1)
    head = bytearray(head_of(tile))
    assert head[-32:] == bytes(32), "the lengths of its streams"
    head[-32] = 2
    longer = with_head(tile, bytes(head)) + b"\0\0"
    with pytest.raises(DamagedError, match="without tokens"):
        decode_tile(longer, 9, e)


@pytest.mark.parametrize(
    ("content", "tried"),
    [
        (words(64, 40, 3), True),
        (words(64, 40, 3, 10), False),
        (replace(words(64, 40, 4, 12), segments=MOSAIC, regions=(Region(0, 512),)), True),
    ],
)
def test_balanced_tries_what_promises_much(content: Element, tried: bool) -> None:
    planes = np.random.default_rng(1).integers(0, 1 << 10, (content.components, 40, 64 + 2 * PAD))
    bits = np.full(content.components, content.segments[0].bits, np.int64)
    assert promises_much(planes.astype(np.uint16), content, 40, bits) == tried


def test_balanced_tries_planes_that_are_equal_and_edges_on_calm_ground() -> None:
    e = words(64, 40, 3, 10)
    bits = np.full(3, 10, np.int64)
    planes = np.random.default_rng(1).integers(0, 1 << 10, (3, 40, 64 + 2 * PAD)).astype(np.uint16)
    assert promises_much(planes[[0, 1, 1]], e, 40, bits)
    edges = np.random.default_rng(2).integers(0, 2, planes.shape).astype(np.uint16)
    edges[:, :, ::16] *= 1000
    assert promises_much(edges, e, 40, bits)


@pytest.mark.parametrize("level", codec.LEVELS)
def test_the_feature_is_named_where_there_is_such_a_tile(level: codec.Level) -> None:
    file = dpx_file(image(300, 200))
    container = codec.compress(file, level=level)
    assert bytes(codec.decompress(container)) == file
    reader = codec.Reader(container)
    directory = parse_directory(container[64 : 64 + reader.header.directory_length], reader.header)
    modes = {p[0] for p in reader.stored_payloads()[1:] if len(p) > 16}
    assert ("tile-deep-2" in directory.features) == (MODE_DEEP in modes)
    assert ("tile-deep-2" in directory.features) == (level == "max")
