"""Random damage to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

INTERESTING = (0, 1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 32, 63, 64, 127, 128, 255, 256, 4095, 4096)
EDGES = tuple(1 << n for n in range(8, 64)) + tuple((1 << n) - 1 for n in range(8, 65))


def mutated(rng: random.Random, seed: bytes, other: bytes = b"", focus: int = 0) -> bytes:
    """``seed`` with one or more kinds of damage; ``other`` is something to splice in.

    Half of the places are among the first ``focus`` bytes, where that is not 0.
    """
    out = bytearray(seed)
    for _ in range(min(int(rng.expovariate(0.5)) + 1, 12)):
        _damage(rng, out, other, focus)
    return bytes(out)


def _place(rng: random.Random, size: int, focus: int) -> int:
    return rng.randrange(min(focus, size) if focus and rng.random() < 0.5 else size)


def _number(rng: random.Random) -> int:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(INTERESTING)
    if kind == 1:
        return rng.choice(EDGES)
    if kind == 2:
        return -rng.choice(INTERESTING) % (1 << 64)
    return rng.getrandbits(rng.randrange(1, 65))


def _damage(rng: random.Random, out: bytearray, other: bytes, focus: int) -> None:
    if not out:
        out += rng.randbytes(rng.randrange(1, 40))
        return
    at = _place(rng, len(out), focus)
    kind = rng.randrange(10)
    if kind < 2:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        out[at] = rng.randrange(256)
    elif kind < 6:
        size = rng.choice((1, 2, 4, 4, 8))
        number = _number(rng) % (1 << 8 * size)
        out[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
    elif kind == 6:
        del out[at : at + rng.choice((1, 2, 4, 16, 64, len(out)))]
    elif kind == 7:
        out[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 300)))
    elif kind == 8:
        size = rng.randrange(1, 200)
        source = other if other and rng.random() < 0.5 else bytes(out)
        start = rng.randrange(len(source))
        out[at : at + size] = source[start : start + size]
    else:
        out[at : at + rng.randrange(1, 40)] = bytes([rng.choice((0, 255))]) * rng.randrange(1, 40)
