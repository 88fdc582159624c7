"""The units on a machine that really boots: what they promise, and what an operator would see.

One machine for all tests here. It takes about a second to boot; where none can be booted, the
tests are skipped with the reason.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from pixfs.volume import check
from tests.frames import frame
from tests.machine import Machine, booted

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.fuse, pytest.mark.slow, pytest.mark.timeout(900)]

UNIT = "pixfs-mount@plates.service"
SERVER = "pixfs-server.service"
# A second volume, for what needs a unit that is not running.
ODD = "pixfs-mount@odd.service"
CONFIG = """\
backing = "/srv/{name}"
mountpoint = "/mnt/{name}"
settle_s = 0
"""
NOBODY = 65534


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, warm_kernels: None) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        machine.run("mkdir", "-p", "/srv/odd", "/mnt/odd")
        for name in ("plates", "odd"):
            machine.write(f"/etc/pixfs/{name}.toml", CONFIG.format(name=name))
        machine.run("chmod", "777", "/srv/plates")
        yield machine


@pytest.fixture(scope="module")
def running(machine: Machine) -> Iterator[Machine]:
    machine.run("systemctl", "start", UNIT)
    yield machine
    machine.run("systemctl", "stop", UNIT)
    # Stopped, nothing is left: neither the mount nor anything fsck would find.
    assert " /mnt/plates " not in machine.run("cat", "/proc/1/mountinfo").stdout
    assert check(machine.storage) == []


@pytest.fixture
def plates(running: Machine) -> Machine:
    """The machine with its volume mounted by the unit."""
    running.run("systemctl", "start", UNIT)
    return running


@pytest.fixture
def odd(machine: Machine) -> Iterator[Machine]:
    """The machine, on which the other volume's unit may be made to differ."""
    try:
        yield machine
    finally:
        machine.run("systemctl", "stop", ODD, status=None)
        machine.run("rm", "-rf", f"/run/systemd/system/{ODD}.d")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "reset-failed", ODD, status=None)


def add_drop_in(machine: Machine, *lines: str) -> None:
    machine.run("mkdir", "-p", f"/run/systemd/system/{ODD}.d")
    # A core of a daemon that is aborted would fill the machine, which lies in memory.
    text = "\n".join(["[Service]", "LimitCORE=0", *lines, ""])
    machine.write(f"/run/systemd/system/{ODD}.d/test.conf", text)
    machine.run("systemctl", "daemon-reload")


def wait_for_another_daemon(machine: Machine, unit: str, former: str) -> None:
    """Until the unit is active with another main process, and the mount answers."""
    another = (
        f'p=$(systemctl show --value -p MainPID {unit}); [ "$p" != 0 ] && [ "$p" != {former} ]'
    )
    machine.wait_until("no other daemon", "sh", "-c", another)
    machine.wait_until("the unit is not active", "systemctl", "is-active", unit)


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
    shot = "/mnt/plates/shot.1001.dpx"
    plates.run(
        "python3", "-c", f"import os; os.setxattr({shot!r}, 'user.pixfs.state', b'compressed')"
    )
    assert len((plates.storage / "shot.1001.dpx").read_bytes()) < len(data)
    plates.run("cp", shot, "/srv/plates/copy")
    assert (plates.storage / "copy").read_bytes() == data
    plates.run("rm", "/mnt/plates/copy")


def test_a_killed_daemon_comes_back_and_the_dead_mount_goes(plates: Machine) -> None:
    plates.run("sh", "-c", "echo before >/mnt/plates/before.txt")
    former = plates.show(UNIT, "MainPID")
    plates.run("systemctl", "kill", "-s", "KILL", UNIT)
    wait_for_another_daemon(plates, UNIT, former)
    mounts = plates.run("cat", "/proc/1/mountinfo").stdout
    assert mounts.count(" /mnt/plates ") == 1
    assert plates.run("cat", "/mnt/plates/before.txt", uid=NOBODY).stdout == "before\n"


def test_a_mount_left_dead_is_cleared_by_the_next_start(odd: Machine) -> None:
    # By hand, with nobody who cleans up after it.
    odd.run("pixfs", "mount", "--config", "/etc/pixfs/odd.toml")
    ask = "import os; print(os.getxattr('/mnt/odd', 'user.pixfs.pid').decode())"
    pid = odd.run("python3", "-c", ask).stdout.strip()
    odd.run("kill", "-KILL", pid)
    dead = "its daemon is dead"
    sick = ["sh", "-c", f"pixfs health /mnt/odd 2>&1 | grep -q '{dead}'"]
    odd.wait_until("the mount lives on", *sick)
    odd.run("systemctl", "start", ODD)
    assert "a dead mount at /mnt/odd" in odd.journal(ODD)
    assert odd.run("pixfs", "health", "/mnt/odd").stdout == "/mnt/odd: well\n"


def test_a_daemon_that_hangs_is_replaced_by_the_watchdog(odd: Machine) -> None:
    add_drop_in(odd, "WatchdogSec=5s")
    odd.run("systemctl", "start", ODD)
    former = odd.show(ODD, "MainPID")
    odd.run("kill", "-STOP", former)
    wait_for_another_daemon(odd, ODD, former)
    assert "Watchdog timeout" in odd.journal(ODD)


def test_a_mount_that_only_the_daemon_sees_fails_the_unit(odd: Machine) -> None:
    add_drop_in(odd, "ProtectSystem=strict", "ReadWritePaths=/srv /run /var", "Restart=no")
    assert odd.run("systemctl", "start", ODD, status=None).returncode != 0
    assert "only its daemon" in odd.journal(ODD)
    assert odd.run("systemctl", "is-failed", ODD).stdout == "failed\n"


def test_the_scrub_of_a_volume_runs_and_has_a_timer(plates: Machine) -> None:
    plates.run("systemctl", "start", "pixfs-scrub@plates.service")
    assert plates.show("pixfs-scrub@plates.service", "Result") == "success"
    status = plates.run("pixfs", "scrub", "--status", "--json", "/mnt/plates").stdout
    assert json.loads(status)["damaged"] == []
    assert "compiled kernels cannot be kept" not in plates.journal("pixfs-scrub@plates.service")
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
    assert "compiled kernels cannot be kept" not in machine.journal("pixfs-server.service")


# In the machine: asks the server for one thing, as JSON; a form is sent where there is one.
ASK = """
import json, sys, urllib.error, urllib.parse, urllib.request
path, cookie, *form = sys.argv[1:]
fields = urllib.parse.urlencode([tuple(pair.split("=", 1)) for pair in form if pair]).encode()
data = fields if form else None
asked = urllib.request.Request("http://127.0.0.1:9090" + path, data, {"Cookie": cookie})
try:
    with urllib.request.urlopen(asked, timeout=60) as answer:
        print(json.dumps([answer.headers.get("Set-Cookie", ""), json.load(answer)]))
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
"""


def ask(machine: Machine, path: str, cookie: str = "", *form: str) -> tuple[str, dict[str, Any]]:
    """The cookie that the server sets, and its answer."""
    said = json.loads(machine.run("python3", "-c", ASK, path, cookie, *form).stdout)
    return said[0].partition(";")[0], said[1]


def test_a_killed_server_is_started_again_and_goes_on_with_its_jobs(machine: Machine) -> None:
    machine.run(
        "sh", "-c", "rm -rf /var/lib/pixfs/* /srv/jobs; mkdir -p /srv/jobs/one /srv/jobs/two"
    )
    machine.run(
        "sh", "-c", "for n in 1 2 3 4; do head -c 300000 /dev/urandom >/srv/jobs/one/f.$n; done"
    )
    machine.run("chown", "-R", "pixfs:pixfs", "/srv/jobs")
    machine.run("systemctl", "start", SERVER)
    try:
        assert ask(machine, "/readyz")[1] == {"status": "ok"}
        told = re.findall(r"log in as admin with the password (\S+)", machine.journal(SERVER))
        password = told[-1]
        login = ("name=admin", f"password={password}")
        cookie, _ = ask(machine, "/pixmover/v1/login", "", *login)
        for name in ("one", "two"):
            place = (f"name={name}", "kind=directory", f"root=/srv/jobs/{name}")
            ask(machine, "/pixmover/v1/storages", cookie, *place)
        # So slow that it is under way when the server is killed, whenever that is.
        fields = ("kind=move", "source=one", "sources=f.*", "target=two", "destination=")
        slow = ("quiet_s=0", "limit_bps=1")
        _, job = ask(machine, "/pixmover/v1/jobs", cookie, *fields, *slow)
        former = machine.show(SERVER, "MainPID")
        machine.run("systemctl", "kill", "-s", "KILL", SERVER)
        wait_for_another_daemon(machine, SERVER, former)
        cookie, _ = ask(machine, "/pixmover/v1/login", "", *login)
        state = ask(machine, f"/pixmover/v1/jobs/{job['id']}", cookie)[1]["state"]
        assert state in ("WAITING", "RUNNING")
        ask(machine, f"/pixmover/v1/jobs/{job['id']}/cancel", cookie, "")
        machine.run("systemctl", "stop", SERVER)
        # Stopped in good order; of its two starts the first alone told a password.
        assert machine.show(SERVER, "Result") == "success"
        assert machine.journal(SERVER).count("with the password") == len(told)
        assert machine.run("sh", "-c", "cat /srv/jobs/one/* | wc -c").stdout == "1200000\n"
    finally:
        machine.run("systemctl", "stop", SERVER)
