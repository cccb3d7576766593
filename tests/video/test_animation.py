"""Animated WebP and PNG are videos, frame by frame as Pillow shows them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from vitascope.core.types import Clip, Crop
from vitascope.video import decode, inspect

ALL = Crop(box=(0.0, 0.0, 1.0, 1.0))
LENGTHS = [100, 200, 50, 50, 300]
pytestmark = pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")


def animated(path: Path, **options: object) -> list[np.ndarray]:
    """An animation of five gray levels; the pictures."""
    pictures = [np.full((32, 48, 3), 30 + 40 * i, np.uint8) for i in range(5)]
    first, *others = (Image.fromarray(p) for p in pictures)
    first.save(path, save_all=True, append_images=others, duration=LENGTHS, **options)
    return pictures


@pytest.mark.parametrize("name", ["a.webp", "a.png", "renamed.mp4"])
def test_frames_and_times(tmp_path: Path, name: str) -> None:
    made = "a.webp" if name == "renamed.mp4" else name
    pictures = animated(tmp_path / made, **({"lossless": True} if made == "a.webp" else {}))
    path = (tmp_path / made).rename(tmp_path / name)
    video = inspect(path)
    np.testing.assert_allclose(video.times, [0, 0.1, 0.3, 0.35, 0.4], atol=1e-9)
    assert (video.kind, video.duration, video.width, video.height) == ("file", pytest.approx(0.7), 48, 32)
    ((_, pixels),) = decode(video, [Clip((0.65, 0.05, 0.25, 0.37), (0.0, 1.0), ALL)], 32)
    assert [round(p.mean()) for p in pixels] == [pictures[i][0, 0, 0] for i in (4, 0, 1, 3)]


def test_one_frame_is_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tmp_path / "a.webp", save_all=True)
    assert inspect(tmp_path / "a.webp").kind == "image"


def test_a_cut_animation_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)) for _ in range(5))
    first.save(path, save_all=True, append_images=others, duration=100, lossless=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    try:
        video = inspect(path)
        warnings = list(video.warnings)
        assert "truncated" in warnings[0]
        list(decode(video, [Clip(video.times, (0.0, 1.0))], 32, warnings=warnings))
    except ValueError as error:
        assert "no frame can be decoded" in str(error)


def test_an_animation_too_large_is_refused(tmp_path: Path) -> None:
    animated(tmp_path / "a.webp")
    data = bytearray((tmp_path / "a.webp").read_bytes())
    data[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(ValueError, match="16384 x 16384"):
        inspect(tmp_path / "a.webp")
