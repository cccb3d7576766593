"""Checks of a card's numbers that need no pixels: normalization, size and width."""

from __future__ import annotations

import math
from numbers import Real

from vitascope.core.types import RGB, Card

LEAST_STD = 0.05
"""Smallest standard deviation of a normalization for pixels in 0 to 1; real ones are 0.2 to 1."""
BYTES = 1 / 255
"""The standard deviation of a network that takes pixels of 0 to 255."""


def card_problem(card: Card) -> str:
    """What is wrong with the numbers of a card, with the remedy; empty if nothing is."""
    return _normalization_problem(card.mean, card.std) or _size_problem(card)


def _normalization_problem(mean: RGB, std: RGB) -> str:
    if not all(len(values) == 3 and all(map(is_number, values)) for values in (mean, std)):
        return f"card.mean and card.std must be three numbers each, not {mean} and {std}"
    if max(mean) > 1 or max(std) > 1:
        return (
            f"card.mean {in_words(mean)} and card.std {in_words(std)} are for pixels of 0 to 255, "
            "but pixels are 0 to 1; divide both by 255"
        )
    if min(mean) < 0:
        return f"card.mean {in_words(mean)} must be 0 to 1, the scale of the pixels"
    takes_bytes = all(math.isclose(value, BYTES, rel_tol=0.01) for value in std)
    if min(std) < LEAST_STD and not takes_bytes:
        scale = "1/255 for a network that takes pixels of 0 to 255"
        return f"card.std {in_words(std)} must be {LEAST_STD:g} to 1, for pixels of 0 to 1, or {scale}"
    return ""


def _size_problem(card: Card) -> str:
    for name, least in (("dim", 1), ("frames", 0), ("size", 0)):  # released embeddings have no frames and no size
        value = getattr(card, name)
        if not isinstance(value, int) or value < least:
            return f"card.{name} must be a whole number from {least} on, not {value!r}"
    return ""


def is_number(value: object) -> bool:
    """True for a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


def in_words(values: RGB) -> str:
    """Three numbers in short."""
    return f"({', '.join(f'{value:.4g}' for value in values)})"
