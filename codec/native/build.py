"""``python -m codec.native.build DIRECTORY``: make the C library.

DIRECTORY gets ``libpixspan_memory.so`` and ``pixspan_memory.h``. The library embeds the Python
that runs this command and finds the codec where this one is, with the packages of this
environment; all of that must stay in its place, or be named anew by ``PIXFS_PYTHONHOME`` and
``PIXFS_PYTHONPATH`` when a program starts. Needs a C compiler (``$CC``, else ``cc``), Python's
headers and its shared library: Debian's ``gcc`` and ``python3-dev``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shlex
import shutil
import string
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = "libpixspan_memory.so"
HEADER = "pixspan_memory.h"
SOURCE = "pixspan_memory.c"
_FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Werror", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"),
)
_LINK = ("-Wl,-z,defs", "-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,nodelete")


class BuildError(Exception):
    """The library cannot be made here, and what to do about it."""


def main(arguments: list[str] | None = None) -> int:
    """Build as the command line says; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m codec.native.build", description=f"Make {LIBRARY} and {HEADER}."
    )
    parser.add_argument("directory", type=Path, metavar="DIRECTORY", help="where they go")
    parser.add_argument(
        "--license-public-key",
        default="",
        metavar="HEX",
        help="let the library work only with licence keys of this pair (python -m codec licence)",
    )
    options = parser.parse_args(arguments)
    try:
        print(build(options.directory, public_key=options.license_public_key))
    except (BuildError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


def build(directory: Path, *, public_key: str = "") -> Path:
    """Make the library and its header in ``directory``, which is made if needed; its path.

    With ``public_key`` (64 hexadecimal digits) the library asks for licence keys of that pair,
    whatever the environment says.

    Raises BuildError where something is missing or the compiler fails, OSError where
    ``directory`` cannot be written.
    """
    if public_key and not _is_public_key(public_key):
        raise BuildError("a public key is 64 hexadecimal digits")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include, library_directory, shared = python_parts()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / LIBRARY
    made = directory / f".{LIBRARY}.new"
    command = [
        *compiler,
        *_FLAGS,
        *(f"-D{name}={_literal(text)}" for name, text in _recorded(public_key, shared).items()),
        f"-I{include}",
        f"-Wl,-soname,{LIBRARY}",
        *_LINK,
        *("-o", str(made), str(HERE / SOURCE)),
        str(library_directory / shared),
        f"-Wl,-rpath,{library_directory}",
        *("-lpthread", "-ldl"),
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"there is no C compiler ({compiler[0]}): apt-get install gcc") from error
    if ran.returncode != 0:
        made.unlink(missing_ok=True)
        raise BuildError(f"{compiler[0]} failed:\n{ran.stderr}")
    shutil.copyfile(HERE / HEADER, directory / HEADER)
    made.replace(target)
    return target


def python_parts() -> tuple[Path, Path, str]:
    """Where this Python's headers are, where its shared library is, and the library's name.

    Raises BuildError where either is missing.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    include = Path(sysconfig.get_path("include"))
    directory = Path(sysconfig.get_config_var("LIBDIR") or "/")
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    if not (include / "Python.h").exists():
        raise BuildError(f"no Python.h in {include}: apt-get install python3-dev")
    if ".so" not in name or not (directory / name).exists():
        raise BuildError(
            f"{sys.base_prefix} has no shared libpython{version}: apt-get install python3-dev,"
            " and make the environment with /usr/bin/python3"
        )
    return include, directory, name


def _recorded(public_key: str, shared: str) -> dict[str, str]:
    """What the library must know of this installation, as the macros of pixspan_memory.c."""
    packages = [str(HERE.parent.parent)]
    packages += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for path in packages:
        if ":" in path:
            raise BuildError(f"a path with a colon cannot be recorded: {path}")
    return {
        "PIXSPAN_VERSION": importlib.metadata.version("pixfs"),
        "PIXSPAN_PYTHON_HOME": sys.base_prefix,
        "PIXSPAN_PYTHON_PATH": ":".join(dict.fromkeys(packages)),
        "PIXSPAN_LIBPYTHON": shared,
        "PIXSPAN_PUBLIC_KEY": public_key.strip().lower(),
    }


def _literal(text: str) -> str:
    """A C string literal: octal escapes stand for everything that could mean something in it."""
    plain = frozenset((string.ascii_letters + string.digits + "/._-+:, ").encode())
    data = os.fsencode(text)
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in data) + '"'


def _is_public_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text.strip())) == 32
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
