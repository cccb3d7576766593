"""MotionLab's suites: one set of rendered clips asked for their appearance, their motion, and their stills."""

from __future__ import annotations

import os
from pathlib import Path

from vitascope.motionlab.scene import APPEARANCES, MOTIONS, VERSION
from vitascope.motionlab.suite import FULL, SPLITS, TINY, Size, make, shots
from vitascope.types import Dataset, Example, Fold, nearest

SIZES = {"": FULL, "-tiny": TINY}
SUITES = {
    "appearance": f"{len(APPEARANCES)} looks (shape and texture) of things that move at random",
    "motion": f"{len(MOTIONS)} motions, all but one of them in reversible pairs, of things that look at random",
    "still": f"the {len(APPEARANCES)} looks again, in one frame of each clip",
}
VARIANTS = {
    suite + size: about + (" (a few dozen, to try things out)" if size else "")
    for size in SIZES
    for suite, about in SUITES.items()
}
"""What may follow `motionlab/`, and what it is."""


def build(variant: str, root: Path | None = None, *, seed: int = 0, quiet: bool = False) -> Dataset[int]:
    """`appearance` or `motion` (the same clips, two labels), or `still` (their middle frames, by appearance).

    `-tiny` after the name asks for a few dozen clips, for trying things out. Files are rendered into `root` (default:
    `$VITASCOPE_CACHE`, else `~/.cache/vitascope`) unless they are there. ValueError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(
            f"no suite 'motionlab/{variant}'{nearest(variant, VARIANTS)}; MotionLab has {', '.join(VARIANTS)}"
        )
    suite, _, tiny = variant.partition("-")
    size = SIZES[f"-{tiny}" if tiny else ""]
    folder = (root or _cache()).expanduser().absolute() / f"motionlab-{VERSION}" / f"seed-{seed}"
    make(folder, size, seed, quiet=quiet)
    return _dataset(variant, suite, size, folder=folder, seed=seed)


def _cache() -> Path:
    return Path(os.environ.get("VITASCOPE_CACHE") or "~/.cache/vitascope")


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
