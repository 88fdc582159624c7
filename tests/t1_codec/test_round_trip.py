"""What goes into a container comes out of it, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.assembly import Assembly
from codec.types import LEVELS
from tests.flavors import FLAVORS, SAMPLES, flavor_id, frame
from tests.oracle import container as oracle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RGB10 = {"bits": 10, "packing": "filled-a", "byte_order": "be", "descriptor": "rgb"}
SIZES = [(1, 700), (2, 350), (3, 233), (5, 141), (63, 23), (64, 21), (65, 40), (131, 17)]


def assert_round_trip(file: bytes, **how: Any) -> codec.Encoded:  # noqa: ANN401
    encoded = codec.encode(file, **how)
    assert codec.decompress(encoded.container) == file
    assert codec.Reader(encoded.container).verify() == []
    assert encoded.original_length == len(file)
    return encoded


@pytest.mark.parametrize(
    "spoil",
    [lambda whole: whole[:-1] + b"?", lambda whole: whole[:-1], lambda whole: whole + b"?"],
    ids=["another byte", "a byte less", "a byte more"],
)
def test_a_container_that_does_not_hold_its_blocks_is_not_given_out(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]
) -> None:
    finish = Assembly.finish
    monkeypatch.setattr(Assembly, "finish", lambda made, head: spoil(bytes(finish(made, head))))
    with pytest.raises(codec.CodecError):
        codec.encode(frame("noise", 67, 41, RGB10, trailing=b"after the image"))


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("flavor", FLAVORS, ids=flavor_id)
def test_every_flavor_with_samples_chosen_to_hurt(flavor: dict[str, Any], kind: str) -> None:
    file = frame(kind, 67, 41, flavor, padding_bits="random", trailing=b"after the image")
    encoded = assert_round_trip(file)
    if kind in ("zero", "max"):
        assert encoded.reason is None


@pytest.mark.parametrize("flavor", FLAVORS[::7], ids=flavor_id)
@pytest.mark.parametrize("kind", ["picture", "noise", "gray", "sparse", "impulses"])
def test_the_specification_alone_decodes_it(flavor: dict[str, Any], kind: str) -> None:
    file = frame(kind, 37, 43, flavor, padding_bits="random", trailing=b"tail")
    encoded = codec.encode(file)
    assert oracle.decode(encoded.container) == file


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("flavor", FLAVORS[1::9], ids=flavor_id)
def test_odd_sizes(flavor: dict[str, Any], width: int, height: int) -> None:
    assert_round_trip(frame("picture", width, height, flavor))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_levels_and_threads(level: codec.Level, threads: int) -> None:
    file = frame("picture", 700, 300, RGB10)
    encoded = assert_round_trip(file, level=level, threads=threads)
    assert encoded.reason is None
    assert encoded.container == codec.encode(file, level=level).container
    assert codec.decompress(encoded.container, threads=threads) == file


def test_a_photographic_frame_gets_smaller() -> None:
    file = frame("picture", 640, 360, RGB10)
    encoded = codec.encode(file)
    assert encoded.format == "dpx 640x360 rgb 10-bit filled-a be"
    assert len(encoded.container) < 0.6 * len(file)


@settings(max_examples=150)
@given(st.binary(max_size=9000))
def test_any_bytes_at_all(file: bytes) -> None:
    encoded = assert_round_trip(file)
    assert encoded.reason is not None


@settings(max_examples=60)
@given(st.data())
def test_any_damage_to_a_frame_still_round_trips(data: st.DataObject) -> None:
    file = bytearray(frame("picture", 60, 40, data.draw(st.sampled_from(FLAVORS))))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, 2047))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    assert_round_trip(bytes(file[: len(file) - cut // 4]))


def test_a_container_in_a_container() -> None:
    inner = codec.compress(frame("picture", 120, 80, RGB10))
    outer = codec.encode(inner)
    assert outer.reason == "unsupported: begins like a PixFS container"
    assert codec.decompress(outer.container) == inner


@pytest.mark.parametrize(
    "source", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)]
)
def test_any_buffer_will_do(source: Any) -> None:  # noqa: ANN401
    file = frame("picture", 120, 80, RGB10)
    assert codec.decompress(source(codec.compress(source(file)))) == file


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="none of fast, balanced, max"):
        codec.encode(b"x", level="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        codec.encode(b"x", threads=0)


@pytest.mark.slow
def test_the_corpus(corpus: Path) -> None:
    """Every real DPX file, understood or not."""
    files = sorted(p for p in corpus.rglob("*.dpx"))
    assert files
    coded = 0
    for path in files:
        file = path.read_bytes()
        encoded = codec.encode(file)
        assert codec.decompress(encoded.container) == file, path.name
        coded += encoded.reason is None
    assert coded > len(files) // 3
