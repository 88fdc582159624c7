"""What each command does with one file: the lines to show, or an exception with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec import Reader, decompress, encode
from codec.cli.errors import Refused
from codec.cli.files import SUFFIX, output_of, write_whole

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to say of a file that went well, and its bytes as a frame and as stored."""

    text: str
    original: int
    stored: int


def compress(file: Path, options: argparse.Namespace) -> Outcome:
    """Encode a file into a container beside it."""
    target = output_of(file, options, file.with_name(file.name + SUFFIX))
    encoded = encode(file.read_bytes(), level=options.level, threads=options.threads)
    write_whole(target, encoded.container)
    original, stored = encoded.original_length, len(encoded.container)
    verdict = encoded.reason or f"{original / stored:.2f}:1"
    text = f"{target}: {encoded.format}, {original} -> {stored} bytes, {verdict}"
    return Outcome(text, original, stored)


def decompress_file(file: Path, options: argparse.Namespace) -> Outcome:
    """Decode a container into the file it was made of."""
    plain = file.with_suffix("") if file.suffix == SUFFIX else None
    if plain is None and options.output is None:
        raise Refused(f"its name does not end in {SUFFIX}: say where to with --output")
    target = output_of(file, options, plain or file)
    stored = file.read_bytes()
    original = decompress(stored, threads=options.threads)
    write_whole(target, original)
    return Outcome(f"{target}: {len(original)} bytes", len(original), len(stored))


def verify(file: Path, options: argparse.Namespace) -> Outcome:
    """Decode a container and check every byte of it."""
    with file.open("rb") as opened:
        reader = Reader(opened)
        damages = reader.verify()
        if damages:
            raise Refused("; ".join(str(damage) for damage in damages))
        return Outcome(f"{file}: sound", reader.original_length, reader.stored_length)


def info(file: Path, options: argparse.Namespace) -> Outcome:
    """Say what a container holds."""
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
        text = "\n".join([f"{file}:", *(f"  {name:<9} {value}" for name, value in lines.items())])
        return Outcome(text, reader.original_length, reader.stored_length)
