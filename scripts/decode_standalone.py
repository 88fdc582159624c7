"""Decode a PXF container to the file in it, with numpy and Python's standard library alone.

    python3 decode_standalone.py CONTAINER OUTPUT

The archive's insurance: nothing of the codec is needed, only this file and the folder standalone
beside it, from which a decoder can be rewritten in any language. Here: the container, and rows of
bytes made of samples. Names follow docs/format/container-v1.md. Checksums (XXH3) are verified where
the package xxhash is there.
"""

from __future__ import annotations

import argparse
import lzma
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from standalone.redo import redo
from standalone.samples import TILE_FEATURES, decode_samples

try:
    import xxhash
except ImportError:
    xxhash = None


if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Element = dict[str, Any]


def parse_elements(raw: bytes) -> list[Element]:
    elements, at = [], 0
    while at < len(raw):
        keys = ("width", "rows", "components", "segments", "regions", "method", "signed")
        e = dict(zip(keys, struct.unpack_from("<IIBBBBHxx", raw, at), strict=True))
        at += 16
        e["order"] = raw[at : at + e["components"]]
        at += e["components"]
        e["regions"] = [struct.unpack_from("<QIII", raw, at + 20 * i) for i in range(e["regions"])]
        at += 20 * len(e["regions"])
        e["segments"] = [
            struct.unpack_from("<6BxxI", raw, at + 12 * i) for i in range(e["segments"])
        ]
        at += 12 * len(e["segments"])
        e["bits"] = [s[2] for s in e["segments"] for _ in range(s[1])]
        elements.append(e)
    return elements


def decode_tile(tile: bytes, rows: int, e: Element) -> list[bytes]:
    """The tile's bytes in each region."""
    mode, packer, h, g, x = struct.unpack_from("<BBxxIII", tile)
    head, gaps = zlib.decompress(tile[16 : 16 + h]), tile[16 + h : 16 + h + g]
    body, residue = tile[16 + h + g : len(tile) - x], tile[len(tile) - x :]
    samples = decode_samples(mode, packer, head, body, rows, e)
    return assemble(samples, gaps, residue, rows, e)


def assemble(
    samples: NDArray[Any], gaps: bytes, residue: bytes, rows: int, e: Element
) -> list[bytes]:
    """The tile's bytes in each region, of its samples, gaps and residue."""
    gaps = np.frombuffer(zlib.decompress(gaps) if gaps else b"", np.uint8)
    residue = np.frombuffer(zlib.decompress(residue) if residue else b"", np.uint8)
    held = [np.zeros((rows, region[1]), np.uint8) for region in e["regions"]]
    free = [np.ones(region[1], bool) for region in e["regions"]]
    first = 0
    for region, components, *how, start in e["segments"]:
        part = samples[first : first + components].transpose(1, 2, 0).reshape(rows, -1)
        packed, first = pack(part, *how), first + components
        if residue.size:
            packed = packed ^ residue[: packed.size].reshape(packed.shape)
            residue = residue[packed.size :]
        held[region][:, start : start + packed.shape[1]] = packed
        free[region][start : start + packed.shape[1]] = False
    out = []
    for (_, _, band, header), own, columns in zip(e["regions"], held, free, strict=True):
        bands = -(-rows // band) if band else 0
        headers, rest = gaps[: bands * header].reshape(bands, header), gaps[bands * header :]
        headers = np.cumsum(headers, axis=0, dtype=np.uint8)
        size = rows * int(columns.sum())
        own[:, columns] = np.cumsum(rest[:size].reshape(rows, -1), axis=0, dtype=np.uint8)
        gaps = rest[size:]
        cut = [own[i * band : (i + 1) * band] for i in range(bands)] or [own]
        parts = [(headers[i].tobytes() if header else b"") + c.tobytes() for i, c in enumerate(cut)]
        out.append(b"".join(parts))
    return out


def pack(samples: NDArray[Any], bits: int, packing: int, shift: int, flags: int) -> NDArray[Any]:
    """Rows of bytes of rows of samples."""
    rows, n = samples.shape
    end, backward = ">" if flags & 1 else "<", flags & 2
    if packing == 0:
        return samples.astype(np.uint8)
    if packing == 1:
        return (samples << shift).astype(end + "u2").view(np.uint8)
    if packing == 2:
        three = np.pad(samples, ((0, 0), (0, -n % 3))).reshape(rows, -1, 3)
        places = [0, 10, 20] if backward else [20, 10, 0]
        words = (three << np.array(places) + shift).sum(2)
        return words.astype(end + "u4").view(np.uint8)
    if packing == 4 and backward:
        samples, even = samples.copy(), n // 2 * 2
        samples[:, :even] = samples[:, :even].reshape(rows, -1, 2)[:, :, ::-1].reshape(rows, -1)
    order = range(bits) if packing == 3 else range(bits - 1, -1, -1)
    stream = np.stack([samples >> i & 1 for i in order], 2).astype(np.uint8).reshape(rows, -1)
    if packing == 4 and flags & 1:
        return np.packbits(stream, axis=1)
    stream = np.pad(stream, ((0, 0), (0, -n * bits % 32)))
    packed = np.packbits(stream, axis=1, bitorder="little" if packing == 3 else "big")
    return packed.view("<u4" if packing == 3 else ">u4").astype(end + "u4").view(np.uint8)


def blocks(container: bytes) -> Iterator[bytes]:
    """The original, block after block."""
    magic, version, kind, size, _, total = struct.unpack_from("<8sHHIQQ", container)
    if magic != b"\x89PXF\r\n\x1a\n" or version != 1 or kind > 1:
        raise ValueError("this is no PXF container of version 1")
    if len(container) < total:
        raise ValueError(f"it is cut short by {total - len(container)} bytes")
    if kind == 1:
        yield container[4096:]
        return
    sections, at = {}, 64
    while at < 64 + size:
        tag, more = struct.unpack_from("<4sI", container, at)
        sections[tag] = container[at + 8 : at + 8 + more]
        at += 8 + more
    lacking = set(sections[b"FEAT"].decode().split()) - TILE_FEATURES - {"redo-1"}
    if lacking:
        raise ValueError(f"this decoder lacks {', '.join(lacking)}")
    elements, records = parse_elements(sections[b"ELEM"]), []
    for record in struct.iter_unpack("<IIBBHII8s", sections[b"BLKS"]):
        records.append((*record[:7], container[at : at + record[1]]))
        if xxhash and xxhash.xxh3_64_digest(records[-1][7]) != record[7]:
            raise ValueError(f"the checksum of block {len(records) - 1} does not hold")
        at += record[1]
    payloads = {record[4:6]: record for record in records if record[2] == 3}
    tiles = {}
    for size, _, kind, region, element, row, rows, stored in records:
        if kind < 3:
            yield stored if kind == 0 else zlib.decompress(stored) if kind == 1 else stored * size
            continue
        e, key, parameters = elements[element], (element, row), stored
        if e["method"] and kind == 3:
            parameters = stored[4 : 4 + struct.unpack_from("<I", stored)[0]]
        if key not in tiles:
            tile = payloads[key][7]
            skip = 4 + struct.unpack_from("<I", tile)[0] if e["method"] else 0
            tiles[key] = decode_tile(tile[skip:], rows, e)
        block, tiles[key][region] = tiles[key][region], None
        if not any(tiles[key]):
            del tiles[key]
        if e["method"]:
            block = redo(e["method"], block, parameters)
        if len(block) != size:
            raise ValueError(f"a block of {len(block)} bytes should have {size}")
        yield block


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("container")
    parser.add_argument("output")
    options = parser.parse_args()
    with open(options.container, "rb") as file:
        container = file.read()
    digest, verdict = xxhash and xxhash.xxh3_128(), "not verified: there is no xxhash here"
    try:
        with open(options.output, "wb") as file:
            for block in blocks(container):
                file.write(block)
                if xxhash:
                    digest.update(block)
    except (ValueError, LookupError, struct.error, zlib.error, lzma.LZMAError) as error:
        sys.exit(
            f"damaged, or no container of version 1: {error!r}\n{options.output} is incomplete"
        )
    if xxhash and container[10] == 0:
        if digest.digest() != container[32:48]:
            sys.exit(f"{options.output} is not the file that was encoded: its hash differs")
        verdict = "verified"
    print(f"{options.output}: hash {verdict}")


if __name__ == "__main__":
    main()
