"""What the motion programs have to do with each other: opposites, families, and what frames without order tell.

A program is a direction in which the state of a scene travels on the torus, from a uniformly distributed point at the
middle of the clip. Camera and distractors are as likely forwards as backwards. So the frames of a clip, in no order,
are exactly those of a clip of the opposite direction, equally likely, and of no other program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitascope.core.class_structure import ClassStructure
from vitascope.motionlab.scene import PROGRAMS

FAMILIES: dict[str, tuple[int, ...]] = {
    "translation": (0, 1),
    "turning": (3,),
    "orbit": (2,),
    "scale": (4,),
    "depth": (5,),
}
"""The coordinates of `scene.State` that change in a family; of depth, the gap between the twins."""
STILL = "still"


def structure(
    classes: Sequence[str],
    programs: Mapping[str, Sequence[float]] = PROGRAMS,
    coordinates: Mapping[str, Sequence[int]] = FAMILIES,
) -> ClassStructure:
    """The structure of classes, some of which are motion programs; all others are told by a single frame.

    `coordinates` are those of the state that change in each family.
    """
    unordered: dict[tuple[float, ...], list[int]] = {}
    families: dict[str, list[int]] = {name: [] for name in (*coordinates, STILL)}
    for index, direction in enumerate(programs.get(name) for name in classes):
        if direction is not None:
            there, back = tuple(map(float, direction)), tuple(-float(step) for step in direction)
            unordered.setdefault(max(there, back), []).append(index)
            families[_family(direction, coordinates)].append(index)
    alike = tuple(tuple(group) for group in unordered.values() if len(group) > 1)
    return ClassStructure(
        pairs=tuple((group[0], group[1]) for group in alike),
        families={name: tuple(members) for name, members in families.items() if members},
        alike=alike,
    )


def _family(direction: Sequence[float], coordinates: Mapping[str, Sequence[int]]) -> str:
    """The family in which the first coordinate that changes does; still where none does."""
    changing = next((i for i, step in enumerate(direction) if step), None)
    return next((name for name, own in coordinates.items() if changing in own), STILL)
