"""How stored frames are turned for display: the eight orientations of display matrices and of EXIF."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type

T = TypeVar("T", bound=np.generic)
Picture = npt.NDArray[np.uint8]
"""An image, rows x columns x RGB."""
SLANT = 1.0
"""Deviation from a quarter turn that is rounded away, degrees, as in FFmpeg."""


class Orientation(NamedTuple):
    """A rotation, clockwise in degrees (0, 90, 180 or 270), and whether left and right are exchanged after it."""

    rotation: int = 0
    mirrored: bool = False

    @property
    def sideways(self) -> bool:
        """Whether rows become columns, so that width and height are exchanged."""
        return self.rotation % 180 == 90

    @property
    def angle(self) -> int:
        """The clockwise angle by which FFmpeg describes it, degrees: that of the upper edge of the stored picture."""
        return (180 - self.rotation) % 360 if self.mirrored else self.rotation

    def turn(self, picture: npt.NDArray[T]) -> npt.NDArray[T]:
        """The stored picture, or one plane of it, as displayed; a view."""
        turned = np.rot90(picture, -self.rotation // 90)
        return turned[:, ::-1] if self.mirrored else turned


STORED = Orientation()
"""Display as stored."""


def _unlisted(kind: type[Type], value: object) -> Type | None:
    """A member for side data that FFmpeg knows and PyAV does not list; None for what is no number."""
    if not isinstance(value, int):
        return None
    member: Any = object.__new__(kind)
    member._name_, member._value_ = f"UNLISTED_{value}", value
    named: Type = member
    return named


# PyAV gives no side data of a frame at all if one kind is not in its list, such as EXIF with FFmpeg 8.1
Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]


def oriented(frame: Any) -> Orientation:
    """How a decoded frame is turned by its display matrix, as FFmpeg turns it; as stored if the matrix is unusual."""
    matrix = display_matrix(frame)
    return (_orientation(*matrix) if matrix else None) or STORED


def strange_matrix(frame: Any) -> str:
    """The display matrix of a frame if it is none of the eight orientations and therefore ignored, else empty."""
    matrix = display_matrix(frame)
    if not matrix or _orientation(*matrix):
        return ""
    a, b, c, d = (v / 65536 for v in matrix)
    return f"[{a:.3g} {b:.3g}; {c:.3g} {d:.3g}]"


def display_matrix(frame: Any) -> tuple[int, ...]:
    """The entries a, b, c and d of a frame's display matrix, or nothing: (p, q) is shown at (a p + c q, b p + d q)."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    return tuple(np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]].tolist()) if matrix is not None else ()


def _orientation(a: int, b: int, c: int, d: int) -> Orientation | None:
    """The orientation of a matrix; None if it turns by anything but quarter turns, or flattens the picture."""
    mirrored = a * d - b * c < 0
    angle = math.degrees(math.atan2(b, -a if mirrored else a))
    rotation = round(angle / 90) * 90
    if a * d == b * c or abs(angle - rotation) > SLANT:
        return None
    return Orientation(rotation % 360, mirrored)
