"""The native video transformer with random weights: a baseline, and a stand-in for published models of its size."""

from __future__ import annotations

import re
from dataclasses import replace

from vitascope.core.device import generator
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, NetworkEncoder, fingerprint
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import random_vit

VARIANTS: dict[str, str] = {
    "tiny-random": "ViT-Ti/16, tubelet 2, 16 x 112 x 112, random weights with seed 0 (tiny-random-7: seed 7)",
    "small-random": "ViT-S/16, tubelet 2, 16 x 224 x 224, random weights with seed 0",
    "base-random": "ViT-B/16, tubelet 2, 16 x 224 x 224, random weights with seed 0",
    "large-random": "ViT-L/16, tubelet 2, 16 x 224 x 224, random weights with seed 0",
}
SIZES = {
    "tiny": VideoViTConfig(dim=192, depth=12, heads=3, mlp=768),
    "small": VideoViTConfig(dim=384, depth=12, heads=6, mlp=1536),
    "base": VideoViTConfig(dim=768, depth=12, heads=12, mlp=3072),
    "large": VideoViTConfig(dim=1024, depth=24, heads=16, mlp=4096),
}
PIXELS = {"tiny": 112, "small": 224, "base": 224, "large": 224}
"""Input size by model size, pixels; at 112 the tiny model takes an eighth of the compute of 224."""


def build(variant: str) -> Encoder:
    """The encoder `<size>-random` or `<size>-random-<seed>`; `UserError` for an unknown variant."""
    match = re.fullmatch(r"([a-z]+)-random(?:-(\d+))?", variant)
    if not match or match[1] not in SIZES:
        raise unknown_variant("encoders", "vit", variant, VARIANTS)
    seed = int(match[2] or 0)
    side = PIXELS[match[1]] // 16
    arch = replace(SIZES[match[1]], grid=(8, side, side))
    trunk = random_vit(arch, generator(seed))
    card = Card(
        name=f"vit/{variant}",
        digest=fingerprint(trunk.state_dict()),
        dim=arch.dim,
        frames=16,
        size=PIXELS[match[1]],
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        pool="mean of the tokens after the final norm",
        license="Apache-2.0",
    )
    return NetworkEncoder(card, trunk, loaded=f"random weights with seed {seed}")
