"""How long a killed volume is away under its systemd unit, on a machine booted for the purpose.

usage: .venv/bin/python scripts/remount_figures.py [--kills N]

The daemon gets SIGKILL; the clock stops when a file reads back through the mount a new daemon
serves. Needs what the tests of the units need: root, systemd-nspawn and /dev/fuse.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.machine import Machine, booted  # noqa: E402

_UNIT = "pixfs-mount@plates.service"
_CONFIG = 'backing = "/srv/plates"\nmountpoint = "/mnt/plates"\nsettle_s = 0\n'
# Inside, so that no command has to be started while the clock runs.
_KILL = """
import os, signal, time
former = int(os.getxattr("/mnt/plates", "user.pixfs.pid"))
begin = time.monotonic()
os.kill(former, signal.SIGKILL)
while True:
    try:
        if int(os.getxattr("/mnt/plates", "user.pixfs.pid")) != former:
            with open("/mnt/plates/slate.txt") as file:
                assert file.read() == "slate"
            break
    except OSError:
        pass
    time.sleep(0.002)
print(time.monotonic() - begin)
"""


def measure(machine: Machine, kills: int) -> list[float]:
    """Seconds away, for each kill."""
    machine.write("/etc/pixfs/plates.toml", _CONFIG)
    # Kills in a row are what is wanted here.
    machine.run("mkdir", "-p", f"/run/systemd/system/{_UNIT}.d")
    machine.write(f"/run/systemd/system/{_UNIT}.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", _UNIT)
    machine.write("/mnt/plates/slate.txt", "slate")
    seconds = []
    for number in range(kills):
        seconds.append(float(machine.run("python3", "-c", _KILL).stdout))
        print(f"kill {number + 1}: back after {seconds[-1]:.2f} s", flush=True)
        machine.wait_until("the unit is not active", "systemctl", "is-active", _UNIT)
    machine.run("systemctl", "stop", _UNIT)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as name, booted(Path(name)) as machine:
        seconds = measure(machine, kills)
    print(f"{kills} kills: median {median(seconds):.2f} s, longest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
