"""The TWLV-I report's claim in miniature: one small transformer, five objectives of equal steps, on MotionLab's stream.

Distillation from an image teacher sees what things look like, masked modeling how they move, and a mixture both. No
motion label is used anywhere; the image teacher has seen labels of appearance, as image-text models have seen captions.
"""

from __future__ import annotations

from typing import Any

from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.image_teacher import ImageTeacherRecipe
from vitascope.pretrain.masking import Tube
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Distilled, Flow, Latent, Pixels, Target

RECIPES: dict[str, str] = {
    "motionlab_tiny_stills": "the image teacher: a small convolutional network on labeled stills, 4 minutes of a core",
    "motionlab_tiny_pixels": "masked modeling of normalized pixels, 45 minutes of a core",
    "motionlab_tiny_image": "distillation from the image teacher, half an hour of a core",
    "motionlab_tiny_video": "distillation from what motionlab_tiny_pixels trained, 50 minutes of a core",
    "motionlab_tiny_latent": "prediction of its own slow copy's features, an hour of a core",
    "motionlab_tiny_twlv1": "masked modeling of a mixture of targets, an hour of a core",
}
SHAPE = VideoViTConfig(dim=128, depth=6, heads=2, mlp=512, patch=8, tubelet=3, grid=(4, 7, 7))
"""1.26 M parameters: clips of 12 frames of 56 pixels are 196 tokens."""
CLIPS = 32768
"""Rendered scenes, each seen again and again in its 16 symmetries."""
HIDDEN = Tube(0.5)
NARROW: dict[str, Any] = {"depth": 1, "width": 96}
"""Of every decoder."""
STILLS = "tiny/stills"
STEPS = 12000
"""Of all five."""
PIXELS = "tiny/pixels"
"""The video teacher, which looked at pixels alone, and comes with the package as `STILLS` does."""


def build(
    name: str, *, steps: int = 0, seed: int = 0, clips: int = CLIPS, teacher: str = ""
) -> Recipe | ImageTeacherRecipe:
    """The recipe called `name`, of `steps` steps (0: `STEPS`, 1600 for the stills) on `clips` rendered scenes.

    12,000 steps of 32 are 384,000 clips, of which a core sees 100 to 230 a second. `teacher` is another image or video
    teacher than `STILLS` or `PIXELS`. Expect by attentive probing, appearance / motion in percent, on MotionLab's
    suites for looking in (seed 1): the mixture 92 / 85, the image teacher's 99 / 8, the video teacher's 5 / 61,
    pixels 10 / 57, latent prediction 9 / 58.
    """
    what = name.removeprefix("motionlab_tiny_")
    if what == "stills":
        data = MotionLab(clips=clips, seed=1, kind="still")
        return ImageTeacherRecipe(name="tiny/stills", data=data, classes=24, steps=steps or 1600, seed=seed)
    steps = steps or STEPS
    labels = "; the image teacher saw labels of looks" if what in ("image", "twlv1") else ""
    return Recipe(
        name=f"tiny/{what}",
        shape=SHAPE,
        frames=12,
        size=56,
        data=((MotionLab(clips=clips), 1.0),),
        targets=_targets(what, teacher or (PIXELS if what == "video" else STILLS)),
        masks=(HIDDEN,),
        batch=32,
        steps=steps,
        optimizer="muon",
        lr=1e-3,
        muon_scale=4.0,
        warmup=min(500, steps // 4),
        seed=seed,
        license="Apache-2.0",
        trained=f"{clips} clips of MotionLab's stream 0, without labels{labels}",
    )


def _targets(what: str, teacher: str) -> tuple[Target, ...]:
    """What an objective asks for."""
    if what == "pixels":
        return (Pixels(**NARROW),)
    if what == "latent":
        # of hidden tokens alone, the last block's, or a faster copy, it learns next to nothing in so few steps
        return (Latent(decay=(0.9995, 0.9999), last=6, centered=True, on="all", distance="mse", **NARROW),)
    if what == "video":  # as MVD does: what is hidden, from a video teacher's features
        return (Distilled(name="video", teacher=teacher, **NARROW),)
    if what == "image":  # as UMT does: seen tokens alone, a frame for each, no decoder but a linear map
        return (Distilled(name="image", teacher=teacher, every=3, normalized=False, on="seen", depth=0),)
    # what is there and how it moves, of seen and hidden tokens alike
    return (
        Distilled(name="image", teacher=teacher, normalized=False, on="all", weight=2.0, **NARROW),
        Flow(soft=0.08, steady=True, on="all", weight=0.5, **NARROW),
    )
