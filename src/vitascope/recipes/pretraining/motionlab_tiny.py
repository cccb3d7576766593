"""The TWLV-I report's claim in miniature: one small transformer, five objectives of equal steps, on MotionLab's stream.

Distillation from an image teacher sees what things look like, masked modelling how they move, and a mixture both. No
motion label is used anywhere; the image teacher has seen labels of appearance, as image-text models have seen captions.
"""

from __future__ import annotations

from typing import Any

from vitascope.architectures.video import VideoShape
from vitascope.pretrain.masking import Tube
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.stills import Stills
from vitascope.pretrain.stream.motionlab import MotionLab
from vitascope.pretrain.targets import Distilled, Hog, Latent, Pixels, Target

RECIPES: dict[str, str] = {
    "motionlab_tiny_stills": "the image teacher: a small convolutional network on labelled stills, 5 minutes of a core",
    "motionlab_tiny_pixels": "masked modelling of normalised pixels, 15 minutes of a core",
    "motionlab_tiny_image": "distillation from the image teacher, 15 minutes of a core",
    "motionlab_tiny_video": "distillation from a video teacher, which is tiny/pixels, 15 minutes of a core",
    "motionlab_tiny_latent": "prediction of its own slow copy's features, 20 minutes of a core",
    "motionlab_tiny_twlv1": "masked modelling of a mixture of targets, 25 minutes of a core",
}
SHAPE = VideoShape(dim=128, depth=6, heads=2, mlp=512, patch=8, tubelet=3, grid=(4, 7, 7))
"""1.26 M parameters: clips of 12 frames of 56 pixels are 196 tokens."""
CLIPS = 32768
"""Rendered scenes, each seen again and again in its 16 symmetries."""
HIDDEN = Tube(0.6)
NARROW: dict[str, Any] = {"depth": 1, "width": 96}
"""Of every decoder."""
TARGETS: dict[str, tuple[Target, ...]] = {
    "pixels": (Pixels(**NARROW),),
    # as UMT does: the visible tokens alone, one frame for a token, no decoder but a linear map
    "image": (Distilled(name="image", teacher="tiny/stills", every=3, normalised=False, on="seen", depth=0),),
    # as MVD does: what is hidden, from a video teacher's features
    "video": (Distilled(name="video", teacher="tiny/pixels", **NARROW),),
    "latent": (Latent(decay=(0.99, 0.999), **NARROW),),
    # what the image teacher sees in every frame, asked of hidden tokens too, wants to know where things go
    "twlv1": (
        Distilled(name="image", teacher="tiny/stills", normalised=False, on="all", **NARROW),
        Hog(name="hog-differences", differences=True, bins=8, weight=0.3, **NARROW),
    ),
}


def build(name: str, *, steps: int = 0, seed: int = 0, clips: int = CLIPS) -> Recipe | Stills:
    """The recipe called `name`.

    Each is 8000 steps, or `steps`, of 32 clips: 0.26 million clips, some 250 a second on a core. Expected on
    MotionLab's test suites: docs/log.md has the table of all five and three seeds.
    """
    what = name.removeprefix("motionlab_tiny_")
    if what == "stills":
        data = MotionLab(clips=clips, seed=1, kind="still")
        return Stills(name="tiny/stills", data=data, classes=24, steps=steps or 1600, seed=seed)
    steps = steps or 8000
    return Recipe(
        name=f"tiny/{what}",
        shape=SHAPE,
        frames=12,
        size=56,
        data=((MotionLab(clips=clips), 1.0),),
        targets=TARGETS[what],
        masks=(HIDDEN,),
        batch=32,
        steps=steps,
        optimiser="muon",
        lr=1e-3,
        muon_scale=4.0,
        warmup=min(500, steps // 4),
        seed=seed,
        licence="Apache-2.0",
        trained=f"{clips} clips of MotionLab's stream 0, without labels",
    )
