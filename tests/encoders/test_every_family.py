"""Every encoder file in the package keeps the encoder contract; a new file is found by its existence."""

import pytest

from vitascope.encoders.base import Encoder
from vitascope.encoders.card_of import card_of
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.contract import check_encoder
from vitascope.encoders.load import load

LARGE = ("small", "base", "large", "huge", "giant")
"""Sizes left to `vitascope check`: the same code as a tiny one, minutes on a laptop."""
FAMILIES = ENCODERS.families()
NAMES = [f"{f}/{v}" for f in FAMILIES if not models(f) for v in ENCODERS.variants(f) if not v.startswith(LARGE)]


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_keeps_its_promises(name: str) -> None:
    encoder = load(name)
    assert isinstance(encoder, Encoder)
    assert encoder.card.name == name
    assert encoder.card.digest
    assert card_of(name) == encoder.card
    check_encoder(encoder, batch=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_what_it_has(family: str) -> None:
    found = ENCODERS.variants(family)
    assert all(found.values())
    assert family == "transformers" or found, f"encoders/{family}.py declares neither MODELS nor VARIANTS"
