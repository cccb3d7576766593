"""Counterfactual probing: the same probe on perturbed clips."""

from __future__ import annotations

from dataclasses import replace

from vitascope.probes.base import Q
from vitascope.sampling.perturbations import Frozen, Reversed, Shuffled, Slowed

PERTURBATIONS: dict[str, type[Reversed | Shuffled | Frozen | Slowed]] = {
    "reversed": Reversed,
    "shuffled": Shuffled,
    "frozen": Frozen,
    "slowed": Slowed,
}
"""Perturbations of clips that leave their frames unchanged."""

SIDES = ("test", "both")
"""Which clips are perturbed: test clips only, or training clips, too."""


def perturb(probe: Q, how: str, sides: str) -> Q:
    """Return `probe` on perturbed clips: `how` is a key of `PERTURBATIONS`, `sides` one of `SIDES`."""
    kind = PERTURBATIONS[how]
    views = ("test",) if sides == "test" else ("train", "test")
    perturbed = {side: replace(getattr(probe, side), sampler=kind(getattr(probe, side).sampler)) for side in views}
    return replace(probe, name=f"{probe.name}+{sides}:{how}", **perturbed)


def split_perturbation(name: str) -> tuple[str, str, str]:
    """Split the name of a probe into the plain name, the perturbation and the perturbed sides; empty if unperturbed."""
    plain, *options = name.split("+")
    parts, perturbation = [plain], ("", "")
    for option in options:
        sides, _, how = option.partition(":")
        if sides in SIDES and how in PERTURBATIONS:
            perturbation = (how, sides)
        else:
            parts.append(option)
    return "+".join(parts), *perturbation
