"""Counterfactual probing: the same probe on perturbed clips."""

from __future__ import annotations

from dataclasses import replace

from vitascope.probes.base import Q
from vitascope.sampling.perturbations import Frozen, Reversed, Shuffled, Slowed

ALTERATIONS: dict[str, type[Reversed | Shuffled | Frozen | Slowed]] = {
    "reversed": Reversed,
    "shuffled": Shuffled,
    "frozen": Frozen,
    "slowed": Slowed,
}
"""What can be done to the clips of a view that leaves their frames what they are."""


SIDES = ("test", "both")
"""Which clips are altered: those of the test only, or those of the training too."""


def altered(probe: Q, how: str, sides: str) -> Q:
    """`probe` with the clips it sees altered: `how` of `ALTERATIONS`, on `sides`."""
    kind = ALTERATIONS[how]
    views = ("test",) if sides == "test" else ("train", "test")
    seen = {side: replace(getattr(probe, side), sampler=kind(getattr(probe, side).sampler)) for side in views}
    return replace(probe, name=f"{probe.name}+{sides}:{how}", **seen)


def alteration(name: str) -> tuple[str, str, str]:
    """Of a probe's name: the name without alteration, what is altered and on which sides; empty where nothing is."""
    plain, *options = name.split("+")
    kept, found = [plain], ("", "")
    for option in options:
        sides, _, how = option.partition(":")
        if sides in SIDES and how in ALTERATIONS:
            found = (how, sides)
        else:
            kept.append(option)
    return "+".join(kept), *found
