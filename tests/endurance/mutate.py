"""Damage bytes at random, from a seed: what endurance tests feed to readers of every kind."""

from __future__ import annotations

import random

EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80")


def mutate(data: bytes, seed: int) -> bytes:
    """`data` with one to four random changes: bits, fields set to extremes, cuts, holes, copies and swaps of pieces."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(CHANGES)(data or b"\x00", rng)
    return data


def _bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 32))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _field(data: bytes, rng: random.Random) -> bytes:
    """Two, four or eight bytes become an extreme or random number."""
    size = rng.choice((2, 4, 8))
    start = rng.randrange(len(data))
    value = rng.choice((rng.randbytes(size), rng.choice(EXTREMES) * size, b"\x7f" + b"\xff" * (size - 1)))
    return data[:start] + value + data[start + size :]


def _head(data: bytes, rng: random.Random) -> bytes:
    """As `_field`, where headers mostly are: in the first or last two kilobytes."""
    part = min(len(data), 2048)
    if rng.random() < 0.5:
        return _field(data[:part], rng) + data[part:]
    return data[: len(data) - part] + _field(data[len(data) - part :], rng)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data)), rng.choice((16, 256, 4096))
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


def _splice(data: bytes, rng: random.Random) -> bytes:
    """A piece is copied to another place, over what is there or between it."""
    start, to, size = rng.randrange(len(data)), rng.randrange(len(data)), rng.choice((4, 64, 1024))
    piece = data[start : start + size]
    return data[:to] + piece + data[to + (size if rng.random() < 0.5 else 0) :]


def _drop(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 4, 64, 1024)) :]


CHANGES = (_bits, _field, _head, _head, _cut, _zeros, _splice, _drop)
