"""The decoder that needs nothing but numpy: scripts/decode_standalone.py."""

from __future__ import annotations

import functools
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec import redo
from codec.synthetic import (
    arriraw_file,
    cineon_file,
    dpx_file,
    image,
    mosaic,
    pfm_file,
    pnm_file,
    sgi_file,
)
from codec.types import LEVELS
from tests.flavors import FLAVORS, SAMPLES, flavor_id, frame
from tests.t0_kernels.test_deflate import kinds
from tests.t0_kernels.test_deflate import made as zlib_made
from tests.t0_kernels.test_libdeflate import made as libdeflate_made
from tests.t0_kernels.test_libdeflate import steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts" / "decode_standalone.py"
ALONE = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
sys.argv[0] = sys.argv[1]
del sys.argv[1]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
BLOCKED = ("numba", "xxhash", "codec")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds numpy and nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    home = Path(np.__file__).parent
    for path in (home, home.with_name("numpy.libs")):
        if path.exists():
            (folder / path.name).symlink_to(path)
    return folder


def run(packages: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The decoder in an interpreter that finds the standard library and ``packages``."""
    command = [sys.executable, "-I", "-S", "-c", ALONE, packages, SCRIPT, *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


def decode(packages: Path, folder: Path, container: bytes) -> bytes:
    source, target = folder / "frame.pxf", folder / "frame"
    source.write_bytes(container)
    ran = run(packages, source, target)
    assert ran.returncode == 0, ran.stderr
    return target.read_bytes()


def test_it_is_alone(packages: Path) -> None:
    names = ", ".join(BLOCKED)
    for name in BLOCKED:
        code = f"import sys; sys.path.append({str(packages)!r}); import numpy; import {name}"
        ran = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
        )
        assert f"No module named '{name}'" in ran.stderr, names


def test_it_is_short_enough_to_read() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 200
    for path in (SCRIPT.parent / "standalone").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 250
        imported = set(re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M))
        assert imported <= {*sys.stdlib_module_names, "numpy", "standalone"}


BIG = image(160, 80)
FRAMES: dict[str, Callable[[], bytes]] = {
    "dpx": lambda: dpx_file(BIG, padding_bits="random", trailing=b"tail"),
    "cineon": lambda: cineon_file(BIG, packing=0, interleave="channel", channel_padding=9),
    "pfm": lambda: pfm_file((BIG / 1023).astype("f4")),
    "pam": lambda: pnm_file(BIG, maxval=1023, kind="pam"),
    "sgi": lambda: sgi_file(BIG, bits=16),
    "sgi planes": lambda: sgi_file(BIG >> 2, run_lengths="planes"),
    "sgi rows": lambda: sgi_file(BIG, bits=16, run_lengths="rows"),
    "arriraw": lambda: arriraw_file(mosaic(160, 80)),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FRAMES)
def test_formats(name: str, level: codec.Level, packages: Path, tmp_path: Path) -> None:
    file = FRAMES[name]()
    encoded = codec.encode(file, level=level)
    assert encoded.reason is None
    assert decode(packages, tmp_path, encoded.container) == file


@functools.cache
def containers() -> dict[str, tuple[bytes, bytes]]:
    made = {}
    for i, flavor in enumerate(FLAVORS):
        kind = SAMPLES[i % len(SAMPLES)]
        file = frame(kind, 67, 41, flavor, padding_bits="random", trailing=b"tail")
        made[f"{flavor_id(flavor)}-{kind}"] = (file, codec.compress(file))
    return made


@pytest.mark.parametrize("part", range(6))
def test_packings(part: int, packages: Path, tmp_path: Path) -> None:
    for file, container in list(containers().values())[part::6]:
        assert decode(packages, tmp_path, container) == file


def test_verbatim_files_and_wraps(packages: Path, tmp_path: Path) -> None:
    plain = b"no frame at all " * 1000
    assert decode(packages, tmp_path, codec.compress(plain)) == plain
    assert decode(packages, tmp_path, codec.make_wrap_header() + plain) == plain


def test_damage_is_an_error(packages: Path, tmp_path: Path) -> None:
    container = codec.compress(FRAMES["dpx"]())
    tile = codec.Reader(container).stored_payloads()[-2]
    at = container.index(bytes(tile))
    for name, damaged in {
        "cut": container[: len(container) // 2],
        "head": container[: at + 20] + b"\xff\xff" + container[at + 22 :],
        "no container": b"plain text" * 100,
    }.items():
        (tmp_path / "in").write_bytes(damaged)
        ran = run(packages, tmp_path / "in", tmp_path / "out")
        assert ran.returncode == 1, name
        assert "is incomplete" in ran.stderr
        assert "Traceback" not in ran.stderr


def redone(method: int, rows: np.ndarray, chunk: bytes, detail: bytes) -> tuple[bytes, Any]:
    """Rows and parameters of one chunk, as the codec finds them."""
    from codec.types import Chunk

    (count, row_bytes) = rows.shape
    undone = redo.undo(method, memoryview(chunk), [Chunk(0, len(chunk), count)], row_bytes, detail)
    assert undone.rows.tobytes() == rows.tobytes()
    return undone.rows.tobytes(), undone.parameters


@pytest.fixture(scope="module")
def redo_alone() -> Callable[[int, bytes, bytes], bytes]:
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from standalone.redo import redo as made
    finally:
        sys.path.remove(str(SCRIPT.parent))
    result: Callable[[int, bytes, bytes], bytes] = made
    return result


ROWS = (np.arange(40 * 96).reshape(40, 96) // 7 % 251).astype(np.uint8)


@pytest.mark.parametrize("level", [1, 4, 6, 9])
@pytest.mark.parametrize(
    "predictor", [b"", b"\2\1\3", b"\2\2\3\1", b"\2\4\1", b"\3\4\1", b"\3\2\2\1"]
)
def test_zlib_streams(level: int, predictor: bytes, redo_alone: Any) -> None:  # noqa: ANN401
    from codec.redo.filters import tiff_filter

    data = tiff_filter(predictor, 96).forward(ROWS.reshape(-1)).tobytes()
    stream = zlib.compress(data, level)
    rows, parameters = redone(redo.TIFF_DEFLATE, ROWS, stream, predictor)
    assert redo_alone(redo.TIFF_DEFLATE, rows, parameters) == stream


def test_exr_chunks(redo_alone: Any) -> None:  # noqa: ANN401
    from codec.redo.filters import ExrSplit

    stream = zlib.compress(ExrSplit().forward(ROWS.reshape(-1)).tobytes(), 4)
    chunk = struct.pack("<iI", -7, len(stream)) + stream
    rows, parameters = redone(redo.EXR_ZIP, ROWS, chunk, b"\x08")
    assert redo_alone(redo.EXR_ZIP, rows, parameters) == chunk


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """The decoder's own modules can be imported."""
    sys.path.insert(0, str(SCRIPT.parent))
    yield
    sys.path.remove(str(SCRIPT.parent))


# Each reaches something more: nothing, stored, fixed, a full block, a small window that slides.
DEFLATE_SIZES = [0, 1, 3, 20, 60, 513, 5300]


@pytest.mark.parametrize("size", DEFLATE_SIZES)
@pytest.mark.parametrize("level", range(1, 10))
def test_zlib_is_made_anew(level: int, size: int, alone: None) -> None:
    from standalone import zlib_deflate

    shapes = [(15, 8, False), (9, 1, False), (10, 2, True)]
    for name, data in kinds(size):
        for bits, memory, filtered in shapes:
            expected = zlib_made(data, level, bits, memory, filtered) if size else b"\x03\0"
            made = zlib_deflate.compress(data, level, memory, bits, filtered)
            assert made == expected, (name, bits, memory, filtered)


@pytest.mark.parametrize("size", DEFLATE_SIZES[1:])
@pytest.mark.parametrize("level", range(2, 10))
def test_libdeflate_is_made_anew(level: int, size: int, alone: None) -> None:
    from standalone import libdeflate

    for name, data in kinds(size):
        for make in (1, 2):
            expected = libdeflate_made(data, level, make - 1)
            assert libdeflate.compress(data, level, make) == expected, (name, make)


def test_a_long_stream_is_cut_into_blocks_as_libdeflate_does(alone: None) -> None:
    """From 305,000 bytes on a block has a limit; symbols of another kind end one earlier."""
    from standalone import libdeflate

    data = steady(306_000)
    assert libdeflate.compress(data, 2, 1) == libdeflate_made(data, 2)


def test_a_long_stream_slides_zlibs_window(alone: None) -> None:
    from standalone import zlib_deflate

    data = steady(70_000)
    for level in (1, 5):
        assert zlib_deflate.compress(data, level, 8, 15, False) == zlib_made(data, level)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), max_size=700), st.integers(2, 9), st.booleans())
def test_any_bytes_are_deflated_as_the_kernels_do(
    values: list[int], level: int, filtered: bool
) -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from standalone import libdeflate, zlib_deflate
    finally:
        sys.path.remove(str(SCRIPT.parent))
    data = bytes(values) + b"."
    assert zlib_deflate.compress(data, level, 8, 15, filtered) == zlib_made(
        data, level, filtered=filtered
    )
    for make in (1, 2):
        assert libdeflate.compress(data, level, make) == libdeflate_made(data, level, make - 1)


@pytest.mark.parametrize(
    "method", [redo.SGI_RLE8, redo.SGI_RLE16, redo.TIFF_PACKBITS, redo.EXR_RLE]
)
def test_every_rule_of_run_lengths(method: int, redo_alone: Any) -> None:  # noqa: ANN401
    """Every setting the codec knows of, on rows with runs of every length."""
    from codec.redo.methods import method as coder_of

    random = np.random.default_rng(method)
    runs = [
        np.full(
            random.integers(1, 300) if i % 9 == 0 else random.integers(1, 5), random.integers(0, 3)
        )
        for i in range(900)
    ]
    size = 20 * 96
    rows = np.concatenate(runs).astype(np.uint8)[:size]
    if method == redo.SGI_RLE16:
        rows = np.repeat(rows[: size // 2], 2)
    rows = np.resize(rows, size)
    detail = b"\x08" if method == redo.EXR_RLE else b""
    how = coder_of(method, 96, detail)
    seen = 0
    for setting in how.coder.settings(rows[:2]):
        body = how.coder.encode(setting, how.filter.forward(rows), 4 * size)
        assert body is not None
        prefix = 1 if how.prefix else 0
        parameters = struct.pack("<BBBBII", 1, len(detail), 7, prefix, 96, 1) + detail + setting
        parameters += zlib.compress(struct.pack("<IB", 20, 0) + struct.pack("<I", 5) * prefix)
        expected = struct.pack("<II", 5, len(body)) * prefix + body.tobytes()
        assert redo_alone(method, rows.tobytes(), parameters) == expected
        seen += 1
    assert seen >= 6
