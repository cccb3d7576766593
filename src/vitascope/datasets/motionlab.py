"""MotionLab's suites: one set of rendered clips asked for their appearance, their motion, and their stills."""

from __future__ import annotations

from pathlib import Path

from vitascope.catalogue import unknown
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, VERSION
from vitascope.motionlab.suite import FULL, SPLITS, TINY, Size, make, shots
from vitascope.store import cache
from vitascope.types import Dataset, Example, Fold

VARIANTS: dict[str, str] = {
    "appearance": "24 looks (6 shapes by 4 textures) of things that move at random",
    "motion": "17 motions (8 reversible pairs and stillness) of things that look at random",
    "still": "the 24 looks again, in one frame of each clip",
    "appearance-tiny": "the beginning of motionlab/appearance, for trying things out",
    "motion-tiny": "the beginning of motionlab/motion, for trying things out",
    "still-tiny": "the beginning of motionlab/still, for trying things out",
}
"""What may follow `motionlab/`, and what it is."""
SIZES = {"": FULL, "tiny": TINY}


def build(variant: str, root: Path | None = None, *, seed: int = 0, quiet: bool = False) -> Dataset[int]:
    """`appearance` or `motion` (the same clips, two labels), or `still` (their middle frames, by appearance).

    `-tiny` after the name asks for a few dozen clips, for trying things out. Files are rendered into `root` (default:
    `$VITASCOPE_CACHE`, else `~/.cache/vitascope`) unless they are there. ValueError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise unknown("datasets", f"motionlab/{variant}")
    suite, _, tiny = variant.partition("-")
    size = SIZES[tiny]
    folder = (root or cache()).expanduser().absolute() / f"motionlab-{VERSION}" / f"seed-{seed}"
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
