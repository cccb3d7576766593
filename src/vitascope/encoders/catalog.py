"""The registry of encoders: families, and the published models with their cards."""

from __future__ import annotations

import re

from vitascope.core.registry import Registry
from vitascope.core.types import Card
from vitascope.encoders.spec import Model


class _Encoders(Registry):
    """Registry of encoder families; families of published models define `MODELS` in place of `VARIANTS`."""

    def variants(self, family: str) -> dict[str, str]:
        """The variants of a family as {variant: one-line description}, read without importing torch."""
        return {variant: model.about for variant, model in models(family).items()} or super().variants(family)


ENCODERS = _Encoders("encoders", "vitascope.encoders.families")


def models(family: str) -> dict[str, Model]:
    """The published models of a family as {variant: Model}; empty for other families."""
    if not re.search(r"^MODELS\b", ENCODERS.source(family), re.MULTILINE):
        return {}
    return dict(ENCODERS.module(family).MODELS)


def cards() -> dict[str, Card]:
    """The card of every published model by name."""
    return {model.card.name: model.full_card() for family in ENCODERS.families() for model in models(family).values()}
