"""A controlled comparison of objectives: one student, one decoder, one mask, equal FLOPs, and weights by one rule.

Every objective is predicted at all tokens by a decoder of one form, and no setting was tuned for any. Six combinations
of shape and texture and six motions are never shown, so that suites can be scored on what is new to the student.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.data.other_stills import OtherStills
from vitascope.pretrain.image_teacher import ImageTeacherRecipe
from vitascope.pretrain.masking import Tube
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Distilled, Flow, Hog, Latent, Pixels, Target

RECIPES: dict[str, str] = {
    "motionlab_controlled_stills": "an image teacher that never saw the 24 looks, for `--set teacher=...`",
    "motionlab_controlled_pixels": "pixels alone, 5 minutes on one core, as all of this comparison at equal FLOPs",
    "motionlab_controlled_hog": "histograms of oriented gradients alone",
    "motionlab_controlled_flow": "optical flow alone",
    "motionlab_controlled_latent": "features of its own moving average alone",
    "motionlab_controlled_image": "an image teacher alone, every frame, at all tokens",
    "motionlab_controlled_video": "a video teacher alone",
    "motionlab_controlled_image_flow": "a pair: image teacher and optical flow",
    "motionlab_controlled_image_hog": "a pair: image teacher and histograms of gradients",
    "motionlab_controlled_image_pixels": "a pair: image teacher and pixels",
    "motionlab_controlled_flow_hog": "a pair: optical flow and histograms of gradients",
    "motionlab_controlled_flow_pixels": "a pair: optical flow and pixels",
    "motionlab_controlled_image_video": "a pair: image teacher and video teacher",
    "motionlab_controlled_hog_video": "a pair: histograms of gradients and video teacher",
    "motionlab_controlled_image_hog_video": "a mixture: image teacher, histograms of gradients and video teacher",
    "motionlab_controlled_image_flow_hog": "a mixture: image teacher, optical flow and histograms of gradients",
    "motionlab_controlled_image_flow_pixels": "a mixture: image teacher, optical flow and pixels",
}
SHAPE = VideoViTConfig(dim=128, depth=6, heads=2, mlp=512, patch=8, tubelet=3, grid=(4, 7, 7))
"""The student, of 1.26 M parameters; clips of 12 frames of 56 pixels have 196 tokens."""
STILLS, PIXELS = "tiny/stills", "tiny/pixels"
"""The image teacher, a network for stills, and the video teacher, which was trained on pixels; both are included."""
CLIPS = 24576
"""Number of rendered scenes, of which 11,780 have nothing that is held out; each is used in its 16 symmetries."""
OTHER_STILLS = 16384
"""Number of pictures of the teacher that never saw the 24 looks."""
HELD_OUT_LOOKS = ("disc-stripes", "square-checks", "triangle-dots", "star-rings", "cross-stripes", "crescent-checks")
"""One combination of each shape; every texture occurs in others."""
HELD_OUT_MOTIONS = ("up-left", "down-right", "up-right", "down-left", "spin-clockwise", "spin-counter")
"""One kind of translation and one of turning, each with all its mirror images."""
BUDGET = 70.0
"""TFLOP of a whole training: student, decoders, teachers and optimizer."""
BATCH = 32
STUDENT = 0.830
"""GFLOP of the student per clip, forward and backward."""
TARGET_COST: Mapping[str, float] = {
    "pixels": 0.247,
    "hog": 0.194,
    "flow": 0.216,
    "latent": 0.805,
    "image": 0.761,
    "video": 0.805,
}
"""GFLOP of each target per clip: its decoder, forward and backward, and its teacher."""
OPTIMIZER, OPTIMIZER_TARGET = 3.523, 0.248
"""GFLOP of Muon per step: for the student's matrices and for those of each decoder."""
WEIGHTS: Mapping[str, float] = {"pixels": 1.0, "hog": 14.0, "flow": 0.32, "latent": 1.0, "image": 1.6, "video": 1.0}
"""The reciprocals of the losses at the first step, so that every target starts at 1."""


def build(
    name: str, *, steps: int = 0, seed: int = 0, clips: int = CLIPS, teacher: str = STILLS
) -> Recipe | ImageTeacherRecipe:
    """Build the recipe `name` with as many steps (0) as `BUDGET` has room for, or with `steps`.

    `teacher` replaces the image teacher, which was trained on labels of all 24 looks, those held out included. The
    recipe of the stills trains one on 24 other looks, with 1600 steps (0).
    """
    objectives = name.removeprefix("motionlab_controlled_").split("_")
    if objectives == ["stills"]:
        data = OtherStills(clips=min(clips, OTHER_STILLS))
        return ImageTeacherRecipe(name="controlled/stills", data=data, classes=24, steps=steps or 1600, seed=seed)
    steps = steps or affordable_steps(objectives)
    labels = "; the image teacher saw labels of looks" if "image" in objectives else ""
    return Recipe(
        name=f"controlled/{'-'.join(objectives)}",
        shape=SHAPE,
        frames=12,
        size=56,
        data=((MotionLab(clips=clips, without=(*HELD_OUT_LOOKS, *HELD_OUT_MOTIONS)), 1.0),),
        targets=tuple(_target(objective, teacher) for objective in objectives),
        masks=(Tube(0.5),),
        batch=BATCH,
        steps=steps,
        optimizer="muon",
        lr=1e-3,
        muon_scale=4.0,
        warmup=steps // 4,
        seed=seed,
        license="Apache-2.0",
        trained=f"{clips} scenes of MotionLab's stream 0 less 6 looks and 6 motions, without labels{labels}",
    )


def affordable_steps(objectives: list[str]) -> int:
    """Steps that `BUDGET` pays for."""
    clip = STUDENT + sum(TARGET_COST[objective] for objective in objectives)
    return int(1000 * BUDGET / (BATCH * clip + OPTIMIZER + OPTIMIZER_TARGET * len(objectives)))


def _target(objective: str, teacher: str) -> Target:
    """The target of an objective, as in the recipes of `motionlab_tiny`, but predicted at all tokens by all."""
    settings: dict[str, Any] = {"weight": WEIGHTS[objective], "on": "all", "depth": 1, "width": 96}
    if objective == "pixels":
        return Pixels(**settings)
    if objective == "hog":
        return Hog(**settings)
    if objective == "flow":
        return Flow(soft=0.08, steady=True, **settings)
    if objective == "latent":
        return Latent(decay=(0.9995, 0.9999), last=6, centered=True, distance="mse", **settings)
    if objective == "video":
        return Distilled(name="video", teacher=PIXELS, **settings)
    return Distilled(name="image", teacher=teacher, normalized=False, **settings)
