"""Run-length encoders and filters, written from their descriptions with lists and strings."""

from __future__ import annotations

from itertools import groupby, pairwise

Token = tuple[bool, list[int]]


def triples(data: list[int], most: int) -> list[Token]:
    """SGI's: literals up to three equal elements or two before the end, then a run."""
    tokens: list[Token] = []
    x = 0
    while x < len(data):
        stop = max(x, len(data) - 2)
        for end in range(x, len(data) - 2):
            if data[end] == data[end + 1] == data[end + 2]:
                stop = end
                break
        tokens += [(False, data[i : min(i + most, stop)]) for i in range(x, stop, most)]
        run = len(next(iter([*g] for _, g in groupby(data[stop:]))))
        tokens += [(True, [data[stop]] * min(most, run - i)) for i in range(0, run, most)]
        x = stop + run
    return tokens


def greedy(data: list[int], run: int, inside: int, most_run: int, most_literal: int) -> list[Token]:
    """Runs of at least ``run``; literals that end before ``inside`` equal elements."""
    tokens: list[Token] = []
    x = 0
    while x < len(data):
        equal = 1
        while equal < most_run and data[x : x + equal + 1] == [data[x]] * (equal + 1):
            equal += 1
        if equal >= run:
            tokens.append((True, data[x : x + equal]))
        else:
            equal = 1
            while equal < most_literal and x + equal < len(data):
                ahead = data[x + equal : x + equal + inside]
                if len(ahead) == inside and len(set(ahead)) == 1:
                    break
                equal += 1
            tokens.append((False, data[x : x + equal]))
        x += equal
    return tokens


def pairs(data: list[int], most: int, bytewise: bool) -> list[Token]:
    """FFmpeg's: two equal are a run, unless they stand alone in a literal of bytes."""
    tokens: list[Token] = []
    x = 0
    while x < len(data):
        window = data[x : x + most]
        equal = len(next(iter([*g] for _, g in groupby(window))))
        if equal > 1:
            tokens.append((True, window[:equal]))
            x += equal
            continue
        size = 1
        while size < len(window):
            if window[size] == window[size - 1]:
                lone = size + 1 < len(window) and window[size + 1] != window[size]
                if not (bytewise and lone):
                    size -= 1
                    break
            size += 1
        tokens.append((False, window[:size]))
        x += size
    return tokens


def merging(data: list[int]) -> list[Token]:
    """libtiff's: literal, run of two, literal become one literal of at most 128."""
    tokens: list[Token] = []
    for _, group in groupby(data):
        run = [*group]
        for i in range(0, len(run), 128):
            part = run[i : i + 128]
            if len(part) > 1:
                tokens.append((True, part))
                continue
            if (
                len(tokens) > 1
                and tokens[-1][0]
                and len(tokens[-1][1]) == 2
                and not tokens[-2][0]
                and len(tokens[-2][1]) < 127
                and i == 0
            ):
                _, pair = tokens.pop()
                tokens[-1] = (False, tokens[-1][1] + pair)
            if tokens and not tokens[-1][0] and len(tokens[-1][1]) < 128:
                tokens[-1] = (False, tokens[-1][1] + part)
            else:
                tokens.append((False, part))
    return tokens


def sgi(tokens: list[Token]) -> list[int]:
    """Tokens as SGI files write them."""
    out: list[int] = []
    for run, elements in tokens:
        out += [len(elements), elements[0]] if run else [128 + len(elements), *elements]
    return out


def packbits(tokens: list[Token]) -> list[int]:
    """Tokens as TIFF files write them."""
    out: list[int] = []
    for run, elements in tokens:
        out += [257 - len(elements), elements[0]] if run else [len(elements) - 1, *elements]
    return out


def exr(tokens: list[Token]) -> list[int]:
    """Tokens as OpenEXR files write them."""
    out: list[int] = []
    for run, elements in tokens:
        out += [len(elements) - 1, elements[0]] if run else [256 - len(elements), *elements]
    return out


def exr_split(data: bytes) -> bytes:
    """OpenEXR's order of bytes and differences."""
    parted = data[::2] + data[1::2]
    return parted[:1] + bytes((b - a + 128) % 256 for a, b in pairwise(parted))


def horizontal(row: bytes, sample: int, stride: int, order: str) -> bytes:
    """TIFF predictor 2 of one row."""
    assert order in ("big", "little")
    big = order == "big"
    parts = [row[i : i + sample] for i in range(0, len(row), sample)]
    values = [int.from_bytes(p, "big" if big else "little") for p in parts]
    out = b""
    for i, value in enumerate(values):
        left = values[i - stride] if i >= stride else 0
        out += ((value - left) % 256**sample).to_bytes(sample, "big" if big else "little")
    return out


def floating(row: bytes, sample: int, stride: int, order: str) -> bytes:
    """TIFF predictor 3 of one row."""
    places = range(sample) if order == "big" else range(sample - 1, -1, -1)
    planes = b"".join(row[p::sample] for p in places)
    return bytes(
        (b - (planes[i - stride] if i >= stride else 0)) % 256 for i, b in enumerate(planes)
    )
