"""What the DPX probe makes of real headers, odd ones and lies."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from tests.flavors import FLAVORS, flavor_id, frame

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
        (GOOD[:800] + b"\x64" + GOOD[801:], "unsupported: DPX 4:2:2 subsampling"),
        (GOOD[:800] + b"\x99" + GOOD[801:], "unsupported: DPX descriptor 153"),
        (GOOD[:803] + b"\x20" + GOOD[804:], "unsupported: DPX with 32-bit samples"),
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


def test_elements_that_overlap_stay_verbatim() -> None:
    file = bytearray(with_u16(770, 2))
    file[852:924] = file[780:852]
    assert codec.encode(bytes(file)).reason == "unsupported: DPX image elements overlap"


@given(st.binary(max_size=4096), st.integers(0, 1 << 50))
def test_the_probe_is_total(head: bytes, size: int) -> None:
    for file in (head, b"SDPX" + head, b"XPDS" + head, GOOD[:780] + head):
        probe = codec.probe(file[: codec.PROBE_SIZE], size)
        assert probe.reason is not None or probe.format is not None
