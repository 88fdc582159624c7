"""``python -m codec``: frames to containers and back, without a file system.

Exit codes: 0 all done, 1 a file failed (its reason is on standard error), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from codec import LEVELS, CodecError, Reader, decompress, encode, licence_command

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIX = ".pxf"


class Refused(Exception):
    """Something a person asked for that is not done, and why."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command over its files; the exit code."""
    options = _parser().parse_args(arguments)
    if "whole" in options:
        return _whole(options)
    failures = 0
    for file in options.files:
        try:
            options.run(file, options)
        except (CodecError, OSError, Refused) as error:
            detail = error.strerror if isinstance(error, OSError) and error.strerror else error
            print(f"{file}: {detail}", file=sys.stderr)
            failures += 1
    return 1 if failures else 0


def _whole(options: argparse.Namespace) -> int:
    """Run a command that is not about files one by one."""
    try:
        options.whole(options)
    except (CodecError, OSError, licence_command.Refused) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codec", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Path, argparse.Namespace], None], text: str) -> None:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("files", nargs="+", type=Path, metavar="FILE")
        if name in ("compress", "decompress"):
            command.add_argument("-o", "--output", type=Path, help="write here (one FILE only)")
            command.add_argument("-f", "--force", action="store_true", help="replace the output")
            command.add_argument("-t", "--threads", type=_threads, default=os.cpu_count() or 1)
        if name == "compress":
            command.add_argument("-l", "--level", choices=LEVELS, default="balanced")
        command.set_defaults(run=run)

    add("compress", _compress, f"encode each FILE into FILE{SUFFIX}")
    add("decompress", _decompress, f"decode each FILE{SUFFIX} into FILE")
    add("verify", _verify, "decode each container and check every byte of it")
    add("info", _info, "say what each container holds")
    text = "make and show licence keys"
    licence = commands.add_parser("licence", help=text, description=text)
    licence.set_defaults(command="licence")
    licence_command.add_to(licence)
    return parser


def _threads(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _compress(file: Path, options: argparse.Namespace) -> None:
    target = _target(file, options, file.with_name(file.name + SUFFIX))
    encoded = encode(file.read_bytes(), level=options.level, threads=options.threads)
    _write(target, encoded.container)
    size = len(encoded.container)
    verdict = encoded.reason or f"{encoded.original_length / size:.2f}:1"
    print(f"{target}: {encoded.format}, {encoded.original_length} -> {size} bytes, {verdict}")


def _decompress(file: Path, options: argparse.Namespace) -> None:
    plain = file.with_suffix("") if file.suffix == SUFFIX else None
    if plain is None and options.output is None:
        raise Refused(f"its name does not end in {SUFFIX}: say where to with --output")
    target = _target(file, options, plain or file)
    _write(target, decompress(file.read_bytes(), threads=options.threads))
    print(f"{target}: {target.stat().st_size} bytes")


def _verify(file: Path, options: argparse.Namespace) -> None:
    with file.open("rb") as opened:
        damages = Reader(opened).verify()
    if damages:
        raise Refused("; ".join(str(damage) for damage in damages))
    print(f"{file}: sound")


def _info(file: Path, options: argparse.Namespace) -> None:
    with file.open("rb") as opened:
        reader = Reader(opened)
        lines = {
            "format": reader.format,
            "state": f"verbatim ({reader.reason})" if reader.reason else "compressed",
            "original": f"{reader.original_length} bytes",
            "stored": f"{reader.stored_length} bytes",
            "ratio": f"{reader.original_length / max(reader.stored_length, 1):.3f}",
            "codec": f"{reader.codec} {reader.level}",
            "tiles": f"{reader.tiles} of {reader.blocks} blocks",
            "xxh3-128": reader.hash,
        }
    print(f"{file}:")
    for name, value in lines.items():
        print(f"  {name:<9} {value}")


def _target(file: Path, options: argparse.Namespace, default: Path) -> Path:
    if options.output is not None and len(options.files) > 1:
        raise Refused("--output goes with one FILE")
    target: Path = options.output or default
    if target.exists() and target.samefile(file):
        raise Refused("the output would replace the input: name another with --output")
    if target.exists() and not options.force:
        raise Refused(f"{target} exists: replace it with --force, or name another with --output")
    return target


def _write(target: Path, data: bytes | bytearray) -> None:
    """Put ``data`` at ``target`` whole or not at all, and on the disk before returning."""
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as f:
        temporary = Path(f.name)
        try:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
            os.fchmod(f.fileno(), 0o666 & ~_umask())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


if __name__ == "__main__":
    sys.exit(main())
