"""The units on a machine that really boots: what they promise, and what an operator would see.

One machine for all tests here. It takes about a second to boot; where none can be booted, the
tests are skipped with the reason.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import check
from tests.frames import frame
from tests.machine import Machine, booted

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.fuse, pytest.mark.slow, pytest.mark.timeout(900)]

UNIT = "pixfs-mount@plates.service"
CONFIG = """\
backing = "/srv/plates"
mountpoint = "/mnt/plates"
settle_s = 0
"""
NOBODY = 65534


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, warm_kernels: None) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        machine.write("/etc/pixfs/plates.toml", CONFIG)
        machine.run("chmod", "777", "/srv/plates")
        yield machine


@pytest.fixture
def plates(machine: Machine) -> Iterator[Machine]:
    """The machine with its volume mounted by the unit."""
    machine.run("systemctl", "start", UNIT)
    try:
        yield machine
    finally:
        remove_drop_ins(machine)
        machine.run("systemctl", "reset-failed", UNIT, status=None)
        machine.run("systemctl", "stop", UNIT)
    # Stopped, nothing is left: neither the mount nor anything fsck would find.
    assert "/mnt/plates" not in machine.run("cat", "/proc/1/mountinfo").stdout
    assert check(machine.storage) == []


def add_drop_in(machine: Machine, *lines: str) -> None:
    machine.run("mkdir", "-p", f"/run/systemd/system/{UNIT}.d")
    text = "\n".join(["[Service]", *lines, ""])
    machine.write(f"/run/systemd/system/{UNIT}.d/test.conf", text)
    machine.run("systemctl", "daemon-reload")


def remove_drop_ins(machine: Machine) -> None:
    machine.run("rm", "-rf", f"/run/systemd/system/{UNIT}.d")
    machine.run("systemctl", "daemon-reload")


def wait_for_another_daemon(machine: Machine, former: str) -> None:
    """Until the unit is active with another main process, and the mount answers."""
    another = (
        f'p=$(systemctl show --value -p MainPID {UNIT}); [ "$p" != 0 ] && [ "$p" != {former} ]'
    )
    machine.wait_until("no other daemon", "sh", "-c", another)
    machine.wait_until("the unit is not active", "systemctl", "is-active", UNIT)
    machine.run("pixfs", "health", "--config", "/etc/pixfs/plates.toml")


def test_the_mount_is_there_for_everybody(plates: Machine) -> None:
    assert " /mnt/plates " in plates.run("cat", "/proc/1/mountinfo").stdout
    assert plates.run("pixfs", "health", "/mnt/plates").stdout == "/mnt/plates: well\n"
    plates.run("sh", "-c", "mkdir -m 777 /mnt/plates/reel && echo slate >/mnt/plates/reel/a.txt")
    assert plates.run("cat", "/mnt/plates/reel/a.txt", uid=NOBODY).stdout == "slate\n"
    plates.write("/mnt/plates/reel/b.txt", "theirs\n", uid=NOBODY)
    assert (plates.storage / "reel" / "b.txt").read_text() == "theirs\n"
    assert (plates.storage / "reel" / "b.txt").stat().st_uid == NOBODY


def test_a_frame_is_compressed_and_read_back(plates: Machine) -> None:
    data = frame()
    (plates.storage / "shot.1001.dpx").write_bytes(data)
    plates.run(
        "setfattr", "-n", "user.pixfs.state", "-v", "compressed", "/mnt/plates/shot.1001.dpx"
    )
    assert len((plates.storage / "shot.1001.dpx").read_bytes()) < len(data)
    plates.run("cp", "/mnt/plates/shot.1001.dpx", "/srv/plates/copy")
    assert (plates.storage / "copy").read_bytes() == data
    plates.run("rm", "/mnt/plates/copy")


def test_a_killed_daemon_comes_back_and_the_dead_mount_goes(plates: Machine) -> None:
    for _ in range(3):
        plates.run("sh", "-c", "echo before >/mnt/plates/before.txt")
        former = plates.show(UNIT, "MainPID")
        # The start limit is for a daemon that cannot come up.
        plates.run("systemctl", "reset-failed", UNIT)
        plates.run("systemctl", "kill", "-s", "KILL", UNIT)
        wait_for_another_daemon(plates, former)
        mounts = plates.run("cat", "/proc/1/mountinfo").stdout
        assert mounts.count(" /mnt/plates ") == 1
        assert plates.run("cat", "/mnt/plates/before.txt", uid=NOBODY).stdout == "before\n"


def test_a_mount_left_dead_is_cleared_by_the_next_start(plates: Machine) -> None:
    plates.run("systemctl", "stop", UNIT)
    # By hand, with nobody who cleans up after it.
    plates.run("pixfs", "mount", "--config", "/etc/pixfs/plates.toml")
    pid = plates.run("getfattr", "--only-values", "-n", "user.pixfs.pid", "/mnt/plates").stdout
    plates.run("kill", "-KILL", pid)
    plates.wait_until("the daemon lives on", "sh", "-c", f"! kill -0 {pid}")
    sick = plates.run("pixfs", "health", "/mnt/plates", status=1).stderr
    assert "its daemon is dead" in sick
    plates.run("systemctl", "start", UNIT)
    assert "a dead mount at /mnt/plates" in plates.journal(UNIT)
    assert plates.run("pixfs", "health", "/mnt/plates").stdout == "/mnt/plates: well\n"


def test_a_daemon_that_hangs_is_replaced_by_the_watchdog(plates: Machine) -> None:
    plates.run("systemctl", "stop", UNIT)
    add_drop_in(plates, "WatchdogSec=5s")
    plates.run("systemctl", "start", UNIT)
    former = plates.show(UNIT, "MainPID")
    plates.run("kill", "-STOP", former)
    wait_for_another_daemon(plates, former)
    assert "Watchdog timeout" in plates.journal(UNIT)


def test_a_mount_that_only_the_daemon_sees_fails_the_unit(plates: Machine) -> None:
    plates.run("systemctl", "stop", UNIT)
    add_drop_in(plates, "ProtectSystem=strict", "ReadWritePaths=/srv /run /var", "Restart=no")
    started = plates.run("systemctl", "start", UNIT, status=None)
    assert started.returncode != 0
    assert "only its daemon" in plates.journal(UNIT)
    assert "ProtectSystem=" in plates.journal(UNIT)
    assert plates.run("systemctl", "is-failed", UNIT).stdout == "failed\n"


def test_the_scrub_of_a_volume_runs_and_has_a_timer(plates: Machine) -> None:
    plates.run("systemctl", "start", "pixfs-scrub@plates.service")
    assert plates.show("pixfs-scrub@plates.service", "Result") == "success"
    status = plates.run("pixfs", "scrub", "--status", "--json", "/mnt/plates").stdout
    assert json.loads(status)["damaged"] == []
    assert "WARNING" not in plates.journal("pixfs-scrub@plates.service")
    plates.run("systemctl", "start", "pixfs-scrub@plates.timer")
    timers = plates.run("systemctl", "list-timers", "--all").stdout
    assert "pixfs-scrub@plates.timer" in timers
    plates.run("systemctl", "stop", "pixfs-scrub@plates.timer")


def test_the_server_runs_as_its_own_user_and_may_do_little(machine: Machine) -> None:
    machine.run("systemctl", "start", "pixfs-server.service")
    try:
        pid = machine.show("pixfs-server.service", "MainPID")
        status = machine.run("cat", f"/proc/{pid}/status").stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        uid = machine.run("id", "-u", "pixfs").stdout.strip()
        assert fields["Uid"].split() == [uid] * 4
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
        assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
        ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090/healthz').status)"
        assert machine.run("python3", "-c", ask).stdout == "200\n"
        # What it may write to is its state; not the system.
        inside = ["nsenter", "-t", pid, "-m", "--", "touch"]
        assert "Read-only" in machine.run(*inside, "/usr/planted", status=None).stderr
        assert machine.run("stat", "-c", "%U %a", "/var/lib/pixfs").stdout == "pixfs 700\n"
    finally:
        machine.run("systemctl", "stop", "pixfs-server.service")
    assert "WARNING" not in machine.journal("pixfs-server.service")
