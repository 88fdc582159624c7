"""Containers of this version decode for ever, by the codec and by the stand-alone decoder."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import codec
from codec.reader import split_redone
from codec.types import BlockKind, Packing
from tests.golden.make import FOLDER, INDEX, WRAP, cases

INDEXED: dict[str, dict[str, Any]] = json.loads(INDEX.read_text())
SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "decode_standalone.py"
BUDGET = 500_000


def container(name: str) -> bytes:
    return (FOLDER / f"{name}.pxf").read_bytes()


def sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", INDEXED)
def test_a_golden_container_decodes(name: str) -> None:
    golden = container(name)
    assert sha256(golden) == INDEXED[name]["container"], "golden containers are never replaced"
    reader = codec.Reader(golden)
    assert reader.verify() == []
    original = codec.decompress(golden)
    assert len(original) == INDEXED[name]["size"]
    assert sha256(original) == INDEXED[name]["original"]


def test_each_is_indexed_and_they_are_small() -> None:
    files = {path.stem for path in FOLDER.glob("*.pxf")}
    assert files == set(INDEXED)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < BUDGET


def test_every_case_has_its_golden_container() -> None:
    assert set(cases()) <= set(INDEXED), "python -m tests.golden.make"


@pytest.mark.parametrize("name", ["dpx-rgb10-fast", "exr-zips", "tiff-planar", "sgi-rle16", "flat"])
def test_the_maker_makes_the_files_that_are_indexed(name: str) -> None:
    make, _ = cases()[name]
    assert sha256(make()) == INDEXED[name]["original"]


def test_everything_the_format_can_hold_is_among_them() -> None:
    kinds, modes, packings, methods, levels = set(), set(), set(), set(), set()
    for name in INDEXED:
        if name == WRAP:
            continue
        golden = container(name)
        reader = codec.Reader(golden)
        levels.add(reader.level)
        methods.update(e.method for e in reader.elements)
        packings.update(s.packing for e in reader.elements for s in e.segments)
        directory = codec.container.parse_directory(
            golden[64 : 64 + reader.header.directory_length], reader.header
        )
        for block, stored in zip(directory.blocks, reader.stored_payloads(), strict=True):
            kinds.add(block.kind)
            if block.kind is BlockKind.TILE:
                tile = memoryview(stored)
                if directory.elements[block.element].method:
                    tile = split_redone(tile)[1]
                modes.add(struct.unpack_from("<BB", tile))
    assert kinds == set(BlockKind)
    assert packings == set(Packing)
    assert methods == set(range(7))
    assert levels == set(codec.LEVELS)
    assert modes == {(1, 0), (2, 1), (2, 2), (3, 0), (4, 0), (5, 0), (6, 0)}


def test_the_stand_alone_decoder_decodes_them_all(tmp_path: Path) -> None:
    """In one process, for its start takes longer than a golden container."""
    code = """
import runpy, sys
script, target, *containers = sys.argv[1:]
for number, path in enumerate(containers):
    sys.argv = [script, path, f"{target}/{number}"]
    runpy.run_path(script, run_name="__main__")
"""
    paths = [FOLDER / f"{name}.pxf" for name in INDEXED]
    command = [sys.executable, "-I", "-c", code, SCRIPT, tmp_path, *paths]
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for number, name in enumerate(INDEXED):
        assert sha256((tmp_path / str(number)).read_bytes()) == INDEXED[name]["original"], name
