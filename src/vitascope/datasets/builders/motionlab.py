"""MotionLab's suites: rendered clips labeled by appearance and by motion, and single frames of them.

Two suites of long videos are for temporal localization of motions and for frame-wise segmentation of procedures, one of
several actors for spatio-temporal localization.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from vitascope.core.actors import Keyframes
from vitascope.core.files import cache
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Dataset, Example, Fold, Segment, Timeline
from vitascope.metrics.class_parts import ORDER_FREE, order_free
from vitascope.motionlab import course, crowd, families
from vitascope.motionlab.render import FPS
from vitascope.motionlab.scene import APPEARANCES, MOTION_GROUPS, MOTIONS, VERSION
from vitascope.motionlab.suite import FULL, SPLITS, TINY, Size, make, shots

VARIANTS: dict[str, str] = {
    "appearance": "24 appearances (6 shapes by 4 textures) of objects in random motion",
    "motion": "17 motions (8 reversible pairs and no motion) of objects of random appearance",
    "still": "the 24 appearances in one frame of each clip",
    "localize": "16 motions, temporal localization in videos of 30 to 90 s; 40 training and 20 test videos",
    "segment": "11 steps and no motion, frame by frame, in procedures with a grammar; 40 training and 20 test videos",
    "detect": "8 looks and 8 motions of several actors with boxes, at keyframes a second apart; 48 and 24 videos",
    "detect-tubes": "the videos of motionlab/detect with tubes: boxes at every frame, in windows of a second",
    "appearance-tiny": "the first clips of motionlab/appearance, for trial runs",
    "motion-tiny": "the first clips of motionlab/motion, for trial runs",
    "still-tiny": "the first clips of motionlab/still, for trial runs",
    "localize-tiny": "the first videos of motionlab/localize, for trial runs",
    "segment-tiny": "the first videos of motionlab/segment, for trial runs",
    "detect-tiny": "the first videos of motionlab/detect, for trial runs",
    "detect-tubes-tiny": "the first videos of motionlab/detect-tubes, for trial runs",
}
"""The suites, by the part of the name after `motionlab/`."""
SIZES = {"": FULL, "tiny": TINY}
LONG = {"": course.FULL, "tiny": course.TINY}
CROWDS = {"": crowd.FULL, "tiny": crowd.TINY}
SUITES = {
    **dict.fromkeys(("appearance", "still"), APPEARANCES),
    "motion": MOTIONS,
    "localize": course.ACTIONS,
    "segment": course.STEPS,
    **dict.fromkeys(("detect", "detect-tubes"), crowd.CLASSES),
}
"""The classes of each suite."""
STRUCTURES = {suite: families.structure(classes) for suite, classes in SUITES.items()}
"""How the classes of each suite are related: a frame tells looks, frames in no order tell motions up to their pair."""
CONTEXT = 2.0
"""Most seconds before and after a keyframe that clips may show, as many on both sides."""


def build(variant: str, root: Path | None = None, *, seed: int = 0, quiet: bool = False) -> Dataset[Any]:
    """The suite `variant`; missing files are rendered into `root` (`$VITASCOPE_CACHE`, else `~/.cache/vitascope`).

    `appearance` and `motion` label the same clips, `still` their middle frames by appearance; `localize` and `segment`
    are of long videos. The suffix `-tiny` selects a few examples. Raises `UserError` for an unknown variant.
    """
    if variant not in VARIANTS:
        raise unknown_variant("datasets", "motionlab", variant, VARIANTS)
    tiny = "tiny" if variant.endswith("-tiny") else ""
    suite = variant.removesuffix("-tiny")
    folder = (root or cache()).expanduser().absolute() / f"motionlab-{VERSION}" / f"seed-{seed}"
    if suite in get_args(course.Suite):
        return _long(variant, cast(course.Suite, suite), LONG[tiny], folder / suite, seed=seed, quiet=quiet)
    if suite in ("detect", "detect-tubes"):
        return _crowds(variant, suite, CROWDS[tiny], folder / "detect", seed=seed, quiet=quiet)
    size = SIZES[tiny]
    make(folder, size, seed, quiet=quiet)
    return _dataset(variant, suite, size, folder=folder, seed=seed)


def facts(variant: str) -> dict[str, Any]:
    """What `vitascope describe` tells of a suite: classes, how they are related, and what no skill gives, percent.

    Nothing is rendered.
    """
    tiny = "tiny" if variant.endswith("-tiny") else ""
    suite = variant.removesuffix("-tiny")
    classes, structure = SUITES[suite], STRUCTURES[suite]
    told = {
        "classes": list(classes),
        "pairs": [f"{classes[first]} / {classes[second]}" for first, second in structure.pairs],
        "families": [f"{name} ({len(members)})" for name, members in structure.families.items()],
    }
    if suite not in ("appearance", "motion", "still"):
        return told
    tested = [s for s in shots(SIZES[tiny]) if s.split == "test"]
    truth = [s.motion if suite == "motion" else s.appearance for s in tested]
    bound = order_free(truth, structure, len(classes))
    chance = 100 * max(Counter(truth).values()) / len(truth)
    levels = {"chance": round(chance, 1), "order_free": round(bound or 0.0, 1)}
    return {**told, "test": len(truth), **levels, "order_free_means": ORDER_FREE}


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
        class_groups={g: tuple(map(MOTIONS.index, names)) for g, names in MOTION_GROUPS.items()} if moving else {},
        structure=STRUCTURES[suite],
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
                truth=_actions(take) if suite == "localize" else _steps(take),
                duration=take.frames / FPS,
            )
            for take in plan
        ),
        classes=course.ACTIONS if suite == "localize" else course.STEPS,
        folds=(Fold(name="test", train=ids["train"], test=ids["test"]),),
        key=f"motionlab-{VERSION}-{suite}-{seed}",
        axis="motion",
        structure=STRUCTURES[suite],
        kind="localization" if suite == "localize" else "segmentation",
    )


def _actions(take: course.Take) -> tuple[Segment, ...]:
    """The actions of a video in temporal order."""
    ends = [end / FPS for end in accumulate((s.frames for s in take.stretches), initial=0)]
    return tuple(
        Segment(start, end, course.ACTIONS.index(stretch.motion))
        for stretch, (start, end) in zip(take.stretches, pairwise(ends), strict=True)
        if stretch.motion != course.STILL
    )


def _steps(take: course.Take) -> Timeline:
    """The step of every frame; repeated steps are merged into one run."""
    labels = np.repeat([course.STEPS.index(s.motion) for s in take.stretches], [s.frames for s in take.stretches])
    return Timeline.of(labels.tolist(), FPS)


def _crowds(variant: str, suite: str, size: Size, folder: Path, *, seed: int, quiet: bool) -> Dataset[Keyframes]:
    crowd.make(folder, size, seed, quiet=quiet)
    videos = crowd.crowd_videos(size, seed)
    ids = {s: tuple(_keyframe_id(v, k) for v in videos if v.split == s for k in v.keyframes) for s in SPLITS}
    return Dataset(
        name=f"motionlab/{variant}",
        examples=tuple(example for video in videos for example in CROWD_EXAMPLES[suite](video, folder)),
        classes=crowd.CLASSES,
        folds=(Fold(name="test", train=ids["train"], test=ids["test"]),),
        key=f"motionlab-{VERSION}-{suite}-{seed}",
        class_groups={
            "appearance": tuple(map(crowd.CLASSES.index, crowd.LOOKS)),
            "motion": tuple(map(crowd.CLASSES.index, crowd.MOVES)),
        },
        structure=STRUCTURES[suite],
        kind="detection",
    )


def _keyframe_id(video: crowd.CrowdVideo, second: int) -> str:
    return f"motionlab/{video.id}@{second:02d}"


def _keyframe_examples(video: crowd.CrowdVideo, folder: Path) -> Iterator[Example[Keyframes]]:
    """An example for each keyframe."""
    actors = crowd.actors(video)
    for second in video.keyframes:
        time, context = float(second), min(CONTEXT, second, video.seconds - second)
        yield Example(
            id=_keyframe_id(video, second),
            path=str(folder / video.video),
            truth=Keyframes((time,), tuple(a for a in actors if a.time == time)),
            span=(time - context, time + context),
            group=f"motionlab/{video.id}",
        )


def _tube_examples(video: crowd.CrowdVideo, folder: Path) -> Iterator[Example[Keyframes]]:
    """An example for the second around each keyframe, with the actors at every frame."""
    for second in video.keyframes:
        frames = crowd.window(second)
        times = tuple(frame / FPS for frame in frames)
        yield Example(
            id=_keyframe_id(video, second),
            path=str(folder / video.video),
            truth=Keyframes(times, tuple(crowd.actors(video, frames))),
            span=(frames.start / FPS, frames.stop / FPS),
            group=f"motionlab/{video.id}",
        )


CROWD_EXAMPLES = {"detect": _keyframe_examples, "detect-tubes": _tube_examples}
"""The examples of a video of several actors, by suite."""
