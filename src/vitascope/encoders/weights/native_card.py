"""What the file of an encoder that was pretrained here says of itself: card, shape and origin, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vitascope.core.errors import UserError
from vitascope.core.types import Card

KEY = "vitascope-encoder"
"""Of the metadata of a file: card, shape and origin, as JSON."""
FORMAT = 2
"""Version of the names in it; 1 had `licence` and `saw`."""
HEADER = 1 << 20
"""Bytes of metadata that are read at most."""
SHIPPED = Path(__file__).parents[1] / "shipped_weights"
"""Files that come with the package."""


def about(path: str | Path) -> dict[str, Any]:
    """Card, shape and origin of a written encoder, as data. ValueError where the file is none."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error
    if KEY not in metadata or len(metadata[KEY]) > HEADER:
        raise UserError(f"{path}: weights without a card of ours; for a published model say family/variant={path}")
    told: dict[str, Any] = json.loads(metadata[KEY])
    return told


def shipped() -> dict[str, Card]:
    """The card of every encoder that comes with the package, by name."""
    cards = [Card.from_data(about(file)["card"]) for file in sorted(SHIPPED.glob("*.safetensors"))]
    return {card.name: card for card in cards}
