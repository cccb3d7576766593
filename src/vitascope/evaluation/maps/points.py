"""The points of a map: which clips or videos they are, and of what class and recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core.types import Example

Unit: TypeAlias = Literal["video", "clip"]
Scale: TypeAlias = Literal["raw", "standardized", "unit"]


@dataclass(frozen=True)
class Points:
    """The points of a map, one per row of every matrix of vectors."""

    examples: tuple[Example[int], ...]
    clip: Int[ndarray, "n"]
    """Number of the clip within its video; 0 for videos."""
    owner: Int[ndarray, "n"]
    """Index of its example."""
    spans: Float[ndarray, "n 2"]
    """Start and end in the video, seconds; NaN if unknown."""

    @property
    def labels(self) -> Int[ndarray, "n"]:
        """The class of each point."""
        labels: Int[ndarray, "n"] = np.array([e.truth for e in self.examples], np.int64)[self.owner]
        return labels

    @property
    def groups(self) -> Int[ndarray, "n"]:
        """The recording of each point: the group of its example, else the example itself."""
        codes: dict[object, int] = {}
        of = [codes.setdefault((e.group,) if e.group else e.id, len(codes)) for e in self.examples]
        groups: Int[ndarray, "n"] = np.array(of, np.int64)[self.owner]
        return groups
