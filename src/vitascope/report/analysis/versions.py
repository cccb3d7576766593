"""What results say of how versions of videos are told apart: forward and reversed, ordered and shuffled, speeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitascope.core.schema import conform
from vitascope.core.text import counted, escaped, p_value, with_interval
from vitascope.evaluation.result_schema import VersionsDiagnosis
from vitascope.evaluation.results import Result

MOST = 300
"""Most videos of a picture that are drawn."""


@dataclass(frozen=True)
class LdaPicture:
    """Points of every version of some videos on the axis of an analysis fitted to them, and its accuracies there."""

    points: tuple[tuple[tuple[float, float], ...], ...]
    accuracy: float
    """On the points, percent."""
    noise: float
    """On Gaussian noise of the same shape."""
    videos: int
    size: int


def versions_of(result: Result) -> VersionsDiagnosis | None:
    """How a result tells versions apart; None for a result of another kind."""
    found: Any = result.diagnosis.get("versions")
    if found is None:
        return None
    checked: VersionsDiagnosis = conform(found, VersionsDiagnosis, "diagnosis: versions")
    return checked


def picture_of(result: Result) -> LdaPicture | None:
    """The picture of the first training that has one."""
    drawn = next((about["picture"] for about in result.about if "picture" in about), None)
    return None if drawn is None else conform(drawn, LdaPicture, "about: picture")


def details(result: Result, found: VersionsDiagnosis) -> list[str]:
    """Everything of a result but its headline, in phrases."""
    others = [f"{name} {with_interval(score)}" for name, score in list(result.scores.items())[1:]]
    units = counted(found.groups, "group" if found.groups < found.videos else "video")
    test = [f"{p_value(found.p)} ({found.draws} relabelings of {units})"] if found.draws else []
    cosine = f"cosine {escaped(found.names[0])}–{'others' if len(found.names) > 2 else escaped(found.names[1])}"
    middle = found.cosine[len(found.cosine) // 2] if found.cosine else 0.0
    ties = [f"{found.tied} of {found.videos} videos have equal vectors in all versions"] if found.tied else []
    return [*others, *test, f"{cosine} {middle:.3f} (median)", *ties]
