"""Pixel transforms against Pillow and OpenCV: filters, antialiasing, crop ratios, odd shapes, rotation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pixel_golden as golden
from helpers import SHARED
from vitascope.core.errors import UserError
from vitascope.core.pixel_transform import Filter, PixelTransform
from vitascope.core.types import Clip, Crop
from vitascope.video import decode, inspect
from vitascope.video.crops import Cutter
from vitascope.video.orientation import Orientation
from vitascope.video.resample import resize, square

CENTER = Crop()


def pillow(picture: np.ndarray, width: int, height: int, filter: Filter) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling[filter.upper()]))


def expected(picture: np.ndarray, transform: PixelTransform, size: int) -> np.ndarray:
    """Resize and center crop as torchvision does with Pillow, rounding as the transform says."""
    height, width = picture.shape[:2]
    short = int(size / transform.crop_ratio)
    w, h = (short, short * height // width) if width < height else (short * width // height, short)
    w, h = (short, short) if transform.resize == "square" else (w, h)
    offsets = [(w - size) / 2, (h - size) / 2]
    left, top = (int(o) if transform.crop_rounding == "down" else round(o) for o in offsets)
    return pillow(picture, w, h, transform.filter)[top : top + size, left : left + size]


def lossless(path: Path, picture: np.ndarray) -> Path:
    """`picture` as a lossless RGB video of one frame."""
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25, width=width, height=height, pix_fmt="bgr0")
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def decoded(path: Path, transform: PixelTransform, size: int, crop: Crop = CENTER) -> np.ndarray:
    ((_, pixels),) = decode(inspect(path), [Clip((0.0,), (0.0, 0.0), crop)], size, transform)
    return pixels[0]


def differ(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in gray levels."""
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
@settings(max_examples=20, deadline=None)
def test_every_filter_is_pillows(filter: Filter, size: tuple[int, int], target: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    actual = resize(picture, *target, filter=filter)
    assert np.abs(actual.astype(int) - pillow(picture, *target, filter)).max() <= 1


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("target", [(100, 56), (61, 110), (300, 170)])
def test_a_window_is_a_part_of_the_whole(filter: Filter, target: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    left, top, right, bottom = window = (target[0] // 3, 5, target[0] // 3 + 29, 47)
    part = resize(picture, *target, filter=filter, window=window)
    assert differ(part, pillow(picture, *target, filter)[top:bottom, left:right]) < 0.1 + 0.1 * (filter == "bilinear")


@pytest.mark.parametrize("case", np.load(golden.FILE).files)
def test_without_antialiasing_it_is_opencvs(case: str, tmp_path: Path) -> None:
    name, resized, *crop = case.split()
    transform = PixelTransform(
        resize="square" if resized == "square" else "shorter",
        antialias=False,
        crop_ratio=golden.RATIOS[crop[0] if crop else ""],
    )
    actual = decoded(lossless(tmp_path / "a.mkv", golden.frame(name)), transform, golden.SIZE)
    with np.load(golden.FILE) as file:
        assert differ(actual, file[case]) < 0.3
        assert np.abs(actual.astype(int) - file[case]).max() <= 1


@pytest.mark.parametrize("shape", [(90, 160), (161, 91), (101, 101), (120, 317), (40, 57), (64, 900)])
@pytest.mark.parametrize(
    "transform",
    [
        PixelTransform(filter="bicubic"),
        PixelTransform(filter="bicubic", crop_ratio=0.875),
        PixelTransform(filter="bicubic", crop_ratio=0.875, crop_rounding="down"),
        PixelTransform(crop_ratio=0.875),
        PixelTransform(resize="square", filter="lanczos"),
        PixelTransform(resize="square", filter="bicubic", crop_ratio=0.9),
    ],
)
def test_center_crops_are_pillows(shape: tuple[int, int], transform: PixelTransform, tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    actual = decoded(lossless(tmp_path / "a.mkv", picture), transform, 56)
    assert differ(actual, expected(picture, transform, 56)) < 0.5


def test_half_a_pixel_is_rounded_as_torchvision_or_as_transformers_does() -> None:
    even = [square(56 + odd, 56, 56)[0] for odd in range(8)]
    down = [square(56 + odd, 56, 56, rounding="down")[0] for odd in range(8)]
    assert (even, down) == ([0, 0, 1, 2, 2, 2, 3, 4], [0, 0, 1, 1, 2, 2, 3, 3])


def test_other_crops_take_the_filter_only(tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (80, 150, 3), np.uint8)
    path = lossless(tmp_path / "a.mkv", picture)
    cropped, whole = PixelTransform(filter="bicubic", crop_ratio=0.8), PixelTransform(filter="bicubic")
    for crop in (Crop(0, 3), Crop(2, 3), Crop(scale=256 / 224), Crop(box=(0.1, 0.2, 0.7, 0.9), flip=True)):
        np.testing.assert_array_equal(decoded(path, cropped, 32, crop), decoded(path, whole, 32, crop))
    box = np.ascontiguousarray(picture[16:72, 15:105])
    assert differ(decoded(path, whole, 32, Crop(box=(0.1, 0.2, 0.7, 0.9))), pillow(box, 32, 32, "bicubic")) < 0.5


def test_frames_are_turned_before_they_are_cropped() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (61, 107, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
    transform = PixelTransform(filter="lanczos", crop_ratio=0.875)
    upright = expected(np.ascontiguousarray(np.rot90(picture, -1)), transform, 32)
    cutter = Cutter(32, transform)
    cutter.by_angle[0] = Orientation(90)  # a frame made from an array has no display matrix
    assert differ(cutter.cut(frame, [Crop()])[0], upright) < 0.5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"crop_ratio": 0.0}, "crop_ratio must be above 0 and at most 1, not 0.0"),
        ({"crop_ratio": 1.2}, "crop_ratio must be above 0"),
        ({"filter": "lanczos", "antialias": False}, "'lanczos' needs antialiasing; without it there are nearest, bil"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        PixelTransform(**values)  # type: ignore[arg-type]


REAL = SHARED / "data" / "robustness" / "real"


@pytest.mark.parametrize("name", ["sample.mp4", "video_90.mov", "bbb_176x144_192kbps_15fps_mpeg4.mp4"])
@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos"])
def test_real_frames_are_pillows_of_the_decoded_frame(name: str, filter: Filter) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is not here")
    video = inspect(REAL / name)
    with av.open(str(REAL / name)) as file:
        frame = next(file.decode(video=0))
    whole = Cutter(1, PixelTransform(), Orientation(video.rotation, video.mirrored))._whole(
        frame, (frame.width, frame.height), {}
    )
    picture = np.ascontiguousarray(whole)
    transform = PixelTransform(filter=filter, crop_ratio=0.875)
    assert differ(decoded(REAL / name, transform, 112), expected(picture, transform, 112)) < 0.5
