"""The card of an encoder by its name, for commands that need no network, and those of other ways to run it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from vitascope.core.pixel_transform import Decoder
from vitascope.core.types import Card
from vitascope.encoders.catalog import ENCODERS


def card_of(name: str) -> Card:
    """The card of the encoder `name`. Raises what `encoders.load.load` raises.

    A family with a function `card` states it without torch; every other encoder is loaded, since the digest in its
    card is that of its weights.
    """
    family, _, variant = name.partition("/")
    if family in ENCODERS.families() and variant in ENCODERS.variants(family):
        stated = getattr(ENCODERS.module(family), "card", None)
        if stated is not None:
            card: Card = stated(variant)
            return card
    from vitascope.encoders.load import load

    return load(name).card


def variant_of(card: Card, *, decoder: Decoder = "pyav", compiled: bool = False) -> Card:
    """The card of an encoder whose videos `decoder` decodes, or that runs compiled; its vectors are stored apart."""
    other = card if decoder == "pyav" else replace(card, name=f"{card.name}+{decoder}", decoder=decoder)
    return replace(other, name=f"{other.name}+compiled", compiled=True) if compiled else other


def as_typed(name: str) -> tuple[str, tuple[str, ...]]:
    """The name of an encoder without what `variant_of` added, and the options of a command that add it."""
    plain, given = name, tuple[str, ...]()
    for ending, option in (("compiled", "--compile always"), *((d, f"--decoder {d}") for d in get_args(Decoder))):
        if plain.endswith(f"+{ending}"):
            plain, given = plain.removesuffix(f"+{ending}"), (*given, option)
    return plain, given
