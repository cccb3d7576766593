"""Which images of a folder are the frames of its video: one numbered series, beside masks, flow and the like."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from vitascope.core.errors import UserError

OTHER = frozenset(
    {
        "mask",
        "masks",
        "matte",
        "alpha",
        "seg",
        "segmentation",
        "semantic",
        "label",
        "labels",
        "annotation",
        "annotations",
    }
    | {
        "gt",
        "parsing",
        "saliency",
        "edge",
        "edges",
        "heatmap",
        "pose",
        "normal",
        "normals",
        "depth",
        "disp",
        "disparity",
    }
    | {"optical", "flow", "flowx", "flowy", "warp", "x", "y", "u", "v"}
    | {"thumb", "thumbs", "thumbnail", "thumbnails", "preview", "cover", "poster", "folder"}
)
"""Words in names of images that are no frames: masks, depth, components of optical flow, thumbnails ..."""
SHOWN = 6
"""Number of series named in a message."""


class Series(NamedTuple):
    """Images whose names differ only by numbers, in order of the numbers."""

    pattern: str
    """The common name, with # for numbers."""
    names: tuple[str, ...]

    @property
    def numbered(self) -> bool:
        """Whether the names have numbers."""
        return "#" in self.pattern

    @property
    def other(self) -> bool:
        """Whether the name says that these images are no frames."""
        return not OTHER.isdisjoint(re.findall(r"[a-z]+", os.path.splitext(self.pattern)[0].lower()))

    def __str__(self) -> str:
        return f"{len(self.names)} x {self.pattern}" if len(self.names) > 1 else self.names[0]


def choose_frames(path: str, names: list[str]) -> tuple[list[str], str]:
    """The frames among the images in the folder at `path`, in order, and a warning that names the others.

    A video is one series of numbered names. Images without a number beside it, and series whose name says mask, depth,
    flow, thumbnail or the like, are ignored if one other series is there. Names that form no series are taken in order
    of name. Raises UserError that names the series if there are several.
    """
    series = _series(names)
    if len(series) <= 1 or (2 * len(series) > len(names) + 1 and not any(s.other for s in series)):
        return sorted(names, key=_natural), ""
    numbered = [s for s in series if s.numbered and len(s.names) > 1] or [s for s in series if s.numbered] or series
    frames = [s for s in numbered if not s.other]
    if len(frames) != 1:
        listed = ", ".join(map(str, series[:SHOWN])) + (f" and {len(series) - SHOWN} more" if series[SHOWN:] else "")
        raise UserError(
            f"{path}: images of several kinds: {listed}; keep the frames of one video in a folder, the rest elsewhere"
        )
    ignored = ", ".join(str(s) for s in series if s != frames[0])
    return list(frames[0].names), f"ignoring images that are no frames: {ignored}"


def _series(names: list[str]) -> list[Series]:
    """The images by the pattern of their names, largest series first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=_natural):
        groups[re.sub(r"\d+", "#", os.path.splitext(name)[0]).lower()].append(name)
    parts = [part for group in groups.values() for kind in _by_ending(group) for part in _by_counter(kind)]
    series = [Series(_pattern(part), tuple(part)) for part in parts]
    return sorted(series, key=lambda s: (-len(s.names), s.pattern))


def _by_ending(names: list[str]) -> list[list[str]]:
    """Names by their ending if some differ only in it, as frames and their masks do; otherwise together."""
    if len({os.path.splitext(n)[0] for n in names}) == len(names):
        return [names]
    return _grouped(names, lambda n: os.path.splitext(n)[1].lower())


def _by_counter(names: list[str]) -> list[list[str]]:
    """Names by all but their last number if each such group counts through the same numbers, as two cameras do."""
    if not any(c.isdigit() for c in os.path.splitext(names[0])[0]):
        return [names]
    groups = _grouped(names, lambda n: re.split(r"(\d+)(?!.*\d)", os.path.splitext(n)[0])[0])
    counters = {tuple(re.findall(r"\d+", os.path.splitext(n)[0])[-1] for n in group) for group in groups}
    return groups if len(groups) > 1 and len(groups[0]) > 1 and len(counters) == 1 else [names]


def _grouped(names: list[str], key: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return list(groups.values())


def _pattern(names: list[str]) -> str:
    """The name that the files have in common, with # for numbers that differ, or for the last one of a single file."""
    pieces = [re.split(r"(\d+)", name) for name in names]
    digits = [
        k for k in range(1, len(pieces[0]), 2) if len({p[k] for p in pieces if len(p) > k}) > 1 or len(names) == 1
    ]
    return "".join("#" if k in digits else piece for k, piece in enumerate(pieces[0]))


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which numbers in names count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
