"""What the TIFF module makes of real files, odd ones and lies."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from codec.formats import tiff
from codec.formats.base import NotUnderstood
from codec.synthetic import image
from codec.synthetic.tiff import CFA, TiffPage, tiff_file
from codec.types import Packing
from tests.oracle.samples import faults, take

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from codec.synthetic.tiff import ByteOrder
    from codec.types import Layout

WIDTH, HEIGHT = 70, 45
ORDERS: tuple[ByteOrder, ...] = ("be", "le")


def picture(kind: str = "u2", bits: int = 16, samples: int = 3, width: int = WIDTH) -> NDArray[Any]:
    """(HEIGHT, width, samples) of a type, below 2**bits, or partly negative if floating point."""
    planes = [image(width, HEIGHT, channels=1, bits=min(bits, 16), seed=i) for i in range(samples)]
    whole = np.concatenate(planes, axis=2)
    if kind[0] == "f":
        return (whole / 20000 - 0.5).astype(kind)
    if kind[0] == "i":
        return (whole.astype(np.int64) - (1 << bits - 1)).astype(kind)
    return (whole.astype(np.uint64) << np.uint64(max(bits - 16, 0))).astype(kind)


def halves(pixels: NDArray[Any], order: ByteOrder) -> NDArray[np.uint16]:
    """(height, width, components) as 16-bit words in the order of a file."""
    sign = ">" if order == "be" else "<"
    stored = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(sign)))
    return stored.view(sign + "u2").reshape(*pixels.shape[:2], -1)


def layout_of(file: bytes) -> Layout:
    layout = tiff.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    return layout


def assert_comes_back(file: bytes) -> None:
    """Also that its samples are coded, unless they are too few or too noisy for it to pay."""
    encoded = codec.encode(file)
    assert not (encoded.reason or "").startswith("unsupported")
    assert codec.decompress(encoded.container) == file


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_rows_of_16_bits(order: ByteOrder, big: bool, samples: int) -> None:
    pixels = picture(samples=samples)
    file = tiff_file(TiffPage(pixels, rows=7), byte_order=order, big=big)
    layout = layout_of(file)
    (taken,) = take(file, layout)
    assert np.array_equal(taken, pixels)
    assert layout.format.startswith("bigtiff 70x45" if big else "tiff 70x45")
    assert layout.format.endswith(f"16-bit none strips {order}")
    assert_comes_back(file + b"trailing")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [3, 4, 6, 8, 10, 12, 14])
@pytest.mark.parametrize("planar", [False, True])
def test_rows_of_fewer_bits(order: ByteOrder, bits: int, planar: bool) -> None:
    pixels = picture("u2", max(bits, 8)) >> max(8 - bits, 0)
    if bits == 8:
        pixels = pixels.astype("u1")
    file = tiff_file(TiffPage(pixels, bits=bits, rows=7, planar=planar), byte_order=order)
    (taken,) = take(file, layout_of(file))
    assert np.array_equal(taken, pixels)
    assert_comes_back(file)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "u4", "i2", "i4"])
@pytest.mark.parametrize("planar", [False, True])
def test_wide_and_floating_point_samples(order: ByteOrder, kind: str, planar: bool) -> None:
    pixels = picture(kind, 8 * np.dtype(kind).itemsize)
    file = tiff_file(TiffPage(pixels, rows=11, planar=planar), byte_order=order)
    layout = layout_of(file)
    (taken,) = take(file, layout)
    assert np.array_equal(taken, halves(pixels, order))
    (element,) = layout.elements
    parts = np.dtype(kind).itemsize // 2
    high = 0 if order == "be" else parts - 1
    highs = range(high, 3 * parts, parts)
    assert element.signed == (tuple(highs) if kind[0] == "f" else ())
    assert set(element.order[:3]) == set(highs)
    assert element.order[0] // parts == 1, "green goes first"
    assert_comes_back(file)


@pytest.mark.parametrize("order", ORDERS)
def test_samples_of_24_bits_are_three_bytes(order: ByteOrder) -> None:
    pixels = picture("u4", 24)
    file = tiff_file(TiffPage(pixels, bits=24), byte_order=order)
    (taken,) = take(file, layout_of(file))
    stored = (
        pixels.astype(">u4" if order == "be" else "<u4").view("u1").reshape(HEIGHT, WIDTH, 3, 4)
    )
    expected = stored[..., 1:] if order == "be" else stored[..., :3]
    assert np.array_equal(taken, expected.reshape(HEIGHT, WIDTH, 9))
    assert_comes_back(file)


@pytest.mark.parametrize("planar", [False, True])
def test_tiles_lie_one_below_another(planar: bool) -> None:
    pixels = picture(samples=2)
    padded = np.pad(pixels, ((0, 3), (0, 26), (0, 0)))
    tiles = [padded[y : y + 16, x : x + 32] for y in (0, 16, 32) for x in (0, 32, 64)]
    file = tiff_file(TiffPage(pixels, tiles=(32, 16), planar=planar))
    layout = layout_of(file)
    (taken,) = take(file, layout)
    assert np.array_equal(taken, np.concatenate(tiles))
    assert len(layout.elements[0].regions) == (2 if planar else 1)
    assert_comes_back(file)


@pytest.mark.parametrize("rows", [1, 7, 15, 45])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("gap", [1, 2, 8, 64, 65, 300])
def test_gaps_between_strips(rows: int, planar: bool, gap: int) -> None:
    pixels = picture()
    file = tiff_file(TiffPage(pixels, rows=rows, planar=planar, gap=gap))
    layout = layout_of(file)
    if gap <= 8:  # as much as stands before the first strip
        (taken,) = take(file, layout)
        assert np.array_equal(taken, pixels)
    assert_comes_back(file)


def test_strips_written_backwards_are_taken_in_the_order_of_the_file() -> None:
    pixels = picture(samples=1)
    file = tiff_file(TiffPage(pixels, rows=15, backwards=True))
    (taken,) = take(file, layout_of(file))
    strips = [pixels[y : y + 15] for y in (30, 15, 0)]
    assert np.array_equal(taken, np.concatenate(strips))
    assert_comes_back(file)


def test_planes_in_turn_are_one_component() -> None:
    """Strips of the planes one after another, as some writers place them."""
    pixels = picture()
    file = bytearray(tiff_file(TiffPage(pixels, rows=15, planar=True)))
    offsets = [8 + i * 15 * 2 * WIDTH for i in range(9)]
    packed = struct.pack("<9H", *offsets)
    assert file.count(packed) == 1
    in_turn = [offsets[3 * (i % 3) + i // 3] for i in range(9)]
    at = file.index(packed)
    file[at : at + len(packed)] = struct.pack("<9H", *in_turn)
    (element,) = layout_of(bytes(file)).elements
    assert (element.components, element.rows) == (1, 3 * HEIGHT)
    assert_comes_back(bytes(file))


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("rows", [2, 6, 7, 44, 45])
@pytest.mark.parametrize("gap", [0, 4])
def test_colour_filter_arrays_go_by_pairs_of_rows(bits: int, rows: int, gap: int) -> None:
    pixels = picture(bits=bits, samples=1)
    page = TiffPage(pixels, bits=bits, rows=rows, gap=gap, photometric=CFA)
    file = tiff_file(page)
    (element,) = layout_of(file).elements
    (taken,) = take(file, layout_of(file))
    paired = not (gap and rows == 7)
    if paired:
        cells = pixels[:44, :, 0].reshape(22, 2, 35, 2).transpose(0, 2, 1, 3)
        assert np.array_equal(taken, cells.reshape(22, 35, 4))
    else:
        assert np.array_equal(taken, pixels)
    assert element.components == (4 if paired else 1)
    assert_comes_back(file)


def test_a_colour_filter_array_of_an_odd_width_is_one_component() -> None:
    file = tiff_file(TiffPage(picture(samples=1, width=71), photometric=CFA))
    (element,) = layout_of(file).elements
    assert element.components == 1
    assert_comes_back(file)


def test_every_page_is_an_element() -> None:
    pages = [TiffPage(picture(samples=n), rows=9) for n in (1, 3, 4)]
    file = tiff_file(*pages)
    layout = layout_of(file)
    taken = take(file, layout)
    assert [t.shape for t in taken] == [page.pixels.shape for page in pages]
    assert all(map(np.array_equal, taken, (page.pixels for page in pages)))
    assert layout.format.endswith(" 3 directories")
    assert_comes_back(file)


def test_the_raw_picture_of_a_sub_directory_is_found() -> None:
    """As in a DNG: the first directory is a thumbnail and names the second."""
    thumbnail = TiffPage(picture("u1", 8)[:10, :10], fields={330: (0x7ABCDEF1,)})
    file = bytearray(tiff_file(thumbnail, TiffPage(picture(samples=1), photometric=CFA)))
    (first,) = struct.unpack_from("<I", file, 4)
    link = first + 2 + 12 * struct.unpack_from("<H", file, first)[0]
    second = file[link : link + 4]
    file[link : link + 4] = bytes(4)
    at = file.index(struct.pack("<I", 0x7ABCDEF1), first)
    file[at : at + 4] = second
    (element,) = layout_of(bytes(file)).elements
    assert element.components == 4
    assert_comes_back(bytes(file))


@pytest.mark.parametrize(
    "page",
    [
        TiffPage(picture("u1", 8) & 1, bits=1),
        TiffPage(picture("u1", 8) & 3, bits=2),
        TiffPage(picture("u1", 8, samples=1), photometric=3),
    ],
    ids=["1-bit", "2-bit", "palette"],
)
def test_codes_that_are_no_quantities_are_plain_bytes(page: TiffPage) -> None:
    file = tiff_file(page) + bytes(4096)
    assert layout_of(file).elements == ()
    assert_comes_back(file)


def patched(tag: int, value: int, kind: int = 4, count: int = 1, file: bytes = b"") -> bytes:
    """A copy of a little-endian file with another value in the first directory."""
    out = bytearray(file or GOOD)
    (at,) = struct.unpack_from("<I", out, 4)
    (fields,) = struct.unpack_from("<H", out, at)
    for place in range(at + 2, at + 2 + 12 * fields, 12):
        if struct.unpack_from("<H", out, place) == (tag,):
            struct.pack_into("<HHII", out, place, tag, kind, count, value)
            return bytes(out)
    raise AssertionError(f"no field {tag}")


GOOD = tiff_file(TiffPage(picture(), rows=7))
PREDICTED = tiff_file(TiffPage(picture(), rows=7, compression="deflate", predictor=2))
PLANAR = tiff_file(TiffPage(picture(), rows=7, planar=True))
BEYOND = len(GOOD) + 1000


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (GOOD[:6], "TIFF header lies outside the file"),
        (GOOD[:4] + struct.pack("<I", BEYOND) + GOOD[8:], "TIFF directory lies outside the file"),
        (GOOD[:4] + struct.pack("<I", len(GOOD) - 9) + GOOD[8:], "TIFF directory"),
        (b"II+\0\4\0\0\0" + GOOD[8:], "BigTIFF without offsets of 8 bytes"),
        (patched(256, 0), "TIFF of 0x45 pixels"),
        (patched(257, 1 << 30), "TIFF of 70x1073741824 pixels"),
        (patched(278, 0), "TIFF without valid strips or tiles"),
        (patched(273, BEYOND), "TIFF image data is cut short"),
        (patched(273, BEYOND, count=7), "TIFF field 273 lies outside the file"),
        (patched(273, 8, count=1 << 31), "TIFF field 273 of 2147483648 values"),
        (patched(273, 8, kind=2), "TIFF field 273 of type 2"),
        (patched(258, 128), "TIFF 128-bit samples"),
        (patched(339, 6), "TIFF complex samples"),
        (patched(259, 5), "TIFF compression LZW"),
        (patched(259, 7), "TIFF compression JPEG"),
        (patched(259, 12345), "TIFF compression method 12345"),
        (patched(262, 6), "TIFF subsampled colour"),
        (patched(277, 17), "TIFF 17 samples a pixel"),
        (patched(277, 0), "TIFF of 0 samples a pixel"),
        (patched(277, 0xFFFFFFFF, file=PLANAR), "TIFF of 4294967295 samples a pixel"),
        (patched(317, 3, file=PREDICTED), "predictor"),
        (patched(317, 9, file=PREDICTED), "TIFF predictor 9 of 16-bit samples"),
    ],
)
def test_what_is_not_understood_says_why(file: bytes, reason: str) -> None:
    if reason == "predictor":  # of 16-bit integers: unusual, but it can be undone
        assert layout_of(file).elements[0].detail == bytes([3, 2, 3, 0])
        return
    with pytest.raises(NotUnderstood) as verdict:
        tiff.layout(memoryview(file))
    assert verdict.value.reason.startswith(f"unsupported: {reason}")
    encoded = codec.encode(file)
    assert encoded.reason == verdict.value.reason
    assert codec.decompress(encoded.container) == file


@pytest.mark.parametrize(
    "file",
    [
        patched(279, 1),  # byte counts that are too small
        patched(279, 0xFFFFFFFF),
        patched(278, 0xFFFFFFFF),  # all rows in one strip
        patched(278, 1),  # more strips than offsets
        patched(278, 20),  # fewer strips than offsets
        patched(277, 1),  # another number of samples
    ],
    ids=["counts-1", "counts-max", "rows-max", "rows-1", "rows-20", "samples-1"],
)
def test_liars_come_back(file: bytes) -> None:
    layout_of(file)
    assert_comes_back(file)


@pytest.mark.parametrize("where", ["itself", "beyond", "header"])
def test_a_chain_of_directories_that_does_not_end(where: str) -> None:
    file = bytearray(GOOD)
    (first,) = struct.unpack_from("<I", file, 4)
    link = first + 2 + 12 * struct.unpack_from("<H", file, first)[0]
    target = {"itself": first, "beyond": BEYOND, "header": 4}[where]
    struct.pack_into("<I", file, link, target)
    assert len(layout_of(bytes(file)).elements) == 1
    assert_comes_back(bytes(file))


def test_directories_that_share_their_strips_are_coded_once() -> None:
    file = bytearray(tiff_file(TiffPage(picture()), TiffPage(picture())))
    second = 8 + picture().nbytes
    packed = struct.pack("<HHI", 273, 3, 1) + struct.pack("<I", second)
    at = file.find(packed)
    assert at > 0
    struct.pack_into("<I", file, at + 8, 8)
    assert len(layout_of(bytes(file)).elements) == 1
    assert_comes_back(bytes(file))


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_a_file_that_is_cut_short_keeps_its_whole_strips(keep: float) -> None:
    """The directory before the strips, as writers that stream place it."""
    page = TiffPage(picture(), rows=7)
    shift = 512
    moved = tiff_file(TiffPage(picture(), rows=7, fields={273: tuple(_moved(page, shift))}))
    (first,) = struct.unpack_from("<I", moved, 4)
    pixels = moved[8:first]
    head = moved[first:]
    # The directory's own offsets move too: to 8 from where it stood.
    file = bytearray(moved[:4] + struct.pack("<I", 8) + head)
    for place in range(10, 10 + 12 * struct.unpack_from("<H", file, 8)[0], 12):
        _, kind, count, value = struct.unpack_from("<HHII", file, place)
        if count * {3: 2, 4: 4}[kind] > 4:
            struct.pack_into("<I", file, place + 8, value - first + 8)
    file = bytearray(bytes(file).ljust(shift + 8, b"\0") + pixels)
    (taken,) = take(bytes(file), layout_of(bytes(file)))
    assert np.array_equal(taken, picture())
    short = bytes(file[: int(len(file) * keep)])
    (taken,) = take(short, layout_of(short))
    assert 0 < len(taken) < HEIGHT
    assert np.array_equal(taken, picture()[: len(taken)])
    assert_comes_back(short)


def _moved(page: TiffPage, by: int) -> list[int]:
    strips = -(-HEIGHT // 7)
    return [8 + by + i * 7 * page.pixels.shape[1] * 6 for i in range(strips)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("rows", [7, 45])
def test_packbits_is_undone_and_redone(order: ByteOrder, planar: bool, rows: int) -> None:
    pixels = picture() & 0xFF00
    page = TiffPage(pixels, rows=rows, planar=planar, compression="packbits")
    file = tiff_file(page, byte_order=order)
    layout = layout_of(file)
    assert layout.elements[0].method
    assert layout.elements[0].chunks[0][0].rows == rows
    assert_comes_back(file)
    assert codec.encode(file).reason is None


@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("tiles", [None, (32, 16)])
@pytest.mark.parametrize("planar", [False, True])
def test_deflate_tells_the_redo_its_predictor(
    predictor: int, tiles: tuple[int, int] | None, planar: bool
) -> None:
    page = TiffPage(
        picture("f4", 32), tiles=tiles, planar=planar, compression="deflate", predictor=predictor
    )
    file = tiff_file(page, byte_order="be")
    (element,) = layout_of(file).elements
    stride = 1 if planar else 3
    assert element.detail == (b"" if predictor == 1 else bytes([predictor, 4, stride, 1]))
    assert len(element.chunks) == len(element.regions) == (3 if planar else 1)
    codec.decompress(codec.compress(file))


def test_gaps_between_compressed_strips_belong_to_the_strip_before() -> None:
    pixels = picture() & 0xFF00
    file = tiff_file(TiffPage(pixels, rows=7, compression="packbits", gap=3))
    (element,) = layout_of(file).elements
    assert sum(chunk.rows for chunk in element.chunks[0]) == HEIGHT
    assert codec.encode(file).reason is None
    assert_comes_back(file)


def test_a_compressed_strip_that_no_block_can_hold_stays_verbatim() -> None:
    pixels = np.zeros((4200, 4096, 1), np.uint16)
    file = tiff_file(TiffPage(pixels, compression="deflate"))
    encoded = codec.encode(file)
    assert encoded.reason == "unsupported: too many rows are compressed together"
    assert codec.decompress(encoded.container) == file


@given(st.binary(max_size=300), st.integers(0, 1 << 16), st.sampled_from(["le", "be"]))
def test_the_module_is_total(noise: bytes, at: int, order: ByteOrder) -> None:
    base = tiff_file(TiffPage(picture("u1", 8)[:20, :20], rows=3), byte_order=order)
    at %= len(base)
    (first,) = struct.unpack_from(">I" if order == "be" else "<I", base, 4)
    in_directory = first + at % (len(base) - first)
    for place in (at, in_directory):
        file = base[:4] + (base[:place] + noise + base[place + len(noise) :])[4:]
        probe = codec.probe(file[: codec.PROBE_SIZE], len(file))
        assert probe.reason is not None or probe.format is not None
        with contextlib.suppress(NotUnderstood):
            assert faults(tiff.layout(memoryview(file)), len(file)) == []
    for magic in (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
        with contextlib.suppress(NotUnderstood):
            tiff.layout(memoryview(magic + noise))


@pytest.mark.parametrize("strip", [0, 0x201], ids=["absent", "there"])
def test_the_work_is_bounded_by_the_file(strip: int) -> None:
    """256 directories that all claim the same 262,144 strips of a pixel."""
    fields = {256: 1, 257: 1 << 18, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1}
    out = bytearray(b"II*\0\x08\0\0\0")
    size = 2 + 12 * len(fields) + 4
    array = 8 + 256 * size
    for number in range(256):
        out += struct.pack("<H", len(fields))
        for tag, value in fields.items():
            strips = tag == 273
            count, where = (1 << 18, array) if strips else (1, value)
            out += struct.pack("<HHII", tag, 4, count, where)
        out += struct.pack("<I", 8 + (number + 1) * size)
    file = bytes(out) + struct.pack("<I", strip) * (1 << 18)
    with pytest.raises(NotUnderstood, match="more than 262144 strips"):
        tiff.layout(memoryview(file))


def test_real_files_get_a_layout_or_a_reason(corpus: Path) -> None:
    files = sorted((corpus / "tiff").iterdir())
    assert files
    for path in files:
        file = path.read_bytes()
        assert codec.probe(file[: codec.PROBE_SIZE], len(file)).format is not None, path.name
        with contextlib.suppress(NotUnderstood):
            assert faults(tiff.layout(memoryview(file)), len(file)) == [], path.name


REAL = (
    "12m_depth_flower-minisblack-16.tif",
    "12m_f14.tif",
    "12m_sm_colors_tile.tif",
    "fate_image_small.tif",
    "im_input_truecolor_stripped.tiff",
    "imagers_mandrill.tiff",
    "pillow_hopper.tif",
    "pillow_tiff_strip_planar_raw.tif",
    "rawcooked_Features_MultipleContinuousStripOffsets_Lavc.tiff",
)


@pytest.mark.skipif(shutil.which("oiiotool") is None, reason="oiiotool is not installed")
@pytest.mark.parametrize("name", REAL)
def test_openimageio_sees_the_same_pixels(name: str, corpus: Path, tmp_path: Path) -> None:
    """Rewritten by OpenImageIO as one plain strip, a file gives the same samples."""
    path = corpus / "tiff" / name
    file = path.read_bytes()
    after = tmp_path / "after.tif"
    options = ["--compression", "none", "--planarconfig", "contig", "--scanline"]
    command = ["oiiotool", path, *options, "-o", after]
    subprocess.run(command, check=True, capture_output=True)
    layout = layout_of(file)
    (ours,) = take(file, layout)
    rewritten = after.read_bytes()
    (theirs,) = take(rewritten, layout_of(rewritten))
    # The lowest tiles reach beyond the picture.
    assert np.array_equal(ours[: len(theirs)], theirs)


def test_twelve_bits_are_a_stream_from_the_high_end() -> None:
    file = tiff_file(TiffPage(picture(bits=12, samples=1, width=71), bits=12))
    (element,) = layout_of(file).elements
    assert element.segments[0].packing is Packing.PACKED_HIGH
    assert element.regions[0].row_bytes == 107
    assert_comes_back(file)
