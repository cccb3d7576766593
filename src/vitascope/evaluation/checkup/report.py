"""What a check-up found, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vitascope.core.types import Score


@dataclass(frozen=True, kw_only=True)
class EncoderCheckup:
    """What was found of one encoder; shifts are in percent of the mean distance of two different videos."""

    encoder: str
    dim: int
    """Size of its vectors."""
    rank: float
    """Effective number of dimensions that the vectors of the videos span."""
    order: Mapping[str, Score]
    """Shifts by frames in another order or at half speed, by name: reversed, shuffled, slowed."""
    stability: Mapping[str, Score]
    """Shifts by what should change nothing, by name: re-encoded, cropped, letterboxed."""
    alike: Sequence[tuple[str, str]] = ()
    """Pairs of videos that it hardly tells apart and that are no copies, nearest first."""
    clip_seconds: float = 0.0
    """Seconds that it takes for a clip on this machine, decoding included."""
    hour_seconds: float = 0.0
    """Seconds that it takes for an hour of video, a clip each two seconds."""
    hour_bytes: int = 0
    """Bytes of the vectors of that hour."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike two encoders arrange the videos, percent."""

    encoders: tuple[str, str]
    cka: Score
    """Linear centered kernel alignment, unbiased."""
    neighbors: Score
    """Share of the nearest videos that they have in common."""


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was found of a set of videos and the encoders."""

    data: str
    videos: int
    """Number of videos that all encoders could read."""
    found: int
    """Number of videos there are."""
    recordings: int
    """Number of groups of them, the units of the intervals; copies are one."""
    altered: int
    """Number of videos of which excerpts were altered."""
    seconds: float
    """Mean duration of the videos, seconds."""
    neighbors: int
    """Number of nearest videos compared."""
    most_rank: int
    """Largest rank that so many videos can have: their number less one."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """{video: the first video of which it is a copy by its frames}."""
    encoders: Sequence[EncoderCheckup] = ()
    agreements: Sequence[Agreement] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    """{video: why it has no vector}."""
    device: str = "cpu"

    @property
    def neighbors_by_chance(self) -> float:
        """Share of nearest videos that two encoders without anything in common share, percent."""
        return 100 * self.neighbors / max(self.videos - 1, 1)
