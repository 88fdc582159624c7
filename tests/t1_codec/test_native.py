"""The C library: the sample, hosts of every kind, and nothing that makes it crash."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import random
import re
import resource
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import codec
from codec import Status, licence
from codec.native import bridge, build
from tests.flavors import FLAVORS
from tests.flavors import frame as flavored
from tests.frames import big_frame, frame, not_understood

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., "Answer"]

FILE = frame()
CONTAINER = codec.compress(FILE)
WARNINGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
COMPRESS, DECOMPRESS, AUTO = range(3)
MISMATCH = 65

pytestmark = pytest.mark.usefixtures("warm_kernels")


@pytest.fixture(scope="module")
def compiler() -> list[str]:
    """The C compiler; skips where the library cannot be built for want of a part."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler ({compiler[0]})")
    try:
        build.python_parts()
    except build.BuildError as error:
        pytest.skip(str(error))
    return compiler


@pytest.fixture(scope="module")
def folder(compiler: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory, with a space in its name, that holds the library and its header."""
    folder = tmp_path_factory.mktemp("a library")
    assert build.build(folder) == folder / "libpixspan_memory.so"
    return folder


@pytest.fixture(scope="module")
def sample(compiler: list[str], folder: Path) -> Path:
    """The sample program, compiled and linked as its own comment says."""
    return compile_sample(compiler, folder)


def compile_sample(compiler: list[str], folder: Path) -> Path:
    program = folder / "in_memory_test"
    source = build.HERE / "in_memory_test.c"
    subprocess.run(
        [*compiler, *WARNINGS, "-o", str(program), str(source), f"-I{folder}", f"-L{folder}",
         "-lpixspan_memory", "-lpthread", "-Wl,-rpath,$ORIGIN"],
        check=True,
    )  # fmt: skip
    return program


def run(*command: str | Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a program without our environment."""
    kept = {k: v for k, v in os.environ.items() if k != licence.PUBLIC_KEY_VARIABLE}
    ran = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **environment},
    )
    return ran.returncode, ran.stdout, ran.stderr


class Info(ctypes.Structure):
    """struct pixspan_process_info."""

    _fields_ = [
        ("output", ctypes.POINTER(ctypes.c_ubyte)),
        ("output_size", ctypes.c_size_t),
        ("original_size", ctypes.c_size_t),
        ("compressed_size", ctypes.c_size_t),
        ("format", ctypes.c_char * 128),
        ("level", ctypes.c_char * 16),
        ("hash", ctypes.c_char * 40),
        ("message", ctypes.c_char * 512),
    ]


@dataclass
class Answer:
    """What a call said; the output was copied and freed."""

    status: Status
    message: str
    output: bytes | None
    format: str


@pytest.fixture(scope="module")
def library(folder: Path) -> ctypes.CDLL:
    """The library in this process, where Python runs already."""
    library = ctypes.CDLL(str(folder / build.LIBRARY))
    library.pixspan_process.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
    ]  # fmt: skip
    library.pixspan_free.argtypes = [ctypes.c_void_p]
    library.pixspan_free.restype = None
    library.pixspan_status_name.restype = ctypes.c_char_p
    library.pixspan_version.restype = ctypes.c_char_p
    return library


@pytest.fixture
def call(library: ctypes.CDLL) -> Call:
    """Process bytes through C: ``call(mode, data, size=None, license=None)``."""

    def call(
        mode: int, data: bytes | int | None, size: int | None = None, license: bytes | None = None
    ) -> Answer:
        info = Info()
        length = size if size is not None else len(data)  # type: ignore[arg-type]
        held = ctypes.create_string_buffer(data, len(data)) if isinstance(data, bytes) else data
        status = library.pixspan_process(mode, license, held, length, ctypes.byref(info))
        assert bool(info.output) == (status == 0)
        output = ctypes.string_at(info.output, info.output_size) if info.output else None
        library.pixspan_free(ctypes.byref(info))
        if isinstance(data, bytes):
            assert held.raw == data  # type: ignore[union-attr]
        return Answer(Status(status), info.message.decode(), output, info.format.decode())

    return call


def test_the_header_and_python_count_alike() -> None:
    text = (build.HERE / build.HEADER).read_text()
    statuses = dict(re.findall(r"PIXSPAN_STATUS_(\w+) = (\d+)", text))
    modes = dict(re.findall(r"PIXSPAN_MODE_(\w+) = (\d+)", text))
    assert statuses == {status.name: str(status.value) for status in Status}
    assert modes == {mode.name: str(number) for number, mode in enumerate(bridge.MODES)}


def test_only_what_the_header_names_is_exported(folder: Path) -> None:
    _, symbols, _ = run("nm", "-D", "--defined-only", folder / build.LIBRARY)
    declared = re.findall(r"^[a-z].*?(pixspan_\w+)\(", (folder / build.HEADER).read_text(), re.M)
    assert sorted(line.split()[-1] for line in symbols.splitlines()) == sorted(declared)


@pytest.mark.parametrize("flavor", FLAVORS[::11], ids=str)
def test_the_sample_on_frames(sample: Path, flavor: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "shot.0001.dpx"
    path.write_bytes(flavored("picture", 300, 200, flavor, trailing=b"after the image"))
    code, out, err = run(sample, path)
    assert (code, err) == (0, "")
    assert "identical" in out


def test_the_sample_writes_what_python_writes(sample: Path, tmp_path: Path) -> None:
    original, stored, back = tmp_path / "a.dpx", tmp_path / "a.pxf", tmp_path / "b.dpx"
    original.write_bytes(FILE)
    assert run(sample, "-m", "compress", original, stored)[0] == 0
    assert stored.read_bytes() == CONTAINER
    assert run(sample, "-m", "auto", stored, back)[0] == 0
    assert back.read_bytes() == FILE
    code, _, err = run(sample, "-m", "auto", stored, back)
    assert code == 66
    assert "cannot be written" in err


def test_the_sample_on_threads(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "shot.0001.dpx"
    path.write_bytes(big_frame())
    code, out, _ = run(sample, "-t", "4", "-n", "3", path)
    assert code == 0
    assert "4 threads  12 round trips" in out


@pytest.mark.parametrize(
    ("name", "mode", "status"),
    [("notes.txt", "auto", Status.NOT_SUPPORTED),
     ("lie-height.dpx", "auto", Status.SUPPORTED_FAILED),
     ("container.dpx", "compress", Status.ALREADY_COMPRESSED),
     ("lie-height.dpx", "decompress", Status.ALREADY_DECOMPRESSED),
     ("empty.dpx", "auto", Status.INPUT_BUFFER_ERROR),
     ("container-head.bin", "decompress", Status.INPUT_BUFFER_ERROR)],
)  # fmt: skip
def test_the_sample_exits_with_the_status(
    sample: Path, tmp_path: Path, name: str, mode: str, status: Status
) -> None:
    path = tmp_path / name
    path.write_bytes(not_understood()[name])
    code, out, _ = run(sample, "-m", mode, path, tmp_path / "out")
    assert code == status
    assert f"PIXSPAN_STATUS_{status.name}: " in out
    assert not (tmp_path / "out").exists()


def test_wrong_usage_of_the_sample(sample: Path, tmp_path: Path) -> None:
    assert run(sample)[0] == 64
    assert run(sample, "-t", "0", "x")[0] == 64
    assert run(sample, tmp_path / "missing")[0] == 66


@pytest.mark.slow
def test_the_sample_on_the_corpus(sample: Path, corpus: Path) -> None:
    """Real frames of every size; what the codec leaves alone, the library does too."""
    coded = 0
    for path in sorted(corpus.rglob("*.dpx"))[::4]:
        code, out, _ = run(sample, path)
        expected = codec.process("compress", path.read_bytes()).status
        assert code == expected, (path.name, out)
        coded += code == 0
    assert coded > 0


def test_a_library_with_a_public_key_wants_licence_keys(
    compiler: list[str], tmp_path: Path
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = private.public_key().public_bytes_raw().hex()
    build.build(tmp_path, public_key=public)
    sample = compile_sample(compiler, tmp_path)
    path, key = tmp_path / "a.dpx", tmp_path / "licence.txt"
    path.write_bytes(FILE)
    assert run(sample, path)[0] == Status.LICENSE_EXPIRED
    for year, expected in ((2001, Status.LICENSE_EXPIRED), (9999, Status.SUCCESS)):
        key.write_text(licence.sign(private, "a host", datetime(year, 1, 1, tzinfo=UTC)) + "\n")
        other = {licence.PUBLIC_KEY_VARIABLE: "00" * 32}  # must not matter
        code, out, _ = run(sample, "-l", key, path, **other)
        assert code == expected, out


@pytest.mark.parametrize("variable", ["PIXFS_PYTHONHOME", "PIXFS_PYTHONPATH"])
def test_a_library_that_cannot_start_says_so(sample: Path, tmp_path: Path, variable: str) -> None:
    path = tmp_path / "a.dpx"
    path.write_bytes(FILE)
    code, out, err = run(sample, path, **{variable: "/nowhere"})
    assert code == Status.SUPPORTED_FAILED
    for text in (out, err):
        assert variable in text
        assert "/nowhere" in text


def test_the_host_s_python_settings_do_not_matter(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dpx"
    path.write_bytes(FILE)
    (tmp_path / "codec.py").write_text("raise ImportError('the wrong codec')")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "LC_ALL": "C"}
    assert run(sample, path, **environment)[0] == 0


def test_a_host_that_loads_it_as_a_plug_in(
    compiler: list[str], folder: Path, tmp_path: Path
) -> None:
    """Private symbols, first calls that race, read-only input, and a fork."""
    program, path = tmp_path / "host", tmp_path / "a.dpx"
    source = Path(__file__).with_name("native_host.c")
    flags = [*WARNINGS, f"-I{folder}", "-o", str(program), str(source), "-lpthread", "-ldl"]
    subprocess.run([*compiler, *flags], check=True)
    path.write_bytes(FILE)
    assert run(program, folder / build.LIBRARY, path) == (0, "", "")


def test_there_and_back_in_a_host_that_is_python(call: Call) -> None:
    there = call(COMPRESS, FILE)
    assert (there.status, there.output) == (Status.SUCCESS, CONTAINER)
    back = call(DECOMPRESS, CONTAINER)
    assert (back.status, back.output) == (Status.SUCCESS, FILE)
    assert there.format == back.format == "dpx 512x389 rgb 10-bit filled-a be"


def test_an_empty_file_comes_back_as_an_empty_output(call: Call) -> None:
    answer = call(DECOMPRESS, codec.compress(b""))
    assert (answer.status, answer.output) == (Status.SUCCESS, b"")


@pytest.mark.parametrize("mode", [COMPRESS, DECOMPRESS, AUTO, 3, -1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize(
    ("data", "size"),
    [(None, 0), (None, 100), (FILE, 0), (FILE, 1 << 40), (FILE, 2**63 - 1), (FILE, 2**64 - 1),
     (1, 4096), (2**64 - 4096, 4096), (2**47, 1)],
    ids=["null", "null-100", "empty", "a-terabyte", "max-signed", "max", "page-0", "end", "hole"],
)  # fmt: skip
def test_what_is_no_memory_is_an_input_error(
    call: Call,
    mode: int,
    data: bytes | int | None,
    size: int,
) -> None:
    answer = call(mode, data, size)
    assert answer.status is Status.INPUT_BUFFER_ERROR
    assert answer.message


def test_a_wrong_mode_is_an_input_error(call: Call) -> None:
    for mode in (3, -1, 2**31 - 1, -(2**31)):
        answer = call(mode, FILE)
        assert answer.status is Status.INPUT_BUFFER_ERROR
        assert str(mode) in answer.message


def test_without_an_info_nothing_is_done(library: ctypes.CDLL) -> None:
    assert library.pixspan_process(AUTO, None, FILE, len(FILE), None) == (
        Status.OUTPUT_BUFFER_OPEN_ERROR
    )
    library.pixspan_free(None)


def test_names_and_version(library: ctypes.CDLL) -> None:
    for status in Status:
        assert library.pixspan_status_name(int(status)).decode() == f"PIXSPAN_STATUS_{status.name}"
    for number in (-1, 8, 2**31 - 1, -(2**31)):
        assert library.pixspan_status_name(number) == b"PIXSPAN_STATUS_UNKNOWN"
    assert re.fullmatch(r"\d+\.\d+\.\d+", library.pixspan_version().decode())


def test_a_long_message_is_cut_between_characters(
    call: Call,
    library: ctypes.CDLL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pad in range(3):
        text = "x" * pad + "€" * 300
        answer = codec.ProcessResult(Status.SUPPORTED_FAILED, text, format=text + "\0")
        monkeypatch.setattr(bridge, "process", lambda *_, answer=answer, **__: answer)
        found = call(AUTO, FILE)
        assert found.message == text[: pad + (511 - pad) // 3]
        assert found.format == text[: pad + (127 - pad) // 3]


@pytest.mark.parametrize(
    ("error", "status"),
    [(MemoryError(), Status.OUTPUT_BUFFER_OPEN_ERROR),
     (KeyboardInterrupt(), Status.SUPPORTED_FAILED),
     (SystemExit(3), Status.SUPPORTED_FAILED)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_exception_gets_out(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: Status,
) -> None:
    def broken(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise error

    monkeypatch.setattr(bridge, "process", broken)
    answer = call(AUTO, FILE)
    assert (answer.status, answer.output) == (status, None)
    assert answer.message


def test_input_that_cannot_be_written_to_will_do(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "a.dpx"
    path.write_bytes(FILE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        array = np.frombuffer(mapped, np.uint8)
        answer = call(COMPRESS, array.ctypes.data, array.size)
        del array
    assert (answer.status, answer.output) == (Status.SUCCESS, CONTAINER)


def test_mutated_files_get_an_answer_and_never_other_bytes(call: Call) -> None:
    """A short fuzz run, the same each time."""
    choose = random.Random(268)
    for _ in range(400):
        original = choose.choice((FILE, CONTAINER))
        mutated = bytearray(original)
        for _ in range(choose.randint(1, 8)):
            reach = choose.choice((64, 2048, len(mutated)))
            mutated[choose.randrange(reach)] = choose.choice(
                (0, 1, 127, 255, choose.randrange(256))
            )
        data = bytes(mutated[: choose.choice((len(mutated), choose.randrange(1, len(mutated))))])
        answer = call(choose.choice((COMPRESS, DECOMPRESS, AUTO)), data)
        if answer.output is None:
            continue
        if codec.is_container_head(data[:64]):
            assert answer.output == FILE
        else:
            assert codec.decompress(answer.output) == data


def test_calls_leave_no_memory_behind(library: ctypes.CDLL) -> None:
    """120 round trips hand out some 130 MB; the process keeps next to nothing of them."""

    def round_trip() -> None:
        there, back = Info(), Info()
        assert library.pixspan_process(COMPRESS, None, FILE, len(FILE), ctypes.byref(there)) == 0
        size = there.output_size
        assert library.pixspan_process(
            DECOMPRESS, None, there.output, size, ctypes.byref(back)
        ) == 0  # fmt: skip
        library.pixspan_free(ctypes.byref(there))
        library.pixspan_free(ctypes.byref(back))

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    for _ in range(20):
        round_trip()
    before = resident()
    for _ in range(120):
        round_trip()
    assert resident() - before < 20_000_000


@pytest.mark.parametrize("key", ["xyz", "00" * 31, " "])
def test_an_unfit_public_key_is_not_built_in(key: str, tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match="64 hexadecimal digits"):
        build.build(tmp_path, public_key=key)
    assert not list(tmp_path.iterdir())


def test_building_without_a_compiler_says_what_to_install(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compiler: list[str],
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build.main([str(tmp_path / "out")]) == 1
    assert "apt-get install gcc" in capsys.readouterr().err
    monkeypatch.setenv("CC", "false")
    assert build.main([str(tmp_path / "out")]) == 1
    assert not list((tmp_path / "out").iterdir())


def test_literals_survive_the_compiler() -> None:
    assert build._literal('a "b"\\ß\n') == '"a \\042b\\042\\134\\303\\237\\012"'


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_valgrind_finds_no_error_of_ours(sample: Path, tmp_path: Path) -> None:
    """The kernels are compiled for a plain processor before, since valgrind knows no AVX-512."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    path = tmp_path / "a.dpx"
    path.write_bytes(FILE)
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    assert run(sample, path, **plain)[0] == 0
    code, out, err = run(
        "valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--num-callers=40",
        "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
        f"--suppressions={build.HERE / 'valgrind.supp'}",
        sample, "-t", "2", path, **plain,
    )  # fmt: skip
    assert code == 0, err
    assert "identical" in out
