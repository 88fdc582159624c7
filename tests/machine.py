"""A machine to start systemd units on: this one's root file system, booted again in a container.

systemd-nspawn boots an overlay over ``/`` whose changes lie in memory, in a mount namespace, a
network and control groups of its own: nothing it does is seen outside, and all of it is gone when
its first process has ended. Boots in about a second. What does not lie on the root file system
(the tree, the interpreter, the compiled kernels) is laid over in the same way.

Needs root, systemd-nspawn, and a kernel and surroundings that let root mount and make control
groups: `booted` skips with the reason where that is not so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codec.kernels.jit import CACHE_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 120
# Machines of other runs boot one after the other.
_LOCK = Path(tempfile.gettempdir()) / "pixfs-test-machine.lock"
_NEEDED = ("systemd-nspawn", "unshare", "nsenter", "mount", "systemctl")

# In a mount namespace of its own, so that the mounts need no undoing. nspawn wants /run to be no
# disk; LAYERS are directories of other file systems that are to be seen in the machine.
_BOOT = """
set -eu
for group in $GROUPS_OF_OURS; do echo $$ >"$group/cgroup.procs"; done
cd "$1"
layer() {
    mkdir -p "layers/$2/changes" "layers/$2/work"
    mount -t overlay -o "lowerdir=$1,upperdir=layers/$2/changes,workdir=layers/$2/work" \
        pixfs-test "root$1"
}
mkdir layers root
mount -t tmpfs -o mode=755 pixfs-test layers
layer / 0
number=0
for directory in $LAYERS; do
    number=$((number + 1))
    mkdir -p "root$directory"
    layer "$directory" $number
done
rm -rf root/etc/systemd/system/* root/etc/fstab
cp -a seed/. root/
for cache in root/.cache/pixfs/kernels var/cache/pixfs; do
    mkdir -p "root/$cache"
    [ -e "root/$cache/${KERNELS##*/}" ] || cp -a "$KERNELS" "root/$cache/"
done
for directory in $REACHED; do chmod o+x "root$directory"; done
mount -t tmpfs pixfs-test /run
exec systemd-nspawn --quiet --register=no --keep-unit --directory=root --private-network \
    --console=pipe --link-journal=no --settings=no --machine="$MACHINE" --bind=/dev/fuse \
    --bind="$1/storage:/srv/plates" --boot -- --unit=basic.target
"""


class Machine:
    """A booted machine; commands run in it as root.

    Attributes:
        storage: a directory outside that is ``/srv/plates`` inside, on a real file system.
    """

    def __init__(self, leader: int, storage: Path) -> None:
        self._leader = leader
        self.storage = storage

    def run(
        self, *command: str | Path, status: int | None = 0, uid: int = 0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; checks its exit status unless status is None."""
        who = [] if uid == 0 else ["-S", str(uid), "-G", str(uid)]
        result = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", *who, "--", *map(str, command)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={"PATH": _INSIDE_PATH, "LANG": "C.UTF-8"},
        )
        if status is not None:
            told = f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
            assert result.returncode == status, f"{told}\n{self.journal()}"
        return result

    def write(self, path: str, text: str, *, uid: int = 0) -> None:
        """Write a file inside, as a user."""
        self.run("sh", "-c", 'cat >"$1"', "sh", path, stdin=text, uid=uid)

    def show(self, unit: str, field: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", field, unit).stdout.strip()

    def journal(self, unit: str = "pixfs*") -> str:
        """What units have logged."""
        command = ["journalctl", "--no-pager", "-o", "short-monotonic", "-u", unit]
        return self.run(*command, status=None).stdout

    def wait_until(self, what: str, *command: str | Path) -> None:
        """Run a command until it exits with 0."""
        deadline = time.monotonic() + TIMEOUT_S
        while (result := self.run(*command, status=None)).returncode != 0:
            told = f"{what}: {result.stdout}\n{result.stderr}"
            assert time.monotonic() < deadline, f"{told}\n{self.journal()}"
            time.sleep(0.1)


_INSIDE_PATH = "/opt/pixfs/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextmanager
def booted(directory: Path, *, seed: Path | None = None) -> Iterator[Machine]:
    """A machine with PixFS installed at /opt/pixfs; gone afterwards, whatever happens.

    ``seed``: files laid over the root before it boots.
    """
    _check_needs()
    _prepare(directory, seed)
    with ExitStack() as cleanup:
        groups = _make_groups(cleanup)
        console = cleanup.enter_context(open(directory / "console", "w+b"))
        with _one_at_a_time():
            nspawn = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--propagation",
                    "private",
                    "sh",
                    "-c",
                    _BOOT,
                    "sh",
                    directory,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"] + os.pathsep + _INSIDE_PATH,
                    "GROUPS_OF_OURS": " ".join(map(str, groups)),
                    "LAYERS": " ".join(_layers()),
                    "REACHED": " ".join(_reached()),
                    "KERNELS": str(CACHE_DIR),
                    "MACHINE": f"pixfs-test-{os.getpid()}",
                    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
                },
            )
            cleanup.callback(_end, nspawn, groups)
            machine = Machine(_leader(nspawn, directory), directory / "storage")
            _wait_booted(machine, nspawn, directory)
        yield machine


def _check_needs() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can boot a machine")
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("/dev/fuse cannot be opened")
    if CACHE_DIR is None:
        pytest.skip("there is no cache of compiled kernels to bring along: compiling takes minutes")
    if any(ROOT.is_relative_to(place) for place in ("/tmp", "/var/tmp")):
        pytest.skip("units have a /tmp of their own, in which they would not find PixFS")


def _layers() -> list[str]:
    """What PixFS runs from and does not lie on the root file system."""
    root = os.stat("/").st_dev
    wanted = [ROOT, Path(sys.base_prefix).resolve()]
    return [str(path) for path in dict.fromkeys(wanted) if path.stat().st_dev != root]


def _reached() -> list[str]:
    """The directories that the server's user must pass through, outermost first."""
    wanted = (ROOT, Path(sys.base_prefix).resolve())
    return list(dict.fromkeys(str(p) for path in wanted for p in (*reversed(path.parents), path)))


def _prepare(directory: Path, seed: Path | None) -> None:
    """The files that the machine has and this one has not."""
    ours = directory / "seed"
    ours.mkdir()
    (directory / "storage").mkdir()
    subprocess.run([ROOT / "scripts" / "install-units", ours], check=True)
    for name, text in {
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/hostname": "pixfs-test\n",
        # What lies in /tmp may be the tree itself.
        "etc/tmpfiles.d/tmp.conf": "",
        "etc/tmpfiles.d/x11.conf": "",
        "etc/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=volatile\nRateLimitBurst=0\n",
    }.items():
        path = ours / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    # Slow or of no use in a container; what asks for one of them does without.
    for unit in ("tmp.mount", "systemd-udevd.service", "systemd-networkd.service"):
        (ours / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (ours / "opt").mkdir()
    (ours / "opt/pixfs").symlink_to(ROOT)
    (ours / "mnt/plates").mkdir(parents=True)
    if seed is not None:
        shutil.copytree(seed, ours, dirs_exist_ok=True, symlinks=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with open(_LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_groups(cleanup: ExitStack) -> list[Path]:
    """A control group for the machine, in each hierarchy systemd would use, below our own."""
    name = f"pixfs-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    groups = []
    for base in _own_groups():
        group = base / name
        try:
            group.mkdir()
        except OSError as error:
            pytest.skip(f"no control group can be made ({error})")
        groups.append(group)
        cleanup.callback(_remove_group, group)
    if not groups:
        pytest.skip("no control group hierarchy that systemd could use is mounted")
    return groups


def _own_groups() -> list[Path]:
    """Where this process is: in the unified hierarchy, and in systemd's of the old kind."""
    mounted: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup2":
            mounted[""] = Path(fields.split(" ")[4])
        elif kind == "cgroup" and "name=systemd" in options:
            mounted["name=systemd"] = Path(fields.split(" ")[4])
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in mounted:
            found.append(mounted[controllers] / path.lstrip("/"))
    return found


def _remove_group(group: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while group.exists() and time.monotonic() < deadline:
        for directory, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _leader(nspawn: subprocess.Popen[bytes], directory: Path) -> int:
    """The machine's first process."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if nspawn.poll() is not None:
            pytest.skip(f"no machine can be booted here: {_console(directory)}")
        for child in _children(nspawn.pid):
            with suppress(OSError):
                # Not yet nspawn's own children, "systemd-nspawn" and "(sd-...)".
                if Path(f"/proc/{child}/comm").read_bytes() == b"systemd\n":
                    return child
        time.sleep(0.05)
    pytest.skip(f"no machine starts here in {TIMEOUT_S} s: {_console(directory)}")


def _wait_booted(machine: Machine, nspawn: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    said = ""
    while said not in ("running", "degraded"):
        if nspawn.poll() is not None:
            pytest.skip(f"no machine can be booted here: {_console(directory)}")
        if time.monotonic() > deadline:
            pytest.skip(f"no machine boots here in {TIMEOUT_S} s: {_console(directory)}")
        said = machine.run("systemctl", "is-system-running", status=None).stdout.strip()
        time.sleep(0.05)


def _console(directory: Path) -> str:
    return (directory / "console").read_text(errors="replace")[-2000:]


def _end(nspawn: subprocess.Popen[bytes], groups: Sequence[Path]) -> None:
    """End the machine at once: its first process takes all others along."""
    for leader in _children(nspawn.pid):
        with suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
    try:
        nspawn.wait(TIMEOUT_S / 4)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait()
    for group in groups:
        for procs in group.rglob("cgroup.procs"):
            with suppress(OSError):
                for pid in procs.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
