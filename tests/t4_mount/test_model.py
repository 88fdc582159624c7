"""Random operations on a real mount and on a plain directory end the same: results, errnos,
bytes and attributes. In between the mount converts, is mounted anew and is killed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pixfs.volume import check
from tests.fuse_session import Mounted
from tests.t2_volume.frames import container, dpx, noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fuse

NAMES = ["a.dpx", "b.dpx", "c", "d/a.dpx", "d/e"]
names = st.sampled_from(NAMES)
directories = st.sampled_from(["d", "g", "d/h"])
DATA = {
    "frame": dpx(),
    "other-frame": dpx(1),
    "noise": noise(9000),
    "container": container(),
    "container-head": container()[:64],
    "text": b"some text",
    "nothing": b"",
}
data = st.sampled_from(sorted(DATA))
offsets = st.sampled_from([0, 1, 63, 64, 2048, 4096, 24000, 40000])
access = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND])
xattr_names = st.sampled_from(["user.note", "user.shot"])
# Without set-user-id: a mount clears it for root, too (docs/semantics.md).
MODES = [0o600, 0o644, 0o1755, 0o444]
RENAME_FLAGS = {"plain": 0, "noreplace": 1, "exchange": 2}
AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


class Machine(RuleBasedStateMachine):
    """The same done to a directory on a mount and to a plain one."""

    mount: ClassVar[Mounted]
    plain_root: ClassVar[Path]
    # Starting a daemon takes seconds: so often in one run, and no more.
    remounts_left: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.here = Path(tempfile.mkdtemp(dir=self.mount.path))
        self.plain = Path(tempfile.mkdtemp(dir=self.plain_root))
        for path in (self.here, self.plain):
            (path / "d").mkdir()
        self.fds: list[tuple[int, int]] = []

    def teardown(self) -> None:
        self.close_all()
        shutil.rmtree(self.here)
        shutil.rmtree(self.plain)

    def close_all(self) -> None:
        for pair in self.fds:
            for fd in pair:
                os.close(fd)
        self.fds.clear()

    def both(self, act: Callable[[Path], object]) -> None:
        """The same result or the same errno on both sides."""
        assert outcome(lambda: act(self.here)) == outcome(lambda: act(self.plain))

    def both_open(self, which: int, act: Callable[[int], object]) -> None:
        if which < len(self.fds):
            here, plain = self.fds[which]
            assert outcome(lambda: act(here)) == outcome(lambda: act(plain))

    @rule(name=names, what=data)
    def write_file(self, name: str, what: str) -> None:
        self.both(lambda root: (root / name).write_bytes(DATA[what]))

    @rule(name=names, flags=access, create=st.booleans(), truncate=st.booleans())
    def open(self, name: str, flags: int, create: bool, truncate: bool) -> None:
        if len(self.fds) >= 4:
            return
        flags |= os.O_CREAT if create else 0
        flags |= os.O_TRUNC if truncate and flags & os.O_ACCMODE else 0
        here = outcome(lambda: Descriptor(os.open(self.here / name, flags, 0o640)))
        plain = outcome(lambda: Descriptor(os.open(self.plain / name, flags, 0o640)))
        if isinstance(here, Descriptor) and isinstance(plain, Descriptor):
            self.fds.append((here.fd, plain.fd))
        else:
            assert here == plain

    @rule(which=st.integers(0, 3), offset=offsets, what=data)
    def write(self, which: int, offset: int, what: str) -> None:
        self.both_open(which, lambda fd: os.pwrite(fd, DATA[what], offset))

    @rule(which=st.integers(0, 3), offset=offsets, size=offsets)
    def read(self, which: int, offset: int, size: int) -> None:
        self.both_open(which, lambda fd: os.pread(fd, size, offset))

    @rule(which=st.integers(0, 3), size=offsets)
    def truncate_open(self, which: int, size: int) -> None:
        self.both_open(which, lambda fd: os.ftruncate(fd, size))

    @rule(which=st.integers(0, 3))
    def fsync(self, which: int) -> None:
        self.both_open(which, os.fsync)

    @rule(which=st.integers(0, 3))
    def close(self, which: int) -> None:
        if which < len(self.fds):
            for fd in self.fds.pop(which):
                os.close(fd)

    @rule(name=names, size=offsets)
    def truncate(self, name: str, size: int) -> None:
        self.both(lambda root: os.truncate(root / name, size))

    @rule(name=names)
    def unlink(self, name: str) -> None:
        self.both(lambda root: os.unlink(root / name))

    @rule(name=names, name2=names, how=st.sampled_from(sorted(RENAME_FLAGS)))
    def rename(self, name: str, name2: str, how: str) -> None:
        self.both(lambda root: rename(root / name, root / name2, RENAME_FLAGS[how]))

    @rule(name=names, name2=names)
    def link(self, name: str, name2: str) -> None:
        self.both(lambda root: os.link(root / name, root / name2))

    @rule(name=names, to=names)
    def symlink(self, name: str, to: str) -> None:
        self.both(lambda root: os.symlink(Path(to).name, root / name))

    @rule(name=directories)
    def make_directory(self, name: str) -> None:
        self.both(lambda root: os.mkdir(root / name, 0o750))

    @rule(name=st.one_of(directories, names))
    def remove_directory(self, name: str) -> None:
        self.both(lambda root: os.rmdir(root / name))

    @rule(name=directories, name2=directories)
    def rename_directory(self, name: str, name2: str) -> None:
        self.both(lambda root: os.rename(root / name, root / name2))

    @rule(name=names, mode=st.sampled_from(MODES))
    def chmod(self, name: str, mode: int) -> None:
        self.both(lambda root: os.chmod(root / name, mode))

    @rule(name=names, time_ns=st.integers(0, 2**61))
    def utime(self, name: str, time_ns: int) -> None:
        self.both(lambda root: os.utime(root / name, ns=(time_ns, time_ns)))
        self.both(lambda root: os.stat(root / name).st_mtime_ns)

    @rule(name=names, key=xattr_names, value=st.binary(max_size=40), flags=st.integers(0, 2))
    def set_xattr(self, name: str, key: str, value: bytes, flags: int) -> None:
        self.both(lambda root: os.setxattr(root / name, key, value, flags))

    @rule(name=names, key=xattr_names)
    def get_xattr(self, name: str, key: str) -> None:
        self.both(lambda root: os.getxattr(root / name, key))
        self.both(lambda root: sorted(os.listxattr(root / name)))

    @rule(name=names, key=xattr_names)
    def remove_xattr(self, name: str, key: str) -> None:
        self.both(lambda root: os.removexattr(root / name, key))

    # What only the mount does

    @rule(name=names, state=st.sampled_from([b"compressed", b"raw"]))
    def convert(self, name: str, state: bytes) -> None:
        outcome(lambda: os.setxattr(self.here / name, "user.pixfs.state", state))

    @precondition(lambda self: Machine.remounts_left > 0)
    @rule(kill=st.booleans())
    def mount_again(self, kill: bool) -> None:
        Machine.remounts_left -= 1
        self.close_all()
        if kill:
            self.mount.kill()
        else:
            assert self.mount.stop() == 0
            assert check(self.mount.backing) == []
        self.mount.start()

    # What must always hold

    @invariant()
    def same_tree(self) -> None:
        assert tree(self.here) == tree(self.plain)

    @invariant()
    def same_open_files(self) -> None:
        for here, plain in self.fds:
            expected = os.fstat(plain)
            found = os.fstat(here)
            assert (found.st_size, found.st_nlink) == (expected.st_size, expected.st_nlink)
            assert outcome(lambda fd=here: os.pread(fd, 1 << 20, 0)) == outcome(
                lambda fd=plain: os.pread(fd, 1 << 20, 0)
            )


class Descriptor:
    """What an open returned: not to be compared with an errno."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


def rename(old: Path, new: Path, flags: int) -> None:
    if _libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the errno it raises."""
    try:
        return call()
    except OSError as error:
        return error.errno


def tree(root: Path) -> dict[str, object]:
    """Every name below: type, mode, links, size and bytes."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        st_ = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = (st_.st_size, path.read_bytes())
        nlink = st_.st_nlink if path.is_file() else None
        found[str(path.relative_to(root))] = (st_.st_mode, nlink, content)
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, warm_kernels: None) -> Iterator[None]:
    """One mount for all examples, each in a directory of its own."""
    Machine.mount = Mounted(tmp_path_factory.mktemp("model"))
    # Attributes and links as on the backing: beside it, on the same file system.
    Machine.plain_root = Machine.mount.backing.parent / "plain"
    Machine.plain_root.mkdir()
    try:
        Machine.mount.start()
        yield
    finally:
        Machine.mount.clean_up()
    Machine.mount.check_log()
    assert check(Machine.mount.backing) == []


def run(examples: int, steps: int, remounts: int) -> None:
    Machine.remounts_left = remounts
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            # Making a failure smaller takes minutes on a mount; add Phase.shrink to do so.
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.usefixtures("prepared")
def test_a_mount_is_like_a_plain_directory() -> None:
    run(examples=12, steps=25, remounts=2)
