"""Files between real mounts, to plain directories and to buckets and back."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codec
from pixfs.transfer.partial import Partial
from pixfs.volume import check
from server.work.actions import open_storage
from server.work.batch import Options, StorageSpec
from server.work.errors import StoppedError, StorageError
from server.work.flow import Flow
from server.work.mounted import PixfsMount
from server.work.s3.bucket import Bucket
from tests.frames import frame
from tests.fuse_session import Mounted, mounted, xattr
from tests.s3 import s3_server, settings
from tests.t5_core.work import directory, done, planned, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.fuse


@pytest.fixture
def two(warm_kernels: None) -> Iterator[tuple[Mounted, Mounted]]:
    """Two mounts that compress when they are asked to."""
    # User attributes: not on every memory file system.
    base = Path(tempfile.mkdtemp(prefix="pixfs-t5-", dir="/var/tmp"))
    try:
        for name in ("one", "two"):
            (base / name).mkdir()
        with mounted(base / "one", "--manual") as one, mounted(base / "two", "--manual") as other:
            yield one, other
            for mount in (one, other):
                mount.pixfs("verify", mount.path)
        assert check(base / "one" / "backing") == []
        assert check(base / "two" / "backing") == []
    finally:
        shutil.rmtree(base)


@pytest.fixture
def shot(two: tuple[Mounted, Mounted]) -> dict[str, bytes]:
    """A shot on the first mount: two compressed frames, a raw one and a note."""
    folder = two[0].path / "shot"
    folder.mkdir()
    files = {f"f.{n}.dpx": frame(n) for n in (1001, 1002, 1003)} | {"note.txt": b"a note"}
    for number, (name, data) in enumerate(files.items()):
        (folder / name).write_bytes(data)
        os.utime(folder / name, ns=(10**18 + number, 10**18 + number))
    for name in ("f.1001.dpx", "f.1002.dpx"):
        os.setxattr(folder / name, "user.pixfs.state", b"compressed")
    os.setxattr(folder / "f.1001.dpx", "user.take", b"3")
    return files


def pixfs(mount: Mounted) -> StorageSpec:
    return StorageSpec("pixfs", str(mount.path))


def contents(mount: Mounted) -> dict[str, bytes]:
    return {Path(name).name: data for name, data in tree(mount.path).items()}


def test_containers_move_as_they_are_stored(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one, other = two
    outcomes = done(planned("copy", pixfs(one), pixfs(other), "shot"))
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert contents(other) == shot
    for name in ("f.1001.dpx", "f.1002.dpx"):
        stored = (other.backing / "shot" / name).read_bytes()
        assert stored == (one.backing / "shot" / name).read_bytes()
        assert codec.is_container_head(stored[:64])
        assert xattr(other.path / "shot" / name, "state") == "compressed"
    assert xattr(other.path / "shot" / "f.1003.dpx", "state") == "raw"
    moved = {outcome.number: outcome.stored for outcome in outcomes}
    assert moved[0] < len(shot["f.1001.dpx"]) == moved[2]
    copied = other.path / "shot" / "f.1001.dpx"
    assert copied.stat().st_mtime_ns == 10**18
    assert os.getxattr(copied, "user.take") == b"3"


def test_a_stopped_copy_of_a_large_container_goes_on_where_it_was(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.work.mounted.RESUMABLE", 4096)
    monkeypatch.setattr("pixfs.transfer.content.CHUNK", 4096)
    sizes: list[int] = []
    write = Partial.write
    monkeypatch.setattr(
        Partial, "write", lambda self, data: sizes.append(len(data)) or write(self, data)
    )
    specs = [StorageSpec("pixfs", str(mount.path)) for mount in two]
    stop = threading.Event()

    class StopsAfterTwo:
        def take(self, direction: str, size: int, stop: threading.Event) -> None:
            if direction == "write" and len(sizes) == 2:
                stop.set()

    with pytest.raises(StoppedError) as caught:
        done(planned("copy", *specs, "shot/f.1001.dpx"), Flow(target=StopsAfterTwo(), stop=stop))
    assert caught.value.kept
    incoming = two[1].backing / ".pixfs" / "incoming"
    assert [path.stat().st_size for path in incoming.iterdir()] == [2 * 4096]
    batch = planned("copy", *specs, "shot/f.1001.dpx", lost=(1,))
    (outcome,) = done(batch)
    assert outcome.state == "done"
    assert sum(sizes) == outcome.stored
    assert (two[1].path / "f.1001.dpx").read_bytes() == shot["f.1001.dpx"]
    assert not list(incoming.iterdir())


def test_copying_again_does_nothing(two: tuple[Mounted, Mounted], shot: dict[str, bytes]) -> None:
    one, other = two
    batch = planned("copy", pixfs(one), pixfs(other), "shot")
    done(batch)
    assert {outcome.state for outcome in done(batch)} == {"skipped"}
    assert contents(other) == shot


def test_a_file_is_replaced_by_a_container(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one, other = two
    there = other.path / "f.1001.dpx"
    there.write_bytes(b"old")
    with (other.backing / "f.1001.dpx").open("rb") as backing:
        # Until the daemon has heard of the close.
        fcntl.flock(backing, fcntl.LOCK_EX)
    with there.open("rb") as reader:
        batch = planned("copy", pixfs(one), pixfs(other), "shot/f.1001.dpx")
        (outcome,) = done(batch)
        assert (outcome.state, outcome.code) == ("failed", "exists")
        batch = planned(
            "copy",
            pixfs(one),
            pixfs(other),
            "shot/f.1001.dpx",
            options=Options(overwrite="replace"),
        )
        (outcome,) = done(batch)
        assert outcome.state == "done", outcome
        assert reader.read() == b"old"
    other.stop()
    other.start("--manual")
    assert there.read_bytes() == shot["f.1001.dpx"]


def test_a_file_that_is_being_written_to_is_not_replaced(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one, other = two
    there = other.path / "f.1001.dpx"
    there.write_bytes(b"old")
    options = Options(overwrite="replace")
    batch = planned("copy", pixfs(one), pixfs(other), "shot/f.1001.dpx", options=options)
    with there.open("r+b") as writer:
        writer.write(b"new")
        writer.flush()
        (outcome,) = done(batch)
        assert (outcome.state, outcome.code, outcome.is_transient) == ("failed", "busy", True)
    assert there.read_bytes() == b"new"


def test_without_the_backing_all_goes_through_the_mount(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes], tmp_path: Path
) -> None:
    one, other = two
    blind = StorageSpec("pixfs", str(other.path), {"backing": str(tmp_path)})
    assert not open_and_ask(blind)
    outcomes = done(planned("copy", pixfs(one), blind, "shot"))
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert contents(other) == shot
    assert xattr(other.path / "shot" / "f.1001.dpx", "state") == "raw"


def open_and_ask(spec: StorageSpec) -> bool:
    storage = open_storage(spec)
    try:
        return storage.takes_containers
    finally:
        storage.close()


def test_to_a_plain_directory_and_back(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes], tmp_path: Path
) -> None:
    one, other = two
    plain = tmp_path / "plain"
    plain.mkdir()
    done(planned("copy", pixfs(one), directory(plain), "shot"))
    assert {Path(name).name: data for name, data in tree(plain).items()} == shot
    done(planned("copy", directory(plain), pixfs(other), "shot"))
    assert contents(other) == shot


def test_a_folder_of_a_mount_is_a_storage(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one, other = two
    (other.path / "deep" / "er").mkdir(parents=True)
    source = StorageSpec("pixfs", str(one.path / "shot"))
    target = StorageSpec("pixfs", str(other.path / "deep" / "er"))
    assert open_and_ask(target)
    (outcome,) = done(planned("copy", source, target, "f.1001.dpx"))
    assert outcome.state == "done"
    assert (other.path / "deep/er/f.1001.dpx").read_bytes() == shot["f.1001.dpx"]


def test_to_a_bucket_and_back(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes], tmp_path: Path
) -> None:
    one, other = two
    plain = tmp_path / "plain"
    plain.mkdir()
    with s3_server() as endpoint:
        there = StorageSpec("s3", "s3://tier/x", settings(endpoint))
        bucket = Bucket(there.root, there.settings)
        bucket.client.create_bucket(Bucket="tier")
        done(planned("copy", pixfs(one), there, "shot"))
        head = bucket.head("shot/f.1001.dpx")
        assert head["ContentLength"] < len(shot["f.1001.dpx"])
        hashed = xattr(one.path / "shot" / "f.1001.dpx", "hash")
        assert head["Metadata"]["pixfs-original"] == hashed
        assert bucket.stat("shot/f.1001.dpx").size == len(shot["f.1001.dpx"])
        bucket.close()
        done(planned("copy", there, pixfs(other), "shot"))
        done(planned("copy", there, directory(plain), "shot"))
    assert contents(other) == shot
    assert {Path(name).name: data for name, data in tree(plain).items()} == shot
    assert xattr(other.path / "shot" / "f.1001.dpx", "state") == "compressed"
    assert (other.path / "shot" / "f.1001.dpx").stat().st_mtime_ns == 10**18


def test_compress_restore_verify(two: tuple[Mounted, Mounted], shot: dict[str, bytes]) -> None:
    one = two[0]
    outcomes = done(planned("compress", pixfs(one), None, "shot"))
    assert [(o.state, o.code) for o in outcomes] == [("done", "")] * 3 + [("skipped", "verbatim")]
    assert xattr(one.path / "shot" / "f.1003.dpx", "state") == "compressed"
    outcomes = done(planned("verify", pixfs(one), None, "shot"))
    # Of the note, which is kept as it is, nothing is known.
    assert [(o.state, o.is_proven) for o in outcomes] == [("done", True)] * 3 + [("done", False)]
    done(planned("restore", pixfs(one), None, "shot"))
    assert (one.backing / "shot" / "f.1003.dpx").read_bytes() == shot["f.1003.dpx"]
    assert contents(one) == shot


def test_a_file_in_use_is_busy(two: tuple[Mounted, Mounted], shot: dict[str, bytes]) -> None:
    one = two[0]
    with (one.path / "shot" / "f.1003.dpx").open("r+b"):
        (outcome,) = done(planned("compress", pixfs(one), None, "shot/f.1003.dpx"))
    assert (outcome.state, outcome.code, outcome.is_transient) == ("failed", "busy", True)


def test_a_damaged_container_is_not_moved_on(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one, other = two
    stored = one.backing / "shot" / "f.1001.dpx"
    sound = stored.read_bytes()
    middle = len(sound) // 2
    with stored.open("r+b") as file:
        file.seek(middle)
        file.write(bytes([sound[middle] ^ 1]))
    outcomes = done(planned("copy", pixfs(one), pixfs(other), "shot/f.1001.dpx"))
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [("failed", "damaged")]
    assert "its checksum does not hold" in outcomes[0].reason
    assert contents(other) == {}
    with stored.open("r+b") as file:
        file.write(sound)


def test_a_damaged_frame_is_found(two: tuple[Mounted, Mounted], shot: dict[str, bytes]) -> None:
    one = two[0]
    backing = one.backing / "shot" / "f.1001.dpx"
    data = bytearray(backing.read_bytes())
    data[-100] ^= 1
    st = backing.stat()
    backing.write_bytes(data)
    os.utime(backing, ns=(st.st_atime_ns, st.st_mtime_ns))
    outcomes = done(planned("verify", pixfs(one), None, "shot"))
    assert [outcome.code for outcome in outcomes if outcome.state == "failed"] == ["damaged"]
    backing.unlink()


def test_a_mount_and_its_own_backing_are_not_copied_onto_each_other(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one = two[0]
    behind = directory(one.backing)
    for source, target in ((pixfs(one), behind), (behind, pixfs(one))):
        batch = planned("copy", source, target, "shot", options=Options(overwrite="replace"))
        with pytest.raises(StorageError, match="same files twice"):
            done(batch)
    assert contents(one) == shot


def test_a_killed_mount_is_a_storage_error(
    two: tuple[Mounted, Mounted], shot: dict[str, bytes]
) -> None:
    one, other = two
    batch = planned("copy", pixfs(one), pixfs(other), "shot")
    other.kill()
    with pytest.raises(StorageError):
        done(batch)
    other.start("--manual")
    assert {outcome.state for outcome in done(batch)} == {"done"}


def test_a_path_off_the_mount_is_no_mount(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not on a PixFS mount"):
        PixfsMount(str(tmp_path))
