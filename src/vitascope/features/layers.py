"""Layers of an encoder as views: `all`, or numbers and `last` with commas, become one view for each block."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Card
from vitascope.features.view import View

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder

LAST, ALL = "last", "all"


def layer_number(layer: str) -> int:
    """The number of the block, from 1, of a layer such as 3/12."""
    return int(layer.partition("/")[0])


def resolved(text: str, depth: int, encoder: str) -> list[str]:
    """The layers that `text` names of an encoder with `depth` blocks, such as 3/12, in ascending order.

    UserError for a number that the encoder does not have, or a word that is none.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    numbers: set[int] = set()
    for word in words:
        numbers |= set(range(1, depth + 1)) if word == ALL else {_number(word, depth, encoder)}
    if not numbers:
        raise UserError(f"layers={text!r}: name layers by number from 1, last or all, with commas")
    return [f"{number}/{depth}" for number in sorted(numbers)]


def layer_views(view: View, text: str, encoder: Encoder | Card) -> list[View]:
    """`view` on each of the layers that `text` names of an encoder; none for an empty text."""
    if not text:
        return []
    from vitascope.encoders.layers import block_layout

    card = encoder if isinstance(encoder, Card) else encoder.card
    return [replace(view, layer=layer) for layer in resolved(text, len(block_layout(encoder).blocks), card.name)]


def _number(word: str, depth: int, encoder: str) -> int:
    if word == LAST:
        return depth
    if not word.isdecimal():
        there = f"{nearest(word, (LAST, ALL))}; name layers by number from 1, last or all, with commas"
        raise UserError(f"layers={word}: no layer {word!r}{there}")
    if not 1 <= int(word) <= depth:
        raise UserError(f"layers={word}: {encoder} has {depth} blocks, 1 to {depth}")
    return int(word)
