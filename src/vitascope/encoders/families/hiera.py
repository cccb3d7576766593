"""Hiera for video (Ryali et al., ICML 2023): masked autoencoders pre-trained on Kinetics-400, and fine-tuned on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitascope.encoders.spec import CARD_TEMPLATE, SLOWFAST, CheckpointLayout, Model, WeightSource, rejected
from vitascope.nn.configs.hiera import HieraConfig

SHAPES = {
    "base": HieraConfig(dim=96, heads=1, stages=(2, 3, 16, 3)),
    "base-plus": HieraConfig(dim=112, heads=2, stages=(2, 3, 16, 3)),
    "large": HieraConfig(dim=144, heads=2, stages=(2, 6, 36, 4)),
    "huge": HieraConfig(dim=256, heads=4, stages=(2, 6, 36, 4)),
}
LAYOUTS = {
    "mae": CheckpointLayout(
        name="pre-training",
        mark=r"encoder_norm\.weight$",
        containers=("model_state", ""),
        surplus=(r"decoder_(embed|pos_embed|blocks|norm|pred)\b", r"mask_token$"),
    ),
    "ft": CheckpointLayout(
        name="fine-tuned",
        mark=r"norm\.weight$",
        containers=("model_state", ""),
        surplus=(r"head\.projection\.",),
    ),
}
REJECTED = rejected(LAYOUTS)
CARD = replace(
    CARD_TEMPLATE,
    mean=(0.45, 0.45, 0.45),
    std=(0.225, 0.225, 0.225),
    sampling="16 frames, stride 4, 5 clips x 3 crops",
    transform="short side to the input size by torch's interpolate (bilinear, not antialiased), middle of three crops "
    "(spatial_sampling of facebookresearch/SlowFast, which is assumed: the repository of Hiera has no evaluation code "
    "for video)",
    pretraining_datasets=frozenset({"k400"}),
    license="CC BY-NC 4.0",  # LICENSE.models of the repository; the code is Apache-2.0
)
POOLS = {
    "mae": "mean of the last stage's tokens, LayerNorm without training (weight 1, bias 0.02), as the official loader "
    "has it; with features:fused the mean of the tokens after encoder_norm",
    "ft": "norm of the mean of the last stage's tokens (official code)",
}
DATA = {"mae": "K400", "ft": "K400, then its labels"}
ABOUT = {"mae": "masked autoencoder", "ft": "fine-tuned on Kinetics-400"}
FILES = "https://dl.fbaipublicfiles.com/hiera/"


def numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration values from the config.json that the official code writes for the hub."""
    return {key: config[key] for key in ("input_size", "embed_dim", "num_heads", "stages") if key in config}


def _model(size: str, kind: str) -> Model:
    file = f"{'mae_' if kind == 'mae' else ''}hiera_{size.replace('-', '_')}_16x224.pth"
    return Model(
        about=f"Hiera-{size[0].upper()}{'+' if size == 'base-plus' else ''}, {ABOUT[kind]}",
        card=replace(CARD, name=f"hiera/{size}-{kind}", pool=POOLS[kind], trained=DATA[kind]),
        shape=replace(SHAPES[size], fusion=kind == "mae"),
        layouts=(LAYOUTS[kind], REJECTED["ft" if kind == "mae" else "mae"]),
        source=WeightSource(file=file, url=FILES + file, page="https://github.com/facebookresearch/hiera#model-zoo"),
        authors=SLOWFAST,
        from_config=numbers,
    )


MODELS = {f"{size}-{kind}": _model(size, kind) for kind in LAYOUTS for size in SHAPES}
