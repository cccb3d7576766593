"""MotionLab's suites: one set of rendered clips asked for their appearance, their motion, and their stills.

And two of long videos, asked which motions are in them and when, and for the step of a procedure at every frame.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from vitascope.core.files import cache
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Dataset, Example, Fold, Segment, Timeline
from vitascope.motionlab import course
from vitascope.motionlab.render import FPS
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, VERSION
from vitascope.motionlab.suite import FULL, SPLITS, TINY, Size, make, shots

VARIANTS: dict[str, str] = {
    "appearance": "24 looks (6 shapes by 4 textures) of things that move at random",
    "motion": "17 motions (8 reversible pairs and stillness) of things that look at random",
    "still": "the 24 looks again, in one frame of each clip",
    "localize": "16 motions, when, in videos of 30 to 90 s with stillness between; 40 to train, 20 to test",
    "segment": "11 steps and stillness, frame by frame, of procedures with a grammar; 40 videos to train, 20 to test",
    "appearance-tiny": "the beginning of motionlab/appearance, for trying things out",
    "motion-tiny": "the beginning of motionlab/motion, for trying things out",
    "still-tiny": "the beginning of motionlab/still, for trying things out",
    "localize-tiny": "the beginning of motionlab/localize, for trying things out",
    "segment-tiny": "the beginning of motionlab/segment, for trying things out",
}
"""What may follow `motionlab/`, and what it is."""
SIZES = {"": FULL, "tiny": TINY}
LONG = {"": course.FULL, "tiny": course.TINY}


def build(variant: str, root: Path | None = None, *, seed: int = 0, quiet: bool = False) -> Dataset[Any]:
    """`appearance` or `motion` (the same clips, two labels), or `still` (their middle frames, by appearance).

    `localize` and `segment` are of long videos. `-tiny` after a name asks for a few, for trying things out.
    Files are rendered into `root` (default: `$VITASCOPE_CACHE`, else `~/.cache/vitascope`) unless they are there.
    ValueError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise unknown_variant("datasets", "motionlab", variant, VARIANTS)
    suite, _, tiny = variant.partition("-")
    folder = (root or cache()).expanduser().absolute() / f"motionlab-{VERSION}" / f"seed-{seed}"
    if suite in get_args(course.Suite):
        return _long(variant, cast(course.Suite, suite), LONG[tiny], folder / suite, seed=seed, quiet=quiet)
    size = SIZES[tiny]
    make(folder, size, seed, quiet=quiet)
    return _dataset(variant, suite, size, folder=folder, seed=seed)


def _dataset(variant: str, suite: str, size: Size, *, folder: Path, seed: int) -> Dataset[int]:
    plan = shots(size, seed)
    moving = suite == "motion"
    ids = {split: tuple(f"motionlab/{s.id}" for s in plan if s.split == split) for split in SPLITS}
    return Dataset(
        name=f"motionlab/{variant}",
        examples=tuple(
            Example(
                id=f"motionlab/{shot.id}",
                path=str(folder / (shot.still if suite == "still" else shot.video)),
                truth=shot.motion if moving else shot.appearance,
            )
            for shot in plan
        ),
        classes=MOTIONS if moving else APPEARANCES,
        folds=(Fold(name="test", train=ids["train"], test=ids["test"]),),
        key=f"motionlab-{VERSION}-{'stills' if suite == 'still' else 'clips'}-{seed}",
        axis="motion" if moving else "appearance",
    )


def _long(variant: str, suite: course.Suite, size: Size, folder: Path, *, seed: int, quiet: bool) -> Dataset[Any]:
    course.make(folder, suite, size, seed, quiet=quiet)
    plan = course.takes(suite, size, seed)
    ids = {split: tuple(f"motionlab/{t.id}" for t in plan if t.split == split) for split in SPLITS}
    return Dataset(
        name=f"motionlab/{variant}",
        examples=tuple(
            Example(
                id=f"motionlab/{take.id}",
                path=str(folder / take.video),
                truth=_found(take) if suite == "localize" else _steps(take),
                duration=take.frames / FPS,
            )
            for take in plan
        ),
        classes=course.ACTIONS if suite == "localize" else course.STEPS,
        folds=(Fold(name="test", train=ids["train"], test=ids["test"]),),
        key=f"motionlab-{VERSION}-{suite}-{seed}",
        axis="motion",
        kind="localization" if suite == "localize" else "segmentation",
    )


def _found(take: course.Take) -> tuple[Segment, ...]:
    """The actions of a video, in order of time."""
    ends = [end / FPS for end in accumulate((s.frames for s in take.stretches), initial=0)]
    return tuple(
        Segment(start, end, course.ACTIONS.index(stretch.motion))
        for stretch, (start, end) in zip(take.stretches, pairwise(ends), strict=True)
        if stretch.motion != course.STILL
    )


def _steps(take: course.Take) -> Timeline:
    """The step at every frame; a step that follows on itself is one run."""
    labels = np.repeat([course.STEPS.index(s.motion) for s in take.stretches], [s.frames for s in take.stretches])
    return Timeline.of(labels.tolist(), FPS)
