"""Small video encoders shipped with the package: one network pretrained on MotionLab clips with several objectives.

Five recipes of equal steps, each as it was tuned: they differ in target, decoder, the tokens asked for, cost and effort
of tuning, so that their scores do not compare objectives. `trained` in the card of each has these facts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitascope.core.registry import unknown_variant
from vitascope.core.types import Card
from vitascope.encoders.weights import native_card, shipped_notes

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder

VARIANTS: dict[str, str] = {
    "twlv1": "masked modeling of a mixture of image-teacher features and optical flow",
    "image": "distillation from an image teacher, the middle frame of seen tokens",
    "video": "distillation from a video teacher, `tiny/pixels`",
    "pixels": "masked modeling of normalized pixels",
    "latent": "prediction of the features of its exponential moving average",
    "stills": "the image teacher: a convolutional network trained on labeled frames of MotionLab",
}
"""The encoders by the part of the name after `tiny/`."""


def card(variant: str) -> Card:
    """The card of the encoder `tiny/variant`."""
    return native_card.shipped_card(_file(variant))


def build(variant: str) -> Encoder:
    """The encoder `tiny/variant`; `UserError` for an unknown variant."""
    from vitascope.encoders.weights import native

    if variant not in VARIANTS:
        raise unknown_variant("encoders", "tiny", variant, VARIANTS)
    encoder = native.load(_file(variant))
    encoder.card = shipped_notes.annotated(encoder.card)
    return encoder


def _file(variant: str) -> Path:
    return native_card.SHIPPED / f"tiny-{variant}.safetensors"
