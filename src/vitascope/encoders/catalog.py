"""What encoders there are: families, and the published models among them with their cards, by name."""

from __future__ import annotations

import re

from vitascope.core.registry import Registry
from vitascope.core.types import Card
from vitascope.encoders.spec import Model


class _Encoders(Registry):
    """Families of encoders; those of published models have `MODELS` in place of `VARIANTS`."""

    def variants(self, family: str) -> dict[str, str]:
        """{variant: one line about it}, read without importing torch."""
        return {variant: model.about for variant, model in models(family).items()} or super().variants(family)


ENCODERS = _Encoders("encoders", "vitascope.encoders.families")


def models(family: str) -> dict[str, Model]:
    """`MODELS` of an encoder family, {variant: Model}; empty for the families that are not published models."""
    if not re.search(r"^MODELS\b", ENCODERS.source(family), re.MULTILINE):
        return {}
    return dict(ENCODERS.module(family).MODELS)


def cards() -> dict[str, Card]:
    """The card of every published model, by name."""
    return {model.card.name: model.described() for family in ENCODERS.families() for model in models(family).values()}
