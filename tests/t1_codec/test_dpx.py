"""What the DPX probe makes of real headers, odd ones and lies."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from codec.formats import dpx
from codec.synthetic import image
from tests.flavors import FLAVORS, flavor_id, frame
from tests.oracle.bits import pack_line
from tests.oracle.samples import faults, take

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RGB10 = {"bits": 10, "packing": "filled-a", "byte_order": "be", "descriptor": "rgb"}
GOOD = frame("picture", 64, 48, RGB10)


def with_u32(offset: int, value: int) -> bytes:
    return GOOD[:offset] + struct.pack(">I", value) + GOOD[offset + 4 :]


def with_both(offset: int) -> bytes:
    """Header and element agree on an offset that is wrong."""
    field = struct.pack(">I", offset)
    return GOOD[:4] + field + GOOD[8:808] + field + GOOD[812:]


def with_u16(offset: int, value: int) -> bytes:
    return GOOD[:offset] + struct.pack(">H", value) + GOOD[offset + 2 :]


@pytest.mark.parametrize("flavor", FLAVORS, ids=flavor_id)
def test_every_flavor_is_named(flavor: dict[str, object]) -> None:
    file = frame("picture", 70, 50, flavor)
    probe = codec.probe(file[: codec.PROBE_SIZE], len(file))
    assert probe.reason is None
    assert probe.format is not None
    for word in ("dpx 70x50", f"{flavor['bits']}-bit", str(flavor["byte_order"])):
        assert word in probe.format
    assert str(flavor["descriptor"]) in probe.format


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "too small: the file is empty"),
        (b"plain text " * 1000, "unsupported: not a frame format that is known"),
        (GOOD[:1000], "unsupported: DPX header is cut short"),
        (GOOD[:-1], "unsupported: DPX image data is cut short"),
        (with_u16(770, 9), "unsupported: DPX with 9 image elements"),
        (with_u16(770, 0), "unsupported: DPX with 0 image elements"),
        (with_u32(772, 0), "unsupported: DPX of 0x48 pixels"),
        (with_u32(772, 1 << 21), "unsupported: DPX of 2097152x48 pixels"),
        (with_u32(776, 100_000), "unsupported: DPX image data is cut short"),
        (with_u32(808, 1 << 30), "unsupported: DPX header names two places for its image data"),
        (with_u32(4, 100), "unsupported: DPX header names two places for its image data"),
        (with_both(1 << 30), "unsupported: DPX image data begins outside the file"),
        (with_both(100), "unsupported: DPX image data begins outside the file"),
        (with_both(6000), "unsupported: DPX image data is cut short"),
        (with_u16(806, 1), "unsupported: DPX run-length encoding"),
        (GOOD[:800] + b"\x99" + GOOD[801:], "unsupported: DPX image data is cut short"),
        (GOOD[:800] + b"\xa0" + GOOD[801:], "unsupported: DPX descriptor 160"),
        (GOOD[:803] + b"\x20" + GOOD[804:], "unsupported: DPX image data is cut short"),
        (GOOD[:803] + b"\x0e" + GOOD[804:], "unsupported: DPX with 14-bit samples"),
    ],
)
def test_what_is_not_understood_says_why(file: bytes, reason: str) -> None:
    assert codec.probe(file[: codec.PROBE_SIZE], len(file)).reason == reason
    encoded = codec.encode(file)
    assert encoded.reason == reason
    assert codec.decompress(encoded.container) == file


def test_a_small_file_that_declares_twelve_gigabytes() -> None:
    file = with_u32(772, 65536)[:776] + struct.pack(">I", 49152) + GOOD[780:]
    assert codec.encode(file[:20480]).reason == "unsupported: DPX image data is cut short"


@pytest.mark.parametrize("lie", [0, 0xFFFFFFFF])
def test_a_file_header_without_an_offset_leaves_it_to_the_element(lie: int) -> None:
    assert codec.encode(with_u32(4, lie)).reason is None


@pytest.mark.parametrize("lie", [0, 0xFFFFFFFF])
def test_an_element_without_an_offset_takes_the_file_headers(lie: int) -> None:
    file = with_u32(808, lie)
    encoded = codec.encode(file)
    assert encoded.reason is None
    assert codec.decompress(encoded.container) == file


def test_a_wrong_file_size_field_and_version_do_not_matter() -> None:
    file = bytearray(with_u32(16, 7))
    file[8:16] = b"V9.9zzzz"
    assert codec.encode(bytes(file)).reason is None


def test_packed_rows_that_do_not_begin_at_a_word_are_coded() -> None:
    """End-of-line padding may ask for them; the padding is kept beside the samples."""
    packed = frame("picture", 64, 48, {**RGB10, "packing": "packed"}, trailing=bytes(1000))
    file = packed[:812] + struct.pack(">I", 6) + packed[816:]
    encoded = codec.encode(file)
    assert encoded.reason is None
    assert codec.decompress(encoded.container) == file


def dpx_of(
    payload: bytes, width: int, descriptor: int, bits: int, packing: int = 0, order: str = ">"
) -> bytes:
    """A file of these bytes of pixels, of 48 rows."""
    head = bytearray(frame("zero", 1, 1, {**RGB10, "byte_order": "be" if order == ">" else "le"}))
    struct.pack_into(order + "II", head, 772, width, 48)
    head[800], head[803] = descriptor, bits
    struct.pack_into(order + "H", head, 804, packing)
    return bytes(head[:2048]) + payload


def pixels(width: int, components: int, bits: int) -> NDArray[np.uint16]:
    """A picture of 48 rows, the components of each pixel in a row."""
    planes = [image(width, 48, channels=1, bits=bits, seed=i) for i in range(components)]
    return np.concatenate(planes, axis=2).reshape(48, -1)


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize(("descriptor", "components"), [(6, 1), (50, 3), (51, 4), (155, 7)])
@pytest.mark.parametrize(("bits", "kind"), [(32, "f4"), (64, "f8")])
def test_floating_point_is_taken_apart(
    order: str, descriptor: int, components: int, bits: int, kind: str
) -> None:
    values = (pixels(32, components, 12) / 513 - 1.5).astype(order + kind)
    file = dpx_of(values.tobytes(), 32, descriptor, bits, order=order)
    if components * bits > 16 * 16:
        assert codec.encode(file).reason == "unsupported: DPX with 28 components of 16 bits"
        return
    layout = dpx.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    (samples,) = take(file, layout)
    assert np.array_equal(samples.reshape(48, -1), values.view(order + "u2"))
    (element,) = layout.elements
    high = 0 if order == ">" else bits // 16 - 1
    assert element.signed == tuple(range(high, element.components, bits // 16))
    assert set(element.order[:components]) == set(element.signed)
    encoded = codec.encode(file)
    assert encoded.reason is None
    assert codec.decompress(encoded.container) == file


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize(("descriptor", "each"), [(100, 4), (101, 6)])
@pytest.mark.parametrize(("bits", "packing"), [(8, 0), (10, 0), (10, 1), (10, 2), (16, 0)])
def test_subsampled_colour_is_taken_by_pairs_of_pixels(
    order: str, descriptor: int, each: int, bits: int, packing: int
) -> None:
    values = pixels(16, each, bits)
    if bits == 10:
        name = {0: "packed", 1: "filled-a", 2: "filled-b"}[packing]
        end = "be" if order == ">" else "le"
        packed = [pack_line(r.tolist(), bits=10, packing=name, byte_order=end) for r in values]
        payload = b"".join(packed)
    else:
        payload = values.astype(order + "u2" if bits == 16 else "u1").tobytes()
    file = dpx_of(payload, 32, descriptor, bits, packing, order)
    layout = dpx.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    (samples,) = take(file, layout)
    assert np.array_equal(samples.reshape(48, -1), values)
    assert codec.decompress(codec.compress(file)) == file


def test_subsampled_colour_of_an_odd_width_stays_verbatim() -> None:
    file = dpx_of(bytes(48 * 68), 33, 100, 8)
    assert codec.encode(file).reason == "unsupported: DPX 4:2:2 of an odd width"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_sees_the_same_subsampled_colour(tmp_path: Path) -> None:
    path = tmp_path / "frame.dpx"
    path.write_bytes(dpx_of(pixels(16, 4, 8).astype("u1").tobytes(), 32, 100, 8))
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "uyvy422", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    (samples,) = take(path.read_bytes(), dpx.layout(memoryview(path.read_bytes())))
    assert samples.astype("u1").tobytes() == raw


def test_samples_of_one_bit_are_plain_bytes() -> None:
    file = dpx_of(bytes(range(192)) * 32, 256, 50, 1)
    assert dpx.layout(memoryview(file)).elements == ()
    encoded = codec.encode(file)
    assert encoded.reason is None
    assert codec.decompress(encoded.container) == file


def test_elements_that_overlap_stay_verbatim() -> None:
    file = bytearray(with_u16(770, 2))
    file[852:924] = file[780:852]
    assert codec.encode(bytes(file)).reason == "unsupported: DPX image elements overlap"


@given(st.binary(max_size=4096), st.integers(0, 1 << 50))
def test_the_probe_is_total(head: bytes, size: int) -> None:
    for file in (head, b"SDPX" + head, b"XPDS" + head, GOOD[:780] + head):
        probe = codec.probe(file[: codec.PROBE_SIZE], size)
        assert probe.reason is not None or probe.format is not None
