"""MotionLab's second version: creatures with limbs in a world with depth, in levels of difficulty.

Clips labeled by appearance and by motion, and their middle frames. `photos` is `hard` with photos for backgrounds and
surfaces: those of a folder, or the two that come with scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

from vitascope.core.files import cache
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Dataset, Example, Fold
from vitascope.motionlab import families
from vitascope.motionlab.scene import APPEARANCES
from vitascope.motionlab.suite import SPLITS, Shot
from vitascope.motionlab.v2.photos import read_photos, sample_folder
from vitascope.motionlab.v2.scene import FAMILIES, MOTIONS, PROGRAMS, VERSION
from vitascope.motionlab.v2.suite import FULL, TINY, Choice, make, shots

VARIANTS: dict[str, str] = {
    "appearance-easy": "24 appearances (6 shapes by 4 textures) of creatures in random motion; a camera at rest",
    "appearance-medium": "24 appearances of creatures; ground, moving camera, motion blur",
    "appearance-hard": "24 appearances of creatures; more of it, and dull colors",
    "appearance-photos": "motionlab2/appearance-hard on photos: two of scikit-learn's, or those of NAME=FOLDER",
    "motion-easy": "19 motions (9 reversible pairs and no motion) of creatures of random appearance; a camera at rest",
    "motion-medium": "19 motions of creatures; ground, moving camera, motion blur",
    "motion-hard": "19 motions of creatures; more of it, and dull colors",
    "motion-photos": "motionlab2/motion-hard on photos: two of scikit-learn's, or those of NAME=FOLDER",
    "still-easy": "the 24 appearances in one frame of each clip of motionlab2/appearance-easy",
    "still-medium": "the 24 appearances in one frame of each clip of motionlab2/appearance-medium",
    "still-hard": "the 24 appearances in one frame of each clip of motionlab2/appearance-hard",
    "still-photos": "the 24 appearances in one frame of each clip of motionlab2/appearance-photos",
    "appearance-easy-tiny": "the first clips of motionlab2/appearance-easy, for trial runs",
    "appearance-medium-tiny": "the first clips of motionlab2/appearance-medium, for trial runs",
    "appearance-hard-tiny": "the first clips of motionlab2/appearance-hard, for trial runs",
    "appearance-photos-tiny": "the first clips of motionlab2/appearance-photos, for trial runs",
    "motion-easy-tiny": "the first clips of motionlab2/motion-easy, for trial runs",
    "motion-medium-tiny": "the first clips of motionlab2/motion-medium, for trial runs",
    "motion-hard-tiny": "the first clips of motionlab2/motion-hard, for trial runs",
    "motion-photos-tiny": "the first clips of motionlab2/motion-photos, for trial runs",
    "still-easy-tiny": "the first frames of motionlab2/still-easy, for trial runs",
    "still-medium-tiny": "the first frames of motionlab2/still-medium, for trial runs",
    "still-hard-tiny": "the first frames of motionlab2/still-hard, for trial runs",
    "still-photos-tiny": "the first frames of motionlab2/still-photos, for trial runs",
}
"""The suites, by the part of the name after `motionlab2/`."""
PHOTOS = "photos"
PHOTO_LEVEL = "hard"
CLASSES = {"appearance": APPEARANCES, "motion": MOTIONS, "still": APPEARANCES}
STRUCTURES = {suite: families.structure(classes, PROGRAMS, FAMILIES) for suite, classes in CLASSES.items()}
"""How the classes of each suite are related: a frame tells looks, frames in no order tell motions up to their pair."""
GROUPS = {
    "reversible": tuple(sorted(c for pair in STRUCTURES["motion"].pairs for c in pair)),
    **{name: members for name, members in STRUCTURES["motion"].families.items() if len(members) > 1},
}
"""Motions that are also scored apart."""
SIZES = {"": FULL, "tiny": TINY}


def build(variant: str, root: Path | None = None, *, seed: int = 0, quiet: bool = False) -> Dataset[int]:
    """The suite `variant`; missing files are rendered.

    They are rendered into `root` (`$VITASCOPE_CACHE`, else `~/.cache/vitascope`); for `photos`, `root` is the folder of
    the photos and the files go to the cache. Raises `UserError` for an unknown variant and for photos that cannot be
    read.
    """
    if variant not in VARIANTS:
        raise unknown_variant("datasets", "motionlab2", variant, VARIANTS)
    suite, level, *tiny = variant.split("-")
    if level == PHOTOS:
        photos = read_photos((root or sample_folder()).expanduser())
        choice, place, below = Choice(PHOTO_LEVEL, seed, photos), cache(), f"{PHOTOS}-{photos.digest}"
    else:
        choice, place, below = Choice(level, seed), root or cache(), level
    folder = place.expanduser().absolute() / f"motionlab2-{VERSION}" / below / f"seed-{seed}"
    size = SIZES["".join(tiny)]
    make(folder, choice, size, quiet=quiet)
    return _dataset(variant, suite, shots(size, seed), folder=folder, below=below)


def _dataset(variant: str, suite: str, plan: list[Shot], *, folder: Path, below: str) -> Dataset[int]:
    moving, still = suite == "motion", suite == "still"
    ids = {split: tuple(f"motionlab2/{below}/{s.id}" for s in plan if s.split == split) for split in SPLITS}
    return Dataset(
        name=f"motionlab2/{variant}",
        examples=tuple(
            Example(
                id=f"motionlab2/{below}/{shot.id}",
                path=str(folder / (shot.still if still else shot.video)),
                truth=shot.motion if moving else shot.appearance,
            )
            for shot in plan
        ),
        classes=CLASSES[suite],
        folds=(Fold(name="test", train=ids["train"], test=ids["test"]),),
        key=f"motionlab2-{VERSION}-{below}-{'stills' if still else 'clips'}-{folder.name.removeprefix('seed-')}",
        axis="motion" if moving else "appearance",
        class_groups=GROUPS if moving else {},
        structure=STRUCTURES[suite],
    )
