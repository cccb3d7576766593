"""Backgrounds: a still image with a margin for camera motion."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64

from vitascope.motionlab.scene import Background


def picture(background: Background, side: int, margin: int) -> Float32[np.ndarray, "y x 3"]:
    """The background of frames of `side` pixels with a margin of `margin` pixels on every edge; colors in 0 to 1."""
    return np.ascontiguousarray(planes(background, side, margin).transpose(1, 2, 0))


def planes(background: Background, side: int, margin: int) -> Float32[np.ndarray, "3 y x"]:
    """The channels of `picture`, one after another."""
    rng = np.random.default_rng(background.seed)
    at = (np.arange(side + 2 * margin) + 0.5 - margin) / side
    mix = np.clip(_PATTERNS[background.kind](rng, at), 0, 1)
    channels = zip(*background.colors, strict=True)
    return np.stack([(one + mix * (other - one)).astype(np.float32) for one, other in channels])


def view(
    wide: Float32[np.ndarray, "y x 3"], shift: Float64[np.ndarray, "t 2"], side: int
) -> Float32[np.ndarray, "t s s 3"]:
    """Center crops of `side` pixels from `wide`, with its content shifted right and down by `shift` pixels."""
    margin = (wide.shape[0] - side) // 2
    frames = np.empty((len(shift), side, side, 3), np.float32)
    for frame, (dx, dy) in zip(frames, shift.tolist(), strict=True):
        rows = _shift(wide, margin - dy, side)
        frame[:] = _shift(rows.swapaxes(0, 1), margin - dx, side).swapaxes(0, 1)
    return frames


def _shift(lines: Float32[np.ndarray, "a b 3"], start: float, count: int) -> Float32[np.ndarray, "count b 3"]:
    first = math.floor(start)
    part = start - first
    shifted: Float32[np.ndarray, "count b 3"] = lines[first : first + count] * (1 - part)
    shifted += lines[first + 1 : first + count + 1] * part
    return shifted


def _slope(rng: np.random.Generator, at: Float64[np.ndarray, "s"]) -> Float64[np.ndarray, "s s"]:
    angle = rng.uniform(0, 2 * np.pi)
    rise: Float64[np.ndarray, "s s"] = np.cos(angle) * (at[None, :] - 0.5) + np.sin(angle) * (at[:, None] - 0.5)
    return 0.5 + 0.6 * rise


def _hills(rng: np.random.Generator, at: Float64[np.ndarray, "s"], cells: int) -> Float64[np.ndarray, "s s"]:
    """Value noise: random heights on a lattice of `cells` x `cells`, smoothly interpolated."""
    along = (at - at[0]) / (at[-1] - at[0]) * cells * (1 - 1e-9)
    cell = along.astype(np.intp)
    part = along - cell
    part = part * part * (3 - 2 * part)
    weights = np.zeros((len(at), cells + 1))
    weights[np.arange(len(at)), cell] = 1 - part
    weights[np.arange(len(at)), cell + 1] += part
    return np.asarray(weights @ rng.random((cells + 1, cells + 1)) @ weights.T)


def _clouds(rng: np.random.Generator, at: Float64[np.ndarray, "s"]) -> Float64[np.ndarray, "s s"]:
    coarse, middle, fine = (_hills(rng, at, cells) for cells in (3, 6, 13))
    return (coarse - 0.5) * 1.1 + (middle - 0.5) * 0.5 + (fine - 0.5) * 0.3 + 0.5


def _weave(rng: np.random.Generator, at: Float64[np.ndarray, "s"]) -> Float64[np.ndarray, "s s"]:
    pattern = np.full((len(at), len(at)), 0.5)
    for _ in range(3):
        angle, pitch, phase = rng.uniform(0, np.pi), rng.uniform(3, 11), rng.uniform(0, 2 * np.pi)
        across = np.cos(angle) * at[None, :] + np.sin(angle) * at[:, None]
        pattern += 0.22 * np.sin(2 * np.pi * pitch * across + phase)
    return pattern


def _grain(rng: np.random.Generator, at: Float64[np.ndarray, "s"]) -> Float64[np.ndarray, "s s"]:
    return _slope(rng, at) + 0.6 * (_hills(rng, at, 30) - 0.5)


_PATTERNS = {"gradient": _slope, "clouds": _clouds, "weave": _weave, "grain": _grain}
