"""Metadata of a natively pretrained encoder's file (card, network configuration, origin), read without torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vitascope.core.errors import UserError
from vitascope.core.files import check_safetensors_header
from vitascope.core.schema import conform, parse
from vitascope.core.types import Card
from vitascope.encoders.weights.shipped_notes import annotated

KEY = "vitascope-encoder"
"""Key of the metadata in the safetensors header, JSON."""
FORMAT = 2
"""Version of the metadata; in version 1 the card had `licence` and `saw`."""
HEADER = 1 << 20
"""Maximum size of the metadata, bytes."""
SHIPPED = Path(__file__).parents[1] / "shipped_weights"
"""Folder of the encoders shipped with the package."""


@dataclass(frozen=True)
class EncoderMetadata:
    """What a natively pretrained encoder's file says of itself."""

    card: dict[str, Any]
    network: str
    """Kind of the network."""
    shape: dict[str, Any]
    """Configuration of the network."""
    origin: dict[str, Any] = field(default_factory=dict)
    """How it was trained."""


def read_metadata(path: str | Path) -> EncoderMetadata:
    """Read the metadata of a file; `UserError` if it has none."""
    check_safetensors_header(Path(path))
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from error
    if KEY not in metadata or len(metadata[KEY]) > HEADER:
        raise UserError(f"{path}: has no Vitascope card; for a published model use family/variant={path}")
    where, again = f"{path}: its card", "download or export it again"
    data: EncoderMetadata = conform(parse(metadata[KEY], where, again, finite=False), EncoderMetadata, where, again)
    return data


def shipped_card(file: Path) -> Card:
    """The card of an encoder shipped with the package; networks of images are applied to every frame."""
    data = read_metadata(file)
    return replace(annotated(Card.from_data(data.card)), framewise=data.network == "convolutional")


def shipped_cards() -> dict[str, Card]:
    """The card of every encoder shipped with the package, by name."""
    cards = [shipped_card(file) for file in sorted(SHIPPED.glob("*.safetensors"))]
    return {card.name: card for card in cards}
