"""How well true flow tells the motions of MotionLab's second version, and how far the camera is from feigning one.

    python benchmarks/motionlab_oracle.py            (all clips of all levels, a minute of one core)

For each level: the share of clips whose motion a fixed rule reads from the tracks of points of the twins and
of the far wall (`motionlab.v2.tracks`), that after the frames are shuffled, and for every kind of motion the least
median rate of a clip that has it and the largest of a clip that has not.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from vitascope.motionlab.render import FRAMES
from vitascope.motionlab.v2 import suite
from vitascope.motionlab.v2.levels import LEVELS
from vitascope.motionlab.v2.scene import FAMILIES, MOTIONS, PROGRAMS
from vitascope.motionlab.v2.tracks import Tracks, rates, read_motion, tracks

KINDS = {"translation": "shift", "orbit": "axis", "turning": "facing", "depth": "size", "gap": "gap", "gait": "stride"}
"""The rate that a family of motions has."""


def family(motion: str) -> str:
    """The family of a motion program; empty for none."""
    moved = np.flatnonzero(PROGRAMS[motion])
    return next((name for name, coordinates in FAMILIES.items() if len(moved) and moved[0] in coordinates), "")


def shuffled(seen: Tracks, rng: np.random.Generator) -> Tracks:
    """The tracks of the frames in another order."""
    order = rng.permutation(FRAMES)
    bodies, feet = ((first[order], second[order]) for first, second in (seen.bodies, seen.feet))
    return Tracks(bodies, feet, seen.cord[order], seen.wall[order])


def measure(level: str) -> None:
    """Print the numbers of a level."""
    rng, right, mixed = np.random.default_rng(0), 0, 0
    own: defaultdict[str, list[float]] = defaultdict(list)
    others: defaultdict[str, list[float]] = defaultdict(list)
    plan = suite.shots(suite.FULL)
    for shot in plan:
        name, seen = MOTIONS[shot.motion], tracks(suite.scene(shot, level))
        found = rates(seen)
        found["shift"] = float(np.hypot(found["right"], found["down"]))
        for kind, rate in KINDS.items():
            (own if family(name) == kind else others)[kind].append(abs(found[rate]))
        right += read_motion(seen) == name
        mixed += read_motion(shuffled(seen, rng)) == name
    print(f"{level}: {100 * right / len(plan):.2f} % of {len(plan)} clips; shuffled {100 * mixed / len(plan):.1f} %")
    for kind, rate in KINDS.items():
        scale, unit = (112, "px/frame") if rate in ("shift", "gap") else (1, "per frame")
        print(f"  {kind}: at least {scale * min(own[kind]):.3f}, else at most {scale * max(others[kind]):.3f} {unit}")


if __name__ == "__main__":
    for level in LEVELS:
        measure(level)
