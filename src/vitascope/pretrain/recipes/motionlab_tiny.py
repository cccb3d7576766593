"""The five small encoders that come with the package: one transformer, equal steps, on MotionLab's stream.

Distillation from an image teacher captures appearance, masked modeling some motion, and a mixture captures both. No
motion labels are used; the image teacher was trained on labels of the very looks that the benchmark tests. Decoders,
tokens asked for, cost and effort of tuning differ: this is no comparison of objectives at equal settings.
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
    "motionlab_tiny_stills": "the image teacher: a small convolutional network on labeled stills, 4 min on one core",
    "motionlab_tiny_pixels": "masked modeling of normalized pixels, 45 minutes on one core",
    "motionlab_tiny_image": "distillation from the image teacher, half an hour on one core",
    "motionlab_tiny_video": "distillation from the encoder of motionlab_tiny_pixels, 50 minutes on one core",
    "motionlab_tiny_latent": "prediction of the features of its own moving average, an hour on one core",
    "motionlab_tiny_twlv1": "masked modeling of a mixture of targets, an hour on one core",
}
SHAPE = VideoViTConfig(dim=128, depth=6, heads=2, mlp=512, patch=8, tubelet=3, grid=(4, 7, 7))
"""Encoder of 1.26 M parameters; clips of 12 frames of 56 pixels have 196 tokens."""
CLIPS = 32768
"""Number of rendered scenes, each used many times in its 16 symmetries."""
HIDDEN = Tube(0.5)
NARROW: dict[str, Any] = {"depth": 1, "width": 96}
"""Depth and width of every decoder."""
STILLS = "tiny/stills"
STEPS = 12000
"""Optimizer steps of all five objectives."""
PIXELS = "tiny/pixels"
"""The video teacher, trained on pixels only; it is included in the package, as is `STILLS`."""


def build(
    name: str, *, steps: int = 0, seed: int = 0, clips: int = CLIPS, teacher: str = ""
) -> Recipe | ImageTeacherRecipe:
    """Build the recipe `name` with `steps` steps (0: `STEPS`, or 1600 for the stills) on `clips` rendered scenes.

    12,000 steps of 32 clips are 384,000 clips; a core trains on 100 to 230 per second. `teacher` replaces the image or
    video teacher, `STILLS` or `PIXELS`. Expected accuracy by attentive probing, appearance / motion in percent, on the
    MotionLab suites for in-loop probing (seed 1): mixture 92 / 85, image teacher 99 / 8, video teacher 5 / 61, pixels
    10 / 57, latent prediction 9 / 58.
    """
    objective = name.removeprefix("motionlab_tiny_")
    if objective == "stills":
        data = MotionLab(clips=clips, seed=1, kind="still")
        return ImageTeacherRecipe(name="tiny/stills", data=data, classes=24, steps=steps or 1600, seed=seed)
    steps = steps or STEPS
    labels = "; the image teacher saw labels of looks" if objective in ("image", "twlv1") else ""
    return Recipe(
        name=f"tiny/{objective}",
        shape=SHAPE,
        frames=12,
        size=56,
        data=((MotionLab(clips=clips), 1.0),),
        targets=_targets(objective, teacher or (PIXELS if objective == "video" else STILLS)),
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


def _targets(objective: str, teacher: str) -> tuple[Target, ...]:
    """Reconstruction targets of an objective."""
    if objective == "pixels":
        return (Pixels(**NARROW),)
    if objective == "latent":
        # in so few steps, hidden tokens only, the last block only or a faster moving average learn next to nothing
        return (Latent(decay=(0.9995, 0.9999), last=6, centered=True, on="all", distance="mse", **NARROW),)
    if objective == "video":  # as in MVD: a video teacher's features at hidden tokens
        return (Distilled(name="video", teacher=teacher, **NARROW),)
    if objective == "image":  # as in UMT: visible tokens only, one frame each, a linear map as decoder
        return (Distilled(name="image", teacher=teacher, every=3, normalized=False, on="seen", depth=0),)
    # appearance and motion, at visible and hidden tokens
    return (
        Distilled(name="image", teacher=teacher, normalized=False, on="all", weight=2.0, **NARROW),
        Flow(soft=0.08, steady=True, on="all", weight=0.5, **NARROW),
    )
