"""The difficulty levels in one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What makes a level hard; none of it depends on a label."""

    cameras: tuple[str, ...]
    """Camera styles, equally likely: static, handheld, pan, dolly."""
    camera_speed: float
    """Most that the camera moves any twin in the image, pixels a frame (of 112 pixels, 12 frames per second)."""
    distractors: tuple[int, int]
    """Least and most distractors."""
    backgrounds: tuple[str, ...]
    """Patterns of the far wall, equally likely."""
    ground: float
    """Probability of a ground plane that runs to the vanishing point."""
    shutter: float
    """Exposure, frame intervals; 0 is instantaneous."""
    slant: float
    """Most that coming nearer also moves a thing across the image, frame sides from the farthest to the nearest."""
    contrast: float
    """Saturation and contrast of the twins' colors."""


LEVELS = {
    "easy": Level(
        cameras=("static",),
        camera_speed=0.0,
        distractors=(0, 2),
        backgrounds=("gradient", "clouds"),
        ground=0.0,
        shutter=0.0,
        slant=0.0,
        contrast=1.0,
    ),
    "medium": Level(
        cameras=("static", "handheld", "pan", "dolly"),
        camera_speed=0.5,
        distractors=(2, 4),
        backgrounds=("gradient", "clouds", "weave", "grain"),
        ground=0.5,
        shutter=0.5,
        slant=0.1,
        contrast=1.0,
    ),
    "hard": Level(
        cameras=("handheld", "pan", "dolly"),
        camera_speed=0.9,
        distractors=(4, 7),
        backgrounds=("clouds", "weave", "grain"),
        ground=0.8,
        shutter=0.8,
        slant=0.2,
        contrast=0.7,
    ),
}
"""Easy to hard. Classes, sizes and speeds of the twins are the same in all."""
