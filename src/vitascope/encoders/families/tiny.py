"""Small video encoders shipped with the package: one network pretrained on MotionLab clips with several objectives.

They reproduce figure 2 of the TWLV-I report in miniature: the effect of the reconstruction target.
"""

from __future__ import annotations

from vitascope.core.registry import unknown_variant
from vitascope.encoders.base import Encoder
from vitascope.encoders.weights import native, native_card

VARIANTS: dict[str, str] = {
    "twlv1": "masked modeling of a mixture of image-teacher features and optical flow",
    "image": "distillation from an image teacher, frame by frame",
    "video": "distillation from a video teacher, `tiny/pixels`",
    "pixels": "masked modeling of normalized pixels",
    "latent": "prediction of the features of its exponential moving average",
    "stills": "the image teacher: a convolutional network trained on labeled frames of MotionLab",
}
"""The encoders by the part of the name after `tiny/`."""


def build(variant: str) -> Encoder:
    """The encoder `tiny/variant`; `UserError` for an unknown variant."""
    if variant not in VARIANTS:
        raise unknown_variant("encoders", "tiny", variant, VARIANTS)
    return native.load(native_card.SHIPPED / f"tiny-{variant}.safetensors")
