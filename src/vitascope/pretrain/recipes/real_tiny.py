"""A small student of teachers that saw real video and images, on a folder of real clips; features are cached.

The student starts as a network that saw synthetic motion. The mixture distills an image classifier (appearance) and a
video classifier (motion) and predicts optical flow; the others have one of these targets each, at equal settings. No
labels of the clips are used; both teachers were trained on labels of their own (ImageNet, Kinetics-400).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.datasets.readers.folder_lists import find_manifest
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain.data.base import ClipSource
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.masking import Tube
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Distilled, Flow, Target
from vitascope.sampling.names import Drawn, RandomClip, RandomCrop

RECIPES: dict[str, str] = {
    "real_tiny_mixture": "EfficientNet-Lite0, I3D and optical flow on real clips (data=FOLDER), with --teacher-cache",
    "real_tiny_image": "EfficientNet-Lite0 alone on real clips (data=FOLDER)",
    "real_tiny_motion": "I3D alone on real clips (data=FOLDER)",
    "real_tiny_flow": "optical flow alone on real clips (data=FOLDER)",
}
START = "tiny/twlv1"
"""The encoder that is trained on, which saw synthetic motion: from random weights, so few clips teach it little."""
SHAPE = VideoViTConfig(dim=128, depth=6, heads=2, mlp=512, patch=8, tubelet=3, grid=(4, 7, 7))
"""Its network, of 1.26 M parameters; clips of 12 frames of 56 pixels have 196 tokens."""
NARROW: dict[str, Any] = {"on": "all", "depth": 1, "width": 96}
"""Tokens, depth and width of every decoder."""
STEPS = 1500


def build(
    name: str,
    *,
    data: str,
    steps: int = STEPS,
    seed: int = 0,
    draws: int = 4,
    appearance: str = "efficientnet/lite0",
    motion: str = "i3d/k400",
) -> Recipe:
    """Build the recipe `name` on the videos of the folder `data`.

    If subfolders of `data` have a manifest.csv each, they are sources of equal shares. A file has `draws` clips, random
    in place, crop and mirroring, which take turns from epoch to epoch; 0: new ones at every reading, which no cache
    can hold. `appearance` and `motion` are the teachers.
    """
    objective = name.removeprefix("real_tiny_")
    targets: dict[str, Target] = {
        "image": Distilled(name="image", teacher=appearance, every=4, size=160, **NARROW),
        "motion": Distilled(name="motion", teacher=motion, size=112, **NARROW),
        "flow": Flow(steady=True, weight=0.5, **NARROW),
    }
    return Recipe(
        name=f"real/{objective}",
        shape=SHAPE,
        frames=12,
        size=56,
        data=tuple((source, 1.0) for source in _sources(data, draws)),
        targets=tuple(targets.values()) if objective == "mixture" else (targets[objective],),
        masks=(Tube(0.5),),
        batch=32,
        steps=steps,
        optimizer="muon",
        lr=5e-4,
        muon_scale=4.0,
        warmup=min(100, steps // 4),
        init=START,
        seed=seed,
    )


def _sources(data: str, draws: int) -> list[ClipSource]:
    """The folder as one source, or its subfolders with a manifest as one each."""
    root = Path(data).expanduser()
    if not root.is_dir():
        raise UserError(
            f"data = {data}: no such folder; name one with videos, or with folders that have a manifest.csv"
        )
    listed = [] if find_manifest(root) else sorted(p for p in root.iterdir() if p.is_dir() and find_manifest(p))
    sampler = RandomCrop(RandomClip(3), scale=(0.5, 1.0), flip=True)
    turns = Drawn(sampler, count=draws) if draws else sampler
    return [VideoFolder(path=str(folder), sampler=turns) for folder in listed or [root]]
