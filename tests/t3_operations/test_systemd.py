"""The service unit is one systemd accepts, and keeps the mount visible."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
UNIT = UNITS / "pixfs-mount@.service"
TEMPLATES = sorted([*UNITS.glob("*.service"), *UNITS.glob("*.timer")])

# Each of these gives the service a mount namespace of its own: the unit would be active and the
# mount invisible to everybody else.
HIDES_THE_MOUNT = re.compile(
    r"^\s*(Protect(System|Home|Kernel\w+|ControlGroups|Proc)|ProcSubset|Private(Tmp|Devices|Users"
    r"|Mounts)|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|TemporaryFileSystem|Bind\w*Paths"
    r"|Root(Directory|Image)|DynamicUser|MountAPIVFS)\s*=",
    re.MULTILINE,
)


@pytest.mark.parametrize("unit", TEMPLATES, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    # An instance, in a directory with the units it asks for.
    for template in TEMPLATES:
        shutil.copy(template, tmp_path / template.name.replace("@.", "@plates."))
    instance = tmp_path / unit.name.replace("@.", "@plates.")
    result = subprocess.run([program, "verify", str(instance)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "pixfs-" not in result.stderr, result.stderr


def test_no_directive_hides_the_mount() -> None:
    assert HIDES_THE_MOUNT.search(UNIT.read_text()) is None
    planted = UNIT.read_text().replace("UMask=0077", "UMask=0077\nProtectSystem=strict")
    assert HIDES_THE_MOUNT.search(planted) is not None


def test_the_codec_may_compile() -> None:
    assert not re.search(r"^MemoryDenyWriteExecute\s*=\s*yes", UNIT.read_text(), re.MULTILINE)


def test_the_server_is_exposed_little() -> None:
    """The server faces the network, so it may do no more than it needs; 2.0 of 10 is the most."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = str(UNITS / "pixfs-server.service")
    command = [program, "security", "--offline=true", "--threshold=20", unit]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
