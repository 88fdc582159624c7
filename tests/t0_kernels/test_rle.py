"""Run-length kernels and filters against encoders written with lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.kernels import rle
from codec.redo.filters import ExrSplit, FloatingPoint, Horizontal
from tests.oracle import runs as oracle

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@st.composite
def runny(draw: st.DrawFn) -> list[int]:
    """Elements in runs and stretches of few values, longer than any token now and then."""
    data: list[int] = []
    for _ in range(draw(st.integers(1, 6))):
        count = draw(st.sampled_from([1, 2, 3, 4, 5, 125, 126, 127, 128, 129, 255, 260]))
        if draw(st.booleans()):
            data += [draw(st.integers(0, 255))] * count
        else:
            few = draw(st.lists(st.integers(0, 3), min_size=1, max_size=9))
            varied = [(i * 7 + few[i % len(few)]) % 256 for i in range(count)]
            data += varied if draw(st.booleans()) else few
    return data


def _encode(
    data: list[int],
    style: int,
    rule: tuple[int, int, int, int, int],
    dtype: type[np.unsignedinteger] = np.uint8,
) -> NDArray[np.unsignedinteger]:
    out = np.empty(2 * len(data) + 1, dtype)
    source = np.array(data, dtype)
    used = rle.encode_runs(source, len(data), style, *rule, False, out)
    assert used > 0
    tight = np.empty(used, dtype)
    assert rle.encode_runs(source, len(data), style, *rule, False, tight) == used
    assert tight.tolist() == out[:used].tolist()
    assert (
        rle.encode_runs(source, len(data), style, *rule, False, np.empty(used - 1, dtype))
        == rle.FULL
    )
    back = np.empty(len(data), dtype)
    assert rle.decode_runs(tight, len(data), style, back) == used
    assert back.tolist() == data
    return tight


@given(runny(), st.sampled_from([126, 127]))
def test_triples(data: list[int], most: int) -> None:
    coded = _encode(data, rle.SGI, (rle.TRIPLES, 2, 2, most, most))
    assert coded.tolist() == oracle.sgi(oracle.triples(data, most))


@given(runny(), st.sampled_from([(2, 2), (2, 3), (3, 3), (3, 2), (4, 3)]))
def test_greedy_in_all_styles(data: list[int], least: tuple[int, int]) -> None:
    styles: list[tuple[int, int, int, Callable[[list[oracle.Token]], list[int]]]] = [
        (rle.SGI, 127, 126, oracle.sgi),
        (rle.PACKBITS, 128, 128, oracle.packbits),
        (rle.EXR, 128, 127, oracle.exr),
    ]
    for style, run, literal, write in styles:
        coded = _encode(data, style, (rle.GREEDY, *least, run, literal))
        assert coded.tolist() == write(oracle.greedy(data, *least, run, literal))


@given(runny(), st.booleans())
def test_pairs(data: list[int], bytewise: bool) -> None:
    dtype = np.uint8 if bytewise else np.uint16
    coded = _encode(data, rle.SGI, (rle.PAIRS, 2, 2, 127, 127), dtype)
    assert coded.tolist() == oracle.sgi(oracle.pairs(data, 127, bytewise))


@given(runny())
def test_merging(data: list[int]) -> None:
    coded = _encode(data, rle.PACKBITS, (rle.MERGING, 2, 2, 128, 128))
    assert coded.tolist() == oracle.packbits(oracle.merging(data))


def test_a_terminator_ends_each_piece() -> None:
    data = np.array([5, 5, 5, 1, 2, 3], np.uint8)
    out = np.empty(20, np.uint8)
    used = rle.encode_runs(data, 3, rle.SGI, rle.GREEDY, 3, 3, 127, 127, True, out)
    assert out[:used].tolist() == [3, 5, 0, 131, 1, 2, 3, 0]
    back = np.empty(6, np.uint8)
    assert rle.decode_runs(out[:used], 3, rle.SGI, back) == used
    assert back.tolist() == data.tolist()


@pytest.mark.parametrize(
    ("style", "coded"),
    [
        (rle.SGI, [0, 0]),
        (rle.SGI, [128, 1]),
        (rle.SGI, [5, 1]),
        (rle.SGI, [132, 1, 2, 3]),
        (rle.SGI, [4]),
        (rle.PACKBITS, [128, 1]),
        (rle.PACKBITS, [3, 1, 2, 3]),
        (rle.PACKBITS, [252, 1]),
        (rle.EXR, [252, 1, 2, 3]),
        (rle.EXR, [4, 1]),
        (rle.EXR, []),
    ],
)
def test_malformed_tokens_are_refused(style: int, coded: list[int]) -> None:
    back = np.empty(4, np.uint8)
    source = np.array(coded, np.uint8)
    assert rle.decode_runs(source, 4, style, back) == rle.MALFORMED


@given(st.lists(st.integers(0, 255), max_size=300), st.integers(1, 400), st.sampled_from([0, 1, 2]))
def test_decoding_any_bytes_ends(coded: list[int], size: int, style: int) -> None:
    back = np.empty(size, np.uint8)
    used = rle.decode_runs(np.array(coded, np.uint8), size, style, back)
    assert used == rle.MALFORMED or 0 < used <= len(coded)


@given(st.binary(min_size=1, max_size=70))
def test_exr_split(data: bytes) -> None:
    rows = np.frombuffer(data, np.uint8)
    assert ExrSplit().forward(rows).tobytes() == oracle.exr_split(data)
    assert ExrSplit().backward(ExrSplit().forward(rows)).tobytes() == data


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("stride", [1, 3, 4, 9])
@pytest.mark.parametrize("sample", [1, 2, 4, 8])
def test_horizontal(sample: int, stride: int, order: str) -> None:
    row = 8 * sample
    data = np.random.default_rng(sample * stride).integers(0, 256, 3 * row, np.uint8)
    naive = [
        oracle.horizontal(data[i : i + row].tobytes(), sample, stride, order)
        for i in range(0, len(data), row)
    ]
    made = Horizontal(row, sample, stride, order == "big")
    assert made.forward(data).tobytes() == b"".join(naive)
    assert made.backward(made.forward(data)).tobytes() == data.tobytes()


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("stride", [1, 3, 4, 60])
@pytest.mark.parametrize("sample", [2, 3, 4, 8])
def test_floating_point(sample: int, stride: int, order: str) -> None:
    row = 6 * sample
    data = np.random.default_rng(sample * stride).integers(0, 256, 3 * row, np.uint8)
    naive = [
        oracle.floating(data[i : i + row].tobytes(), sample, stride, order)
        for i in range(0, len(data), row)
    ]
    made = FloatingPoint(row, sample, stride, order == "big")
    assert made.forward(data).tobytes() == b"".join(naive)
    assert made.backward(made.forward(data)).tobytes() == data.tobytes()
