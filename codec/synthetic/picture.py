"""The picture: a scene in stops, a film-like log curve, and grain on top.

A scene is a sum of smooth light, texture that is present in some places and absent in others,
shaded solids with lens-soft edges, and highlights with bloom. It is composed in stops (the
logarithm of light), where lighting and reflectance add, and an S-shaped curve turns stops into
code values as a film scan has them: about 76 codes a stop in the middle of 10 bits. Grain is
spatially correlated over about two pixels, partly shared between the channels, strongest in the
middle of the curve, and different in each frame, while the scene only moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

# The random streams of one shot; grain is the only one that also depends on the frame.
_STREAM_TEXTURE = 1
_STREAM_OBJECTS = 2
_STREAM_WEAVE = 3
_STREAM_GRAIN = 4

_LATTICE = 64
_PAN_PX = (3.375, 0.625)  # the camera's movement a frame, right and down
_WEAVE_PX = 0.5  # gate weave: how far the film wanders in the gate, peak to peak

# (scale in pixels, amplitude in stops) of the texture; the finest is near the lens's limit.
_TEXTURE = ((61.0, 0.55), (23.0, 0.42), (9.0, 0.32), (3.7, 0.24))

# Grain's standard deviation in 10-bit codes at the middle of the curve: red, green, blue layer.
# The blue layer is the fastest and coarsest of a colour negative.
_GRAIN_CODES = (7.4, 7.0, 9.6)
_GRAIN_SHARED = 0.45  # of a layer's grain, the part that all layers show together


@dataclass(frozen=True, slots=True)
class _Solid:
    """A shaded disc: centre and radius as fractions of the picture, levels in stops."""

    x: float
    y: float
    radius: float
    level: float
    shade: float
    tint: tuple[float, float, float]
    velocity: float
    stripes: bool


def image(
    width: int,
    height: int,
    *,
    channels: int = 3,
    bits: int = 10,
    seed: int = 0,
    frame: int = 0,
) -> NDArray[np.uint16]:
    """Make frame number `frame` of the shot `seed`, as an array of (height, width, channels).

    Channels are luma (1), RGB (3) or RGB and a matte (4); code values fill `bits` bits.

    Raises:
        ValueError: a size below 1, or channels or bits outside 1/3/4 and 8..16.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture needs at least one pixel, not {width}x{height}")
    if channels not in (1, 3, 4):
        raise ValueError(f"channels must be 1, 3 or 4, not {channels}")
    if not 8 <= bits <= 16:
        raise ValueError(f"bits must be 8..16, not {bits}")
    if seed < 0 or frame < 0:
        raise ValueError("seed and frame must not be negative")
    planes, matte = _scene(width, height, min(channels, 3), seed, frame)
    out = np.empty((height, width, channels), np.uint16)
    top = (1 << bits) - 1
    shared = _grain(width, height, seed, frame, 0)
    for channel, plane in enumerate(planes):
        grain = _grain(width, height, seed, frame, 1 + channel)
        out[:, :, channel] = _expose(plane, grain, shared, _GRAIN_CODES[channel], top)
    if channels == 4:
        out[:, :, 3] = (matte * np.float32(top) + np.float32(0.5)).astype(np.uint16)
    return out


def _floats(count: int, *stream: int) -> Plane:
    """Uniform numbers in [0, 1) of the stream; raw PCG64 output never changes between releases."""
    raw = np.random.PCG64(np.random.SeedSequence(stream)).random_raw(count)
    return (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _smooth(t: Plane) -> Plane:
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)


def _noise(lattice: Plane, x: NDArray[np.float64], y: NDArray[np.float64]) -> Plane:
    """Interpolate the lattice (which repeats) at every crossing of the columns x and rows y."""
    column = np.floor(x).astype(np.int64)
    row = np.floor(y).astype(np.int64)
    across = _smooth((x - column).astype(np.float32))
    down = _smooth((y - row).astype(np.float32))[:, None]
    left, right = lattice[:, column % _LATTICE], lattice[:, (column + 1) % _LATTICE]
    lines = left + (right - left) * across
    step = np.roll(lines, -1, axis=0) - lines
    row %= _LATTICE
    out = step[row]
    out *= down
    out += lines[row]
    return out


def _lattice(seed: int, octave: int) -> Plane:
    values = _floats(_LATTICE * _LATTICE, _STREAM_TEXTURE, seed, octave)
    return (values * np.float32(2.0) - np.float32(1.0)).reshape(_LATTICE, _LATTICE)


def _camera(
    width: int, height: int, seed: int, frame: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scene coordinates, in pixels, of this frame's columns and rows."""
    weave = _floats(2, _STREAM_WEAVE, seed, frame)
    x = np.arange(width, dtype=np.float64) + (frame * _PAN_PX[0] + _WEAVE_PX * float(weave[0]))
    y = np.arange(height, dtype=np.float64) + (frame * _PAN_PX[1] + _WEAVE_PX * float(weave[1]))
    return x, y


def _scene(
    width: int, height: int, channels: int, seed: int, frame: int
) -> tuple[list[Plane], Plane]:
    """The frame's planes in stops around middle grey, and the matte of its solids in 0..1."""
    x, y = _camera(width, height, seed, frame)
    extent = float(max(width, height, 256))
    light = _noise(_lattice(seed, 0), x / (extent / 3), y / (extent / 3))
    light *= np.float32(1.6)
    light += np.linspace(1.2, -1.4, height, dtype=np.float32)[:, None]
    planes = []
    for channel in range(channels):
        tint = _noise(_lattice(seed, 30 + channel), x / (extent / 2), y / (extent / 2))
        tint *= np.float32(0.7)
        tint += light
        planes.append(tint)
    matte = np.zeros((height, width), np.float32)
    for solid in _solids(seed):
        _place(solid, planes, matte, frame)
    texture = _texture(x, y, extent, seed)
    for plane in planes:
        plane += texture
    _highlights(planes, seed, frame)
    return planes, matte


def _texture(x: NDArray[np.float64], y: NDArray[np.float64], extent: float, seed: int) -> Plane:
    """Detail in stops at four scales: strong in some places, a trace everywhere else."""
    busy = _noise(_lattice(seed, 1), x / (extent / 5), y / (extent / 5))
    np.maximum(busy, 0, out=busy)
    busy *= np.float32(2.0)
    busy += np.float32(0.15)
    out = np.zeros_like(busy)
    for octave, (scale, stops) in enumerate(_TEXTURE):
        detail = _noise(_lattice(seed, 10 + octave), x / scale, y / scale)
        detail *= np.float32(stops)
        out += detail
    out *= busy
    return out


def _solids(seed: int, count: int = 9) -> list[_Solid]:
    values = _floats(count * 8, _STREAM_OBJECTS, seed).reshape(count, 8).tolist()
    return [
        _Solid(
            x=v[0],
            y=0.15 + 0.8 * v[1],
            radius=0.04 + 0.14 * v[2],
            level=4.0 * v[3] - 2.5,
            shade=1.0 + 1.5 * v[4],
            tint=(0.8 * v[5] - 0.4, 0.0, 0.8 * v[6] - 0.4),
            velocity=0.004 * (v[7] - 0.5),
            stripes=number % 3 == 0,
        )
        for number, v in enumerate(values)
    ]


def _place(solid: _Solid, planes: list[Plane], matte: Plane, frame: int) -> None:
    """Paint the solid over the planes, its edge spread over about two pixels as a lens does."""
    height, width = matte.shape
    radius = solid.radius * max(width, height)
    # Solids that leave on one side come back on the other, so a long shot does not empty.
    centre_x = (solid.x + frame * solid.velocity) % 1.0 * width
    centre_y = solid.y * height
    left, right = max(0, int(centre_x - radius - 2)), min(width, int(centre_x + radius + 3))
    top, bottom = max(0, int(centre_y - radius - 2)), min(height, int(centre_y + radius + 3))
    if left >= right or top >= bottom:
        return
    area = np.s_[top:bottom, left:right]
    dx = (np.arange(left, right) - centre_x).astype(np.float32)[None, :]
    dy = (np.arange(top, bottom) - centre_y).astype(np.float32)[:, None]
    distance = np.sqrt(dx * dx + dy * dy)
    cover = np.clip((np.float32(radius) - distance) * np.float32(0.5) + np.float32(0.5), 0, 1)
    tone = np.float32(solid.level) - (dx + dy) * np.float32(0.7 * solid.shade / radius)
    if solid.stripes:
        period = np.float32(max(6.0, radius / 7))
        phase = (dx + dy * np.float32(0.35)) / period
        phase -= np.floor(phase)
        edge = np.clip((np.float32(0.25) - np.abs(phase - np.float32(0.5))) * period, -1, 1)
        tone = tone + edge * np.float32(0.6)
    for plane, tint in zip(planes, solid.tint, strict=False):
        plane[area] += cover * (tone + np.float32(tint) - plane[area])
    np.maximum(matte[area], cover, out=matte[area])


def _highlights(planes: list[Plane], seed: int, frame: int, count: int = 4) -> None:
    """Add small lights far above the curve's shoulder, each with bloom around it."""
    height, width = planes[0].shape
    extent = max(width, height)
    values = _floats(count * 3, _STREAM_OBJECTS, seed, 1).reshape(count, 3).tolist()
    for across, down, size in values:
        spread = 2.0 + size * extent / 150
        reach = int(spread * 12) + 1
        x = int((across * width - frame * _PAN_PX[0]) % width)
        y = int(down * 0.7 * height)
        left, right = max(0, x - reach), min(width, x + reach + 1)
        top, bottom = max(0, y - reach), min(height, y + reach + 1)
        dx = np.arange(left - x, right - x, dtype=np.float32)[None, :] / np.float32(spread)
        dy = np.arange(top - y, bottom - y, dtype=np.float32)[:, None] / np.float32(spread)
        fall = np.float32(1.0) + dx * dx + dy * dy
        # Reaches zero at the edge of the area, so the area itself is invisible.
        bloom = np.maximum(np.float32(9.0) / fall - np.float32(9.0 / 145.0), 0)
        for plane in planes:
            plane[top:bottom, left:right] += bloom


def _grain(width: int, height: int, seed: int, frame: int, layer: int) -> NDArray[np.int16]:
    """One layer's grain: near-Gaussian, about two pixels wide, standard deviation `_GRAIN_STD`."""
    samples = (height + 2) * (width + 2)
    source = np.random.PCG64(np.random.SeedSequence((_STREAM_GRAIN, seed, frame, layer)))
    # Four bytes summed are near enough to a normal distribution, more so once blurred.
    octets = source.random_raw((samples + 1) // 2).astype("<u8", copy=False).view("<u4")
    pairs = octets & np.uint32(0x00FF00FF)
    pairs += (octets >> np.uint32(8)) & np.uint32(0x00FF00FF)
    pairs += pairs >> np.uint32(16)
    field = pairs[:samples].astype(np.uint16).view(np.int16).reshape(height + 2, width + 2)
    field -= np.int16(510)
    lines = field[:, 1:-1] * np.int16(4)
    lines += field[:, :-2]
    lines += field[:, 2:]
    out = lines[1:-1] * np.int16(4)
    out += lines[:-2]
    out += lines[2:]
    return out


# Four uniform bytes summed have a variance of 4 * (256^2 - 1) / 12; the blur of 1, 4, 1 in each
# direction multiplies the standard deviation by 18.
_GRAIN_STD = 18.0 * 147.8


def _expose(
    stops: Plane, own: NDArray[np.int16], shared: NDArray[np.int16], codes: float, top: int
) -> NDArray[np.uint16]:
    """Turn stops into code values up to `top` through the film's curve, and add the grain."""
    u = stops * np.float32(1 / 6)
    bend = u * u
    bend += np.float32(1.0)
    np.sqrt(bend, out=bend)
    u /= bend  # -1..1: toe, straight part, shoulder
    strength = np.float32(1.0) - u * u
    strength *= np.float32(0.6)
    strength += np.float32(0.4)
    scale = codes / 1023.0 * top / _GRAIN_STD
    noise = own * np.float32(scale * math.sqrt(1.0 - _GRAIN_SHARED * _GRAIN_SHARED))
    noise += shared * np.float32(scale * _GRAIN_SHARED)
    noise *= strength
    u *= np.float32(0.447 * top)
    u += np.float32(0.540 * top + 0.5)
    u += noise
    np.clip(u, 0, top, out=u)
    return u.astype(np.uint16)
