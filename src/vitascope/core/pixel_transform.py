"""How a frame becomes the square input of an encoder: what decodes it, resizing, its filter, and the center crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_origin, get_type_hints

from vitascope.core.errors import UserError

Resize: TypeAlias = Literal["shorter", "square"]
Filter: TypeAlias = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Resampling filters, as Pillow calls them."""
CropRounding: TypeAlias = Literal["even", "down", "up"]
"""How half a pixel at the edge of a center crop is rounded: to even (torchvision), down (transformers) or up
(PyTorchVideo, SlowFast)."""
Decoder: TypeAlias = Literal["pyav", "torchcodec", "nvdec"]
"""PyAV, TorchCodec, or TorchCodec with the decoder of an NVIDIA GPU; each rounds colors in its own way."""
NOT_ANTIALIASED = ("nearest", "bilinear", "bicubic")
"""Filters that also exist without antialiasing."""


def transform_problem(filter: Filter, antialias: bool, crop_ratio: float) -> str:
    """What is wrong with the values of a transform; empty if they go together."""
    if not 0 < crop_ratio <= 1:
        return f"crop_ratio must be above 0 and at most 1, not {crop_ratio}"
    if not antialias and filter not in NOT_ANTIALIASED:
        return f"filter {filter!r} needs antialiasing; without it there are {', '.join(NOT_ANTIALIASED)}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTransform:
    """The steps from a frame to a square of pixels; the defaults are those of the TWLV-I report.

    Normalization is not part of it. A transform describes the center crop; other crops use its filter only.
    """

    resize: Resize = "shorter"
    """Resize the shorter side and crop, or resize the whole frame to a square."""
    filter: Filter = "bilinear"
    """Resampling filter."""
    antialias: bool = True
    """Widen the filter when shrinking (Pillow), or always read the nearest pixels only (OpenCV, tensors of torch)."""
    crop_ratio: float = 1.0
    """Side of the center crop relative to the side that is resized before it: 0.875 for 256 to 224 pixels."""
    crop_rounding: CropRounding = "even"
    """Rounding of the offset of the center crop."""
    decoder: Decoder = "pyav"
    """What decodes video files."""

    def __post_init__(self) -> None:
        if problem := transform_problem(self.filter, self.antialias, self.crop_ratio):
            raise UserError(problem)

    @classmethod
    def of(cls, transform: PixelTransform | Resize) -> PixelTransform:
        """A transform, or the one with that `resize`."""
        return cls(resize=transform) if isinstance(transform, str) else transform

    @classmethod
    def literals(cls) -> dict[str, Any]:
        """The fields with a fixed set of values."""
        return {name: hint for name, hint in get_type_hints(cls).items() if get_origin(hint) is Literal}

    @property
    def default_filter(self) -> bool:
        """Whether the filter is the antialiased bilinear one."""
        return self.filter == "bilinear" and self.antialias

    def short_side(self, size: int) -> int:
        """Pixels of the short side (or of the square) before a center crop of `size` pixels, rounded down."""
        return int(size / self.crop_ratio + 1e-6)
