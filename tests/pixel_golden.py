"""What OpenCV makes of a few frames, kept in tests/fixtures/pixels.npz since OpenCV is no dependency.

`python tests/pixel_golden.py` writes the file anew; that needs opencv-python-headless.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "fixtures" / "pixels.npz"
SHAPES = {"wide": (61, 107), "tall": (131, 75), "small": (24, 40), "double": (72, 72)}
SIZE = 36
RATIOS = {"": 1.0, "cropped": 0.875}


def frame(name: str) -> np.ndarray:
    """A frame with broad shapes, sharp edges, a fine grid and some noise; integers only, equal everywhere."""
    height, width = SHAPES[name]
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1)
    picture[(x // 9 + y // 7) % 4 == 0] += 60
    picture[(x + 2 * y) % 5 == 0] -= 45
    picture += ((x * 7919 + y * 104729) % 41 - 20)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def opencv(picture: np.ndarray, ratio: float) -> dict[str, np.ndarray]:
    """A short side resized and cropped as in VideoMAE's and V-JEPA's code, and a squashed frame."""
    import cv2

    height, width = picture.shape[:2]
    short = int(SIZE / ratio)
    size = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    left, top = round((size[0] - SIZE) / 2.0), round((size[1] - SIZE) / 2.0)
    return {
        "shorter": small[top : top + SIZE, left : left + SIZE],
        "square": cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR),
    }


if __name__ == "__main__":
    outputs = {
        f"{name} {resize} {crop}".strip(): result
        for name in SHAPES
        for crop, ratio in RATIOS.items()
        for resize, result in opencv(frame(name), ratio).items()
        if resize == "shorter" or not crop
    }
    np.savez_compressed(FILE, **outputs)
