"""The card of an encoder by its name, for commands that need no network."""

from __future__ import annotations

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
