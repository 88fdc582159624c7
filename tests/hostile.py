"""Paths that try to leave a storage, and storages with ways out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["SECRET", "escaped_paths", "escapes", "plant"]

SECRET = b"secret of the house"
_SYMLINKS = 41

# As a user writes them; {secret} is where the secret is, from the machine's root on: nothing of the
# machine's own, which a server that fell for one of them would have destroyed.
_PLAIN = (
    "../outside/secret",
    "a/../../outside/secret",
    "..",
    ".",
    "/../outside/secret",
    "a/./../../outside/secret",
    "{secret}",
    "/{secret}",
    "out/secret",
    "out",
    "relative/secret",
    "file",
    "proc{secret}",
    f"chain{_SYMLINKS}/secret",
    "a\0b",
    "..\0/outside/secret",
    "CON",
    "a\\b",
    "..\\outside\\secret",
    "x" * 5000,
    "/".join(["x"] * 2500),
    "../" * 1600 + "{secret}",
    "..\u2215outside\u2215secret",
    "\uff0e\uff0e/outside/secret",
)

# As they stand in a URL or a form: escaped where nobody has to, more often, or no UTF-8.
_ESCAPED = (
    "%2e%2e",
    "%2e%2e%2foutside%2fsecret",
    "..%2foutside%2fsecret",
    "%252e%252e%252foutside%252fsecret",
    "..%5coutside%5csecret",
    "%c0%ae%c0%ae%2foutside%2fsecret",
    "%e0%80%ae%e0%80%ae/outside/secret",
    "a%00b",
    "a%5cb",
)


def escaped_paths(outside: Path) -> list[str]:
    """All of them, as they stand in a URL or a form, for a secret in ``outside``."""
    plain = [path.replace("{secret}", str(outside / "secret")) for path in _PLAIN]
    return [quote(path, safe="") for path in (*plain, *_ESCAPED)] + list(_ESCAPED)


def plant(root: Path, outside: Path) -> None:
    """A storage's directory with links out of it of every kind, and what they lead to."""
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    root.mkdir()
    (root / "a").mkdir()
    (root / "out").symlink_to(outside)
    (root / "relative").symlink_to("../outside")
    (root / "file").symlink_to(outside / "secret")
    (root / "proc").symlink_to("/proc/self/root")
    (root / "chain0").symlink_to(outside)
    for number in range(_SYMLINKS):
        (root / f"chain{number + 1}").symlink_to(f"chain{number}")


def escapes(opened: Iterable[str], pid: int, *roots: Path) -> set[str]:
    """Those of the paths opened by a server of this pid that lie below none of the roots."""
    places = [str(root) for root in roots]
    # The mounts there are, and the processors: what working on files asks the system.
    asked = {f"/proc/{pid}/mountinfo", "/sys/devices/system/cpu/online"}
    return {
        path
        for path in opened
        if path not in asked
        and not any(path == place or path.startswith(f"{place}/") for place in places)
    }
