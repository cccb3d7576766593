"""Time grids of imported features: which seconds of a video each row covers, in any of the common notations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.core import option_text
from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Span

FIELD_ALIASES = {
    **dict.fromkeys(("fps", "feature_fps"), "fps"),
    **dict.fromkeys(("stride", "feat_stride", "feature_stride", "snippet_stride", "stride_frames"), "stride"),
    **dict.fromkeys(("window", "num_frames", "clip_length", "window_frames"), "window"),
    **dict.fromkeys(("offset", "offset_frames"), "offset"),
    **dict.fromkeys(("seconds", "window_seconds"), "seconds"),
    **dict.fromkeys(("stride_seconds",), "stride_seconds"),
    **dict.fromkeys(("resized", "force_upsampling"), "resized"),
}
"""Field names in the metadata files of ActionFormer, OpenTAD and others, by ours."""
OTHER_FIELDS = ("layout", "encoder", "note")
PATTERN = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)(?:@(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class FeatureGrid:
    """Row j covers `seconds` seconds from `start + j * stride` on; with `resized`, the j-th of n equal parts."""

    seconds: float = 0.0
    stride: float = 0.0
    start: float = 0.0
    resized: bool = False

    def __post_init__(self) -> None:
        if not self.resized and not (self.seconds > 0 and self.stride > 0):
            raise UserError(f"time grid: window and stride must be above 0 s, not {self.seconds} and {self.stride}")

    def spans(self, count: int, duration: float | None, where: str) -> list[Span]:
        """Return start and end of `count` rows, seconds; they may exceed the video, as only their centers are used."""
        if not self.resized:
            begins = [self.start + j * self.stride for j in range(count)]
            return [(begin, begin + self.seconds) for begin in begins]
        if not duration:
            raise UserError(f"{where}: resized features need the duration of the video, which is not annotated")
        return [(duration * j / count, duration * (j + 1) / count) for j in range(count)]

    def fits(self, count: int, duration: float) -> bool:
        """Return whether `count` rows roughly cover a video of `duration` seconds."""
        covered = (count - 1) * self.stride + self.seconds
        return self.resized or abs(covered - duration) <= max(2 * self.stride + self.seconds, duration / 10)


def parse_grid(text: str) -> FeatureGrid:
    """Parse `0.5/0.125` (window and stride, seconds), `16/4@30` (both in frames, at 30 fps), or `resized`.

    Or the fields of the JSON beside the features by name, see `grid_from_fields`: `window=16+stride=4+fps=30`.
    """
    if text.strip() == "resized":
        return FeatureGrid(resized=True)
    if "=" in text:
        return _by_name(text.strip())
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"--grid {text!r}: expected window/stride in seconds (0.5/0.125) or frames (16/4@30), or resized (the same "
            "number of vectors for every video)"
        )
    rate = float(match[3] or 1)
    return FeatureGrid(float(match[1]) / rate, float(match[2]) / rate) if rate else FeatureGrid()


def _by_name(text: str) -> FeatureGrid:
    """Parse a grid given as named fields."""
    kinds = {name: bool if field == "resized" else float for name, field in FIELD_ALIASES.items()}
    given = option_text.once(option_text.parse(f"+{text}", path=False).options, f"--grid {text}")
    read = {name: option_text.read(kinds.get(name, str), value, f"--grid: {name}") for name, value in given.items()}
    grid = grid_from_fields(read, f"--grid {text}")
    if grid is None:
        raise UserError(f"--grid {text}: window and stride missing; for example window=16+stride=4+fps=30")
    return grid


def grid_from_fields(metadata: Mapping[str, Any], where: str) -> FeatureGrid | None:
    """Return the time grid in the metadata of a feature folder; None if it states none.

    In frames: `fps`, `stride` (`feat_stride`, `snippet_stride`), and `window` (`num_frames`, `clip_length`) or `offset`
    (the center of the first window); or in seconds: `seconds` and `stride_seconds`; or `resized`.
    """
    values: dict[str, Any] = {}
    for name, value in metadata.items():
        if name in FIELD_ALIASES:
            values[FIELD_ALIASES[name]] = value
        elif name not in OTHER_FIELDS:
            suggestion = nearest(name, FIELD_ALIASES)
            raise UserError(
                f"{where}: unknown field {name!r}{suggestion}; known: fps, stride, window, offset, resized, layout"
            )
    if not values:
        return None
    if values.pop("resized", False):
        return FeatureGrid(resized=True)
    numbers = {name: _number(value, f"{where}: {name}") for name, value in values.items()}
    if "seconds" in numbers and "stride_seconds" in numbers:
        return FeatureGrid(numbers["seconds"], numbers["stride_seconds"])
    missing = [name for name in ("fps", "stride") if name not in numbers]
    missing += [] if "window" in numbers or "offset" in numbers else ["window"]
    if missing:
        raise UserError(f"{where}: {' and '.join(missing)} missing; add them to derive times in seconds")
    window = numbers.get("window", 2 * numbers.get("offset", 0.0))
    middle = numbers.get("offset", window / 2)
    rate = numbers["fps"]
    return FeatureGrid(window / rate, numbers["stride"] / rate, (middle - window / 2) / rate)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UserError(f"{where} must be a number above 0, not {value!r}")
    return float(value)
