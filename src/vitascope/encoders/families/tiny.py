"""Small video encoders that come with the package: one network, several objectives, pretrained on MotionLab's stream.

They reproduce the shape of the TWLV-I report's figure 2 in miniature: what each reconstruction target buys.
"""

from __future__ import annotations

from vitascope.core.registry import unknown_variant
from vitascope.encoders.base import Encoder
from vitascope.encoders.weights import native, native_card

VARIANTS: dict[str, str] = {
    "twlv1": "masked modeling of a mixture: features of an image teacher and optical flow",
    "image": "distillation from an image teacher, frame by frame",
    "video": "distillation from a video teacher, which is `tiny/pixels`",
    "pixels": "masked modeling of normalized pixels",
    "latent": "prediction of its own slow copy's features",
    "stills": "the image teacher: a convolutional network trained on labeled stills of MotionLab's stream",
}
"""What may follow `tiny/`, and what it is."""


def build(variant: str) -> Encoder:
    """The encoder `tiny/variant`. ValueError for an unknown one."""
    if variant not in VARIANTS:
        raise unknown_variant("encoders", "tiny", variant, VARIANTS)
    return native.load(native_card.SHIPPED / f"tiny-{variant}.safetensors")
