"""Elements of every kind, and samples chosen to hurt, for tests of tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from codec.types import Element, Packing, Region, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = (
    "zero", "max", "noise", "ramp", "sparse", "scaled", "nan", "subnormal", "rare", "repeated",
    "smooth",
)  # fmt: skip
WIDTHS = st.one_of(st.integers(1, 20), st.sampled_from([31, 63, 64, 65, 128, 130]))


def values(kind: str, rows: int, count: int, seed: int) -> NDArray[np.uint16]:
    """(rows, count) samples of 16 bits of one of `KINDS`; shallower ones take the high bits."""
    random = np.random.default_rng(seed)
    shape = (rows, count)
    if kind == "zero":
        return np.zeros(shape, np.uint16)
    if kind == "max":
        return np.full(shape, 0xFFFF, np.uint16)
    if kind == "noise":
        return random.integers(0, 1 << 16, shape).astype(np.uint16)
    if kind == "ramp":
        return (np.arange(rows * count).reshape(shape) * int(random.integers(1, 999))).astype("u2")
    if kind == "sparse":
        palette = random.integers(0, 1 << 16, 5)
        return palette[random.integers(0, 5, shape)].astype(np.uint16)
    if kind == "scaled":
        return (random.integers(0, 1 << 6, shape) << 10).astype(np.uint16)
    if kind == "nan":
        sign = random.integers(0, 2, shape) << 15
        return (sign | 0x7C00 | random.integers(0, 1 << 10, shape)).astype(np.uint16)
    if kind == "subnormal":
        sign = random.integers(0, 2, shape) << 15
        return (sign | random.integers(0, 1 << 10, shape)).astype(np.uint16)
    if kind == "rare":
        out = np.full(shape, 0x8000, np.uint16)
        out[random.random(shape) < 0.02] = 0xFFFF
        return out
    if kind == "repeated":
        row = random.integers(0, 1 << 16, count)
        return np.repeat(row[None], rows, 0).astype(np.uint16)
    if kind == "smooth":
        y, x = np.indices(shape)
        wave = 20000 + 9000 * np.sin(x / 17) + 7000 * np.cos(y / 5)
        return (wave + random.normal(0, 40, shape)).astype(np.uint16)
    raise ValueError(kind)


@st.composite
def segments(draw: st.DrawFn, components: int) -> Segment:
    """A segment with ``components``, at the start of region 0."""
    packing = draw(st.sampled_from(Packing))
    bits, shift = 8, 0
    if packing is Packing.FILLED:
        bits, shift = 10, draw(st.integers(0, 2))
    elif packing is not Packing.BYTE:
        bits = draw(st.one_of(st.integers(1, 16), st.sampled_from([10, 12, 16])))
    if packing is Packing.WORD:
        shift = draw(st.integers(0, 16 - bits))
    return Segment(components, bits, packing, shift, draw(st.booleans()), draw(st.booleans()))


@st.composite
def elements(draw: st.DrawFn, max_rows: int = 12) -> Element:
    """Elements that `codec.container.check_element` lets pass: every packing, planes apart or
    together, gaps, bands, floating point, up to 16 components."""
    width, rows = draw(WIDTHS), draw(st.integers(1, max_rows))
    shape = draw(st.sampled_from(["one", "apart", "several", "many"]))
    counts = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 4)))]
    if shape == "one":
        counts = counts[:1]
    elif shape == "many":
        counts = [8, 8]
        width = min(width, 20)
    held, regions, signed = [], [], []
    component = offset = at = 0
    band = draw(st.integers(1, max_rows)) if draw(st.booleans()) else 0
    band_header = draw(st.integers(0, 9)) if band else 0
    for number, count in enumerate(counts):
        segment = draw(segments(count))
        at += draw(st.sampled_from([0, 0, 1, 4, 7]))
        held.append(
            Segment(
                count,
                segment.bits,
                segment.packing,
                segment.shift,
                segment.big_endian,
                segment.reverse,
                at,
                len(regions),
            )
        )
        if segment.bits == 16 and draw(st.booleans()):
            signed += range(component, component + count)
        component += count
        at += segment.row_bytes(width)
        if shape == "apart" or number == len(counts) - 1:
            region = Region(offset, at + draw(st.sampled_from([0, 0, 3])), band, band_header)
            offset = region.end(rows) + draw(st.sampled_from([0, 5]))
            regions.append(region)
            at = 0
    order = draw(st.permutations(range(component)))
    return Element(width, rows, tuple(regions), tuple(held), tuple(order), tuple(signed))


def region_bytes(
    e: Element, rows: int, samples: NDArray[np.uint16], seed: int, stray: bool
) -> list[NDArray[np.uint8]]:
    """The bytes of ``rows`` rows in each region: ``samples`` (rows, width * components), gaps and
    headers of slowly changing bytes, and padding bits, random where ``stray`` is set."""
    random = np.random.default_rng(seed)
    out = []
    for region in e.regions:
        own = random.integers(0, 256, region.length(rows)).astype(np.uint8)
        if not stray and region.row_bytes:
            own &= 0x81
        out.append(own)
    first = 0
    for s in e.segments:
        count = e.width * s.components
        part = samples[:, first : first + count] >> (16 - s.bits)
        first += count
        size = s.row_bytes(e.width)
        region = e.regions[s.region]
        for r in range(rows):
            row, used = packed_row(part[r].tolist(), s, size)
            at = region.length(r + 1) - region.row_bytes + s.start
            old = int.from_bytes(out[s.region][at : at + size].tobytes(), "little")
            new = (old & ~used if stray else 0) | row
            out[s.region][at : at + size] = np.frombuffer(new.to_bytes(size, "little"), np.uint8)
    return out


def packed_row(samples: list[int], s: Segment, size: int) -> tuple[int, int]:
    """A row's bytes as a little-endian number, and which of its bits belong to samples."""
    row = used = 0
    for i, value in enumerate(samples):
        for n, bit in enumerate(sample_bits(i, len(samples), s, size)):
            row |= (value >> n & 1) << bit
            used |= 1 << bit
    return row, used


def sample_bits(i: int, count: int, s: Segment, size: int) -> list[int]:
    """Places of the bits of sample i, lowest first, 8 * byte + bit of the byte."""

    def in_word(word: int, bit: int, word_bytes: int) -> int:
        byte = bit // 8
        if s.big_endian:
            byte = word_bytes - 1 - byte
        return 8 * (word * word_bytes + byte) + bit % 8

    if s.packing is Packing.BYTE:
        return [8 * i + n for n in range(8)]
    if s.packing is Packing.WORD:
        return [in_word(i, s.shift + n, 2) for n in range(s.bits)]
    if s.packing is Packing.FILLED:
        place = i % 3 if s.reverse else 2 - i % 3
        return [in_word(i // 3, s.shift + 10 * place + n, 4) for n in range(10)]
    if s.packing is Packing.PACKED_HIGH and s.reverse and i ^ 1 < count:
        i ^= 1
    stream = [i * s.bits + n for n in range(s.bits)]
    if s.packing is Packing.PACKED:
        return [in_word(n // 32, n % 32, 4) for n in stream]
    if s.big_endian:
        return [8 * (n // 8) + 7 - n % 8 for n in reversed(stream)]
    return [in_word(n // 32, 31 - n % 32, 4) for n in reversed(stream)]
