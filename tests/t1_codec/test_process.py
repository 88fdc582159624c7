"""One call for a file in memory: every status, and no exception for anything."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec import Mode, ProcessResult, Status, process
from codec.container import HEAD_SIZE, Directory, Header, checksum
from codec.types import LEVELS, Block, BlockKind
from tests.flavors import FLAVORS, flavor_id
from tests.flavors import frame as flavored
from tests.frames import frame, not_understood

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checklogs import ExpectLogs

FILE = frame()
CONTAINER = codec.compress(FILE)
MODES = [*Mode, "nonsense"]


def fills(count: int, length: int, *, hashed: bool = True) -> bytes:
    """A container of ``count`` blocks of ``length`` zeros each, sound if ``hashed``."""
    directory = Directory(info={"format": "zeros"})
    for index in range(count):
        at = (index * length, (index + 1) * length, index, index + 1)
        directory.blocks.append(Block(BlockKind.FILL, *at, checksum(b"\0"), 0, 0, 0))
    packed = directory.pack()
    digest = xxhash.xxh3_128()
    for _ in range(count if hashed else 0):
        digest.update(bytes(length))
    header = Header(
        "container",
        count * length,
        HEAD_SIZE + len(packed) + count,
        len(packed),
        digest.digest(),
        checksum(packed),
    )
    return header.pack() + packed + bytes(count)


def assert_refused(result: ProcessResult, status: Status) -> None:
    assert result.status is status, result
    assert result.output is None
    assert result.message


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("mode", [Mode.COMPRESS, "compress", Mode.AUTO])
def test_there_and_back(mode: Mode | str, level: codec.Level) -> None:
    made = process(mode, FILE, level=level, threads=2)
    assert made.status is Status.SUCCESS
    assert made.output == codec.compress(FILE, level=level)
    assert made.compressed_size == len(made.output or b"") < made.original_size == len(FILE)
    assert (made.level, made.hash) == (level, xxhash.xxh3_128_hexdigest(FILE))
    for back in ("decompress", "auto"):
        restored = process(back, made.output or b"", threads=2)
        assert restored.status is Status.SUCCESS
        assert restored.output == FILE
        for name in ("format", "original_size", "compressed_size", "level", "hash"):
            assert getattr(restored, name) == getattr(made, name)


@pytest.mark.parametrize("flavor", FLAVORS[::5], ids=flavor_id)
def test_every_kind_of_frame(flavor: dict[str, Any]) -> None:
    file = flavored("picture", 131, 70, flavor, trailing=b"after the image")
    made = process("auto", file)
    assert made.status is Status.SUCCESS
    assert process("auto", made.output or b"").output == file


def test_unknown_formats_are_not_supported() -> None:
    text = b"not a frame at all\n" * 1000
    for mode in Mode:
        assert_refused(process(mode, text), Status.NOT_SUPPORTED)


@pytest.mark.parametrize("name", [n for n in not_understood() if n.startswith("lie-")])
def test_known_formats_that_cannot_be_coded_are_supported_and_failed(name: str) -> None:
    result = process("compress", not_understood()[name])
    assert_refused(result, Status.SUPPORTED_FAILED)
    assert result.format is not None
    assert "keep the file as it is" in result.message


def test_noise_does_not_pay() -> None:
    noise = flavored("noise", 300, 200, {"bits": 16, "packing": "packed", "descriptor": "rgb"})
    result = process("compress", noise)
    assert_refused(result, Status.SUPPORTED_FAILED)
    assert result.message.startswith("incompressible")
    assert result.original_size == len(noise)


def test_a_container_is_already_compressed() -> None:
    result = process("compress", CONTAINER)
    assert_refused(result, Status.ALREADY_COMPRESSED)
    assert (result.original_size, result.compressed_size) == (len(FILE), len(CONTAINER))


def test_a_frame_is_already_decompressed() -> None:
    result = process("decompress", FILE)
    assert_refused(result, Status.ALREADY_DECOMPRESSED)
    assert result.format is not None
    assert result.format.startswith("dpx")


def released_memoryview() -> memoryview:
    view = memoryview(FILE)
    view.release()
    return view


@pytest.mark.parametrize(
    "buffer",
    [b"", bytearray(), np.empty((0, 3)), None, 7, "text", [1, 2], object(), released_memoryview(),
     memoryview(FILE)[::2], np.zeros((4, 4))[:, 1:], np.zeros((4, 3), order="F"),
     np.array([object()])],
    ids=["empty", "empty bytearray", "empty array", "none", "number", "text", "list", "object",
         "released", "strided", "strided array", "column by column", "array of objects"],
)  # fmt: skip
@pytest.mark.parametrize("mode", Mode)
def test_what_is_no_buffer_of_bytes_is_an_input_error(mode: Mode, buffer: Any) -> None:  # noqa: ANN401
    assert_refused(process(mode, buffer), Status.INPUT_BUFFER_ERROR)


@pytest.mark.parametrize("at", [9, 20, 70, len(CONTAINER) // 2, len(CONTAINER) - 1])
def test_a_damaged_container_is_an_input_error(at: int) -> None:
    damaged = bytearray(CONTAINER)
    damaged[at] ^= 16
    for mode in ("decompress", "auto"):
        result = process(mode, damaged)
        assert_refused(result, Status.INPUT_BUFFER_ERROR)
        assert "damaged" in result.message
        assert "another copy" in result.message


@pytest.mark.parametrize("length", [8, 63, 64, 100, len(CONTAINER) - 1])
@pytest.mark.parametrize("mode", Mode)
def test_a_container_cut_short_is_an_input_error(mode: Mode, length: int) -> None:
    assert_refused(process(mode, CONTAINER[:length]), Status.INPUT_BUFFER_ERROR)


@pytest.mark.parametrize("mode", Mode)
def test_bytes_behind_a_container_are_not_dropped_in_silence(mode: Mode) -> None:
    result = process(mode, CONTAINER + CONTAINER)
    assert_refused(result, Status.INPUT_BUFFER_ERROR)
    assert f"{len(CONTAINER)} bytes follow" in result.message


def test_a_container_of_a_later_release_is_left_alone() -> None:
    later = bytearray(CONTAINER)
    later[8] = 9
    later[56:64] = checksum(bytes(later[:56]))
    assert_refused(process("compress", later), Status.ALREADY_COMPRESSED)
    result = process("decompress", later)
    assert_refused(result, Status.SUPPORTED_FAILED)
    assert "later than this reader knows" in result.message


def test_a_wrap_gives_back_what_is_in_it() -> None:
    wrapped = codec.make_wrap_header() + CONTAINER
    assert process("auto", wrapped).output == CONTAINER
    assert_refused(process("compress", wrapped), Status.ALREADY_COMPRESSED)


def test_the_output_is_bounded() -> None:
    assert process("decompress", CONTAINER, max_output=len(FILE)).output == FILE
    result = process("decompress", CONTAINER, max_output=len(FILE) - 1)
    assert_refused(result, Status.OUTPUT_BUFFER_OPEN_ERROR)
    assert str(len(FILE)) in result.message


def test_the_machine_s_memory_is_the_bound_nobody_set() -> None:
    physical = codec.process.__globals__["_memory"]()
    bomb = fills(physical // (1 << 25) + 1, 1 << 25, hashed=False)
    assert len(bomb) < physical // 1000
    result = process("auto", bomb)
    assert_refused(result, Status.OUTPUT_BUFFER_OPEN_ERROR)
    assert str(physical) in result.message


def test_no_memory_for_the_output_is_said_so(tmp_path: Path) -> None:
    """In a process of its own, that may have 512 MiB more than it has to unpack 2 GiB."""
    path = tmp_path / "zeros.pxf"
    path.write_bytes(fills(64, 1 << 25))
    script = (
        "import resource, sys, codec\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + (1 << 29)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "result = codec.process('decompress', data, max_output=1 << 40)\n"
        "print(result.status.name, result.output)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("OUTPUT_BUFFER_OPEN_ERROR None\n", "")
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    "how",
    [{"level": "best"}, {"level": None}, {"level": []}, {"threads": 0}, {"threads": "two"},
     {"max_output": -1}, {"max_output": "1 GB"}, {"mode": "x"}, {"mode": None}, {"mode": []}],
    ids=str,
)  # fmt: skip
def test_a_wrong_call_is_an_answer_too(how: dict[str, Any]) -> None:
    mode = how.pop("mode", "auto")
    assert_refused(process(mode, FILE, **how), Status.INPUT_BUFFER_ERROR)


def test_a_verify_failure_yields_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def flipped(*arguments: Any) -> Any:  # noqa: ANN401
        rows = decode_tile(*arguments)
        rows[0] ^= 1
        return rows

    names = codec.encode.__globals__
    decode_tile = names["decode_tile"]
    monkeypatch.setitem(names, "decode_tile", flipped)
    result = process("compress", FILE)
    assert_refused(result, Status.SUPPORTED_FAILED)
    assert "do not decode to themselves" in result.message


def test_a_bug_is_a_status_and_a_log_record(
    monkeypatch: pytest.MonkeyPatch, expect_logs: ExpectLogs
) -> None:
    def broken(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise ZeroDivisionError("planted")

    expect_logs("processing compress failed")
    monkeypatch.setitem(process.__globals__, "encode", broken)
    result = process("compress", FILE)
    assert_refused(result, Status.SUPPORTED_FAILED)
    assert "ZeroDivisionError: planted" in result.message


@settings(max_examples=100)
@given(st.binary(max_size=6000), st.sampled_from(MODES))
def test_any_bytes_get_an_answer(data: bytes, mode: str) -> None:
    result = process(mode, data)
    assert result.output is None
    assert result.status is not Status.SUCCESS


@settings(max_examples=150)
@given(st.data())
def test_any_damage_gets_an_answer_and_never_other_bytes(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from([FILE, CONTAINER]))
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        near = data.draw(st.sampled_from([64, 2048, len(damaged)]))
        damaged[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    file = bytes(damaged[: len(damaged) - data.draw(st.sampled_from([0, 0, 1, 999]))])
    result = process("auto", file)
    if codec.is_container_head(file[:64]):
        assert result.output in (None, FILE)
    elif result.output is not None:
        assert codec.decompress(result.output) == file


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("file", [FILE, CONTAINER, b"text" * 2000], ids=["frame", "pxf", "text"])
def test_the_input_is_left_undisturbed(mode: Mode, file: bytes) -> None:
    buffer = bytearray(file)
    before = hashlib.sha256(buffer).digest()
    result = process(mode, buffer)
    assert hashlib.sha256(buffer).digest() == before
    buffer.append(0)  # nothing holds on to the caller's buffer
    if result.output is not None:
        assert process("auto", result.output).status is Status.SUCCESS


def test_many_threads_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: process("compress", FILE), range(16)))
        back = list(pool.map(lambda r: process("decompress", r.output), made))
    assert all(r.output == CONTAINER for r in made)
    assert all(r.output == FILE for r in back)
