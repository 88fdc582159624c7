"""What every format module promises, whatever the bytes: a sound layout or a reason."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import codec
from codec.formats import FORMATS
from codec.formats.base import PROBE_SIZE, NotUnderstood
from codec.synthetic import (
    arriraw_file,
    c500_file,
    cineon_file,
    dpx_file,
    image,
    mosaic,
    pfm_file,
    pnm_file,
    sgi_file,
    varicam_file,
)
from codec.synthetic.exr import ExrPart, exr_file
from codec.synthetic.tiff import TiffPage, tiff_file
from codec.types import Layout
from tests.oracle.samples import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from codec.formats.base import Format

SMALL = image(64, 48)
EIGHT = SMALL >> 2
HALF = {name: (SMALL[..., i] / 513 - 0.5).astype("f2") for i, name in enumerate("RGB")}
PAGE = TiffPage(SMALL, rows=7)
WELL_FORMED: dict[str, tuple[Callable[[], bytes], ...]] = {
    "dpx": (
        lambda: dpx_file(SMALL),
        lambda: dpx_file(SMALL[:, :, :1], packing="packed", byte_order="le"),
    ),
    "cineon": (
        lambda: cineon_file(SMALL),
        lambda: cineon_file(SMALL, interleave="line", line_padding=4, byte_order="le"),
        lambda: cineon_file(SMALL, packing=0, interleave="channel", channel_padding=9),
    ),
    "exr": (
        lambda: exr_file(ExrPart(HALF)),
        lambda: exr_file(ExrPart(HALF, tiles=(16, 16), levels="mip")),
        lambda: exr_file(ExrPart(HALF, name="a", compression="zip"), ExrPart(HALF, name="b")),
    ),
    "tiff": (
        lambda: tiff_file(PAGE),
        lambda: tiff_file(replace(PAGE, planar=True), PAGE, byte_order="be", big=True),
        lambda: tiff_file(replace(PAGE, compression="deflate", predictor=2)),
    ),
    "pnm": (
        lambda: pnm_file(EIGHT, comment=b"said"),
        lambda: pnm_file(SMALL[:, :, :1], maxval=1023),
        lambda: pnm_file(SMALL, maxval=1023, kind="pam") + pnm_file(EIGHT),
        lambda: pfm_file((SMALL / 1023).astype("f4")),
        lambda: b"P2 9 9 255\n" + b"17 " * 2000,
    ),
    "sgi": (
        lambda: sgi_file(SMALL, bits=16),
        lambda: sgi_file(EIGHT, run_lengths="planes"),
        lambda: sgi_file(SMALL, bits=16, run_lengths="rows"),
    ),
    "arriraw": (lambda: arriraw_file(mosaic(64, 48)),),
    "c500": (lambda: c500_file(mosaic(96, 64, bits=10)),),
    "varicam": (lambda: varicam_file(mosaic(1920, 1080, bits=10), packing="10-low"),),
}
"""For each module, by the end of its name, files it understands."""


@functools.cache
def well_formed(name: str) -> tuple[bytes, ...]:
    """Files that the module of this name understands."""
    return tuple(make() for make in WELL_FORMED[name])


def name_of(module: Format) -> str:
    return str(getattr(module, "__name__", module)).rpartition(".")[2]


def assert_sound(module: Format, file: bytes) -> bool:
    """Whether the module understood the file; fails unless it kept its promises."""
    if not module.recognises(file[:PROBE_SIZE]):
        return False
    reasons = []
    layout = None
    for look in (
        lambda: module.probe(file[:PROBE_SIZE], len(file)),
        lambda: module.layout(memoryview(file)),
    ):
        try:
            layout = look()
        except NotUnderstood as verdict:
            layout = None
            reasons.append(verdict.reason)
    assert all(reason.startswith("unsupported: ") for reason in reasons)
    if not isinstance(layout, Layout):
        return False
    assert not reasons, "probe refused what layout understood"
    assert layout.format
    assert "\n" not in layout.format
    assert faults(layout, len(file)) == []
    return True


@pytest.mark.parametrize("module", FORMATS, ids=name_of)
def test_there_are_files_to_damage(module: Format) -> None:
    files = well_formed(name_of(module))
    assert files
    for file in files:
        assert assert_sound(module, file)
        assert codec.encode(file).reason is None


@pytest.mark.parametrize("module", FORMATS, ids=name_of)
@settings(max_examples=150)
@given(st.data())
def test_damaged_files(module: Format, data: st.DataObject) -> None:
    """Fields with nonsense in them, early or anywhere; files cut short or with a tail."""
    file = bytearray(data.draw(st.sampled_from(well_formed(name_of(module)))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.one_of(st.integers(4, min(1024, len(file) - 1)), places(len(file))))
        nonsense = data.draw(
            st.one_of(st.sampled_from(NONSENSE), st.binary(min_size=1, max_size=8))
        )
        file[at : at + len(nonsense)] = nonsense
    cut = data.draw(st.one_of(st.just(len(file)), st.integers(0, len(file))))
    file = file[:cut] + data.draw(st.binary(max_size=64))
    assert_sound(module, bytes(file))


NONSENSE = [
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff",
    b"\0\0",
    b"\0\0\1\0",
    b"\0\1\0\0",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"99999999",
]


def places(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, size - 1)


@pytest.mark.parametrize("module", FORMATS, ids=name_of)
@settings(max_examples=150)
@given(data=st.data(), tail=st.binary(max_size=3000))
def test_any_bytes_after_the_magic(module: Format, data: st.DataObject, tail: bytes) -> None:
    start = data.draw(st.sampled_from(well_formed(name_of(module))))
    kept = data.draw(st.sampled_from([2, 3, 4, 8, 12, 192, 512, 2100]))
    assert_sound(module, start[:kept] + tail)


@settings(max_examples=300)
@given(file=st.binary(max_size=6000))
@example(b"")
@example(b"P6 1 1 255\n\0\0\0")
@example(b"\x01\xda\0\1\0\1\0\1\0\0\0\0")
def test_any_bytes(file: bytes) -> None:
    for module in FORMATS:
        assert_sound(module, file)


@pytest.mark.parametrize("module", FORMATS, ids=name_of)
@settings(max_examples=60)
@given(data=st.data(), size=st.one_of(st.integers(0, 1 << 50), st.integers(0, 1 << 22)))
def test_the_probe_believes_no_size(module: Format, data: st.DataObject, size: int) -> None:
    head = data.draw(st.sampled_from(well_formed(name_of(module))))[:PROBE_SIZE]
    probe = codec.probe(head, size)
    assert probe.reason is not None or probe.format is not None


def test_no_module_takes_what_another_understands() -> None:
    for name in WELL_FORMED:
        for file in well_formed(name):
            first = next(m for m in FORMATS if m.recognises(file[:PROBE_SIZE]))
            assert name_of(first) == name
