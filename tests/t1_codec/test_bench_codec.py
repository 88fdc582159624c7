"""The codec benchmark's frames are laid out as they claim, and its verdicts follow its figures."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.cells import Cell, Figures
    from numpy.typing import NDArray

RANDOM = np.random.default_rng(11)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _scripts_on_path(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.syspath_prepend(request.config.rootpath / "scripts")


def codes(height: int, width: int, bits: int) -> NDArray[np.uint16]:
    return RANDOM.integers(0, 1 << bits, (height, width)).astype(np.uint16)


def test_ari_words_are_those_of_the_layout() -> None:
    from benchmarks.bayer import ari_file

    mosaic = codes(4, 16, 12)
    file = ari_file(mosaic)
    assert file[:8] == b"ARRI\x12\x34\x56\x78"
    assert struct.unpack_from("<III", file, 8) == (4096, 3, 60)
    assert struct.unpack_from("<II", file, 20) == (16, 4)
    assert struct.unpack_from("<I", file, 72) == (len(file) - 4096,)
    words = []
    flat = [int(code) for code in mosaic.ravel()]
    for at in range(0, len(flat), 8):
        p = flat[at : at + 8]
        words.append(p[1] << 20 | p[0] << 8 | p[3] >> 4)
        words.append((p[3] & 15) << 28 | p[2] << 16 | p[5] << 4 | p[4] >> 8)
        words.append((p[4] & 255) << 24 | p[7] << 12 | p[6])
    assert file[4096:] == struct.pack(f"<{len(words)}I", *words)


def test_rmf_words_are_those_of_the_layout() -> None:
    from benchmarks.bayer import rmf_file

    mosaic = codes(4, 12, 10)
    file = rmf_file(mosaic)
    assert file[:4] == b"XPDS"
    assert struct.unpack_from("<HH", file, 0x829) == (4, 12)
    words = struct.unpack_from(f"<{4 * 4}I", file, 65536)
    decoded = [(word >> (10 * c + 2)) & 0x3FF for word in words for c in range(3)]
    assert decoded == mosaic.ravel().tolist()
    assert len(file) == 65536 + 4 * len(words)


def test_a_cine_frame_is_unpacked(tmp_path: Path) -> None:
    from benchmarks.bayer import read_cine

    mosaic = codes(6, 8, 10)
    bits = "".join(f"{code:010b}" for code in mosaic.ravel())
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = bytearray(44 + 40)
    struct.pack_into("<2sHHH", header, 0, b"CI", 44, 2, 1)
    struct.pack_into("<III", header, 24, 44, 84, 84)
    struct.pack_into("<Iii", header, 44, 40, 8, 6)
    annotation = struct.pack("<II", 8, len(packed))
    path = tmp_path / "one.cine"
    path.write_bytes(bytes(header) + struct.pack("<q", 92) + annotation + packed)
    assert np.array_equal(read_cine(path), mosaic)


def entries(file: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Tags and values of a little-endian TIFF's only directory."""
    magic, number, at = struct.unpack_from("<2sHI", file)
    assert (magic, number) == (b"II", 42)
    (count,) = struct.unpack_from("<H", file, at)
    for index in range(count):
        record = at + 2 + 12 * index
        tag, kind, values = struct.unpack_from("<HHI", file, record)
        form = f"<{values}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }"
        place = record + 8
        if struct.calcsize(form) > 4:
            (place,) = struct.unpack_from("<I", file, place)
        yield tag, struct.unpack_from(form, file, place)
    assert struct.unpack_from("<I", file, at + 2 + 12 * count) == (0,)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_strips_hold_the_samples(channels: int) -> None:
    from benchmarks.tiff import tiff_file

    samples = codes(150, 9 * channels, 16).reshape(150, 9, channels)
    file = tiff_file(samples, mosaic=channels == 1)
    tags = dict(entries(file))
    assert (tags[256], tags[257], tags[277]) == ((9,), (150,), (channels,))
    assert tags[258] == (16,) * channels
    assert list(tags) == sorted(tags)
    assert len(tags[273]) == -(-150 // tags[278][0])
    strips = [
        file[start : start + count] for start, count in zip(tags[273], tags[279], strict=True)
    ]
    decoded = np.frombuffer(b"".join(strips), "<u2").reshape(samples.shape)
    assert np.array_equal(decoded, samples)


def test_patterns_grow_with_the_numbers_they_stand_for() -> None:
    from benchmarks.pictures import in_order

    patterns = np.arange(1 << 16, dtype=np.uint16)
    ordered = in_order(patterns)
    assert len(np.unique(ordered)) == 1 << 16
    numbers = patterns.view(np.float16).astype(np.float64)
    finite = np.isfinite(numbers)
    by_pattern = numbers[finite][np.argsort(ordered[finite])]
    assert (np.diff(by_pattern) >= 0).all()
    positive = patterns[: 1 << 15]
    assert in_order(positive) is positive


def test_sites_are_the_mosaic_taken_apart() -> None:
    from benchmarks.pictures import sites

    mosaic = codes(6, 8, 12)[:, :, None]
    apart = sites(mosaic)
    for channel, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        assert np.array_equal(apart[:, :, channel], mosaic[y::2, x::2, 0])


def cell(content: str, contender: str, stored: int, seconds: float = 1.0, frame: str = "f") -> Cell:
    from benchmarks.cells import Cell

    return Cell(frame, content, contender, 1_000_000, stored, [seconds], [seconds])


def test_figures_are_comparable_or_none() -> None:
    from benchmarks.cells import figures_of, mean_figures

    cells = [
        cell("a", "one", 500_000, frame="f"),
        cell("a", "one", 250_000, frame="g"),
        cell("a", "two", 100_000, frame="f"),
        cell("b", "one", 250_000),
        cell("b", "two", 100_000),
    ]
    one = figures_of(cells, "a", "one")
    assert one is not None
    assert one.ratio == pytest.approx(2_000_000 / 750_000)
    assert figures_of(cells, "a", "two") is None
    assert mean_figures(cells, ["a", "b"], "two") is None
    mean = mean_figures(cells, ["a", "b"], "one")
    assert mean is not None
    assert mean.ratio == pytest.approx((8 / 3 * 4) ** 0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("peers", "verdict"),
    [
        ({"JPEG XL e4": 100, "FFV1": 100, "JPEG-LS": 100}, "met"),
        ({"JPEG XL e4": 100, "FFV1": 99, "JPEG-LS": 101}, "**not met**"),
        ({"JPEG XL e4": 100, "JPEG-LS": 101}, "not measured"),
        ({"JPEG-LS": 99}, "**not met**"),
        ({"JPEG XL e4": 100, "FFV1": 100, "JPEG-LS": 100, "EXR PIZ": 99}, "**not met**"),
    ],
)
def test_a_class_is_judged_by_its_largest_excess(peers: dict[str, int], verdict: str) -> None:
    from benchmarks.classes import HALF
    from benchmarks.targets import size_table

    cells = [cell(HALF, "PixFS balanced", 100)]
    cells += [cell(HALF, name, stored) for name, stored in peers.items()]
    (row,) = size_table(cells)[2:]
    assert row.split(" | ")[-1] == f"{verdict} |"


def test_every_promise_has_a_verdict() -> None:
    from benchmarks import targets
    from benchmarks.classes import FILM, FILM_CROPS
    from benchmarks.costs import Costs

    nothing = [*targets.speeds([]), *targets.levels([]), *targets.resources(None)]
    assert {verdict.met for verdict in nothing} == {None}
    costs = Costs(
        "f",
        1_000_000,
        speed_up={"encode": 1.9, "decode": 1.7},
        side_by_side={"encode": 1.95, "decode": 1.9},
        memory={"encode 1": 2.0, "encode 2": 4.5},
        first_s=[1.0, 9.0, 1.2],
    )
    cells = [
        cell(FILM, "JPEG-LS", 100, 12.0),
        cell(FILM, "PixFS balanced", 100, 2.0),
        cell(FILM, "PixFS fast", 111, 1.0),
        cell(FILM, "PixFS max", 90, 6.1),
        cell(FILM_CROPS, "PixFS max", 90, 6.0),
        cell(FILM_CROPS, "JPEG XL e7", 90, 99.0),
    ]
    met = [verdict.met for verdict in targets.speeds(cells)]
    assert met == [True, True]
    assert [verdict.met for verdict in targets.levels(cells)] == [True, True, False, True, False]
    assert [verdict.met for verdict in targets.resources(costs)] == [True, False, False, True]


def figures(ratio: float, encode: float, decode: float) -> Figures:
    from benchmarks.cells import Figures

    return Figures(1_000_000, round(1_000_000 / ratio), encode, decode, 0.1, 0.1)


def test_the_picture_names_every_contender_once_a_panel_and_apart() -> None:
    from benchmarks.plot import draw

    shown = {
        "PixFS fast": figures(2.10, 400, 420),
        "PixFS balanced": figures(2.19, 250, 300),
        "PixFS max": figures(2.25, 90, 110),
        "JPEG-LS": figures(2.13, 36, 52),
        "JPEG XL e1": figures(1.93, 134, 92),
        "JPEG XL e3": figures(2.12, 17, 22),
        "JPEG XL e4": figures(2.11, 5, 24),
        "HTJ2K": figures(1.95, 100, 153),
        "zstd-3 & <more>": figures(1.24, 116, 719),
        "FFV1": figures(2.08, 15, 21),
    }
    picture = draw(shown, "title & more", "subtitle")
    assert picture == draw(shown, "title & more", "subtitle")
    root = ElementTree.fromstring(picture)
    texts = [(t.text, float(t.attrib["x"]), float(t.attrib["y"])) for t in root.iter(f"{SVG}text")]
    names = [text for text in texts if text[0] in shown]
    assert sorted(name for name, _, _ in names) == sorted([*shown, *shown])
    boxes = [
        (x - 3.2 * len(str(name)), y - 10, x + 3.2 * len(str(name)), y) for name, x, y in names
    ]
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            across = min(one[2], other[2]) - max(one[0], other[0])
            down = min(one[3], other[3]) - max(one[1], other[1])
            assert across <= 0 or down <= 0
    view = [float(n) for n in root.attrib["viewBox"].split()]
    assert all(left >= 0 and right <= view[2] for left, _, right, _ in boxes)
    marks = [*root.iter(f"{SVG}circle"), *root.iter(f"{SVG}polygon")]
    assert len(marks) == 2 * len(shown)
