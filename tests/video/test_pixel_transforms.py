"""Pixel transforms against Pillow and OpenCV: filters, antialiasing, crop ratios, odd shapes, rotation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import pixel_golden as golden
from helpers import SHARED, first_square, write_lossless
from vitascope.core.errors import UserError
from vitascope.core.pixel_transform import CropRounding, Filter, PixelTransform
from vitascope.core.types import Crop
from vitascope.video import crops, inspect
from vitascope.video.crops import Cutter
from vitascope.video.orientation import Orientation
from vitascope.video.resample import resize, square

CENTER = Crop()
FIXED_POINT = 0.05
"""Levels by which weights of few bits may be off."""


def pillow(picture: np.ndarray, width: int, height: int, filter: Filter) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling[filter.upper()]))


def exactly(picture: np.ndarray, width: int, height: int, filter: Filter) -> np.ndarray:
    """Without rounding; what lies beyond black and white is cut between the passes too."""

    def resized(channel: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        whole = Image.fromarray(channel.astype(np.float32)).resize(size, Image.Resampling[filter.upper()])
        return np.asarray(whole).clip(0, 255)

    along = [resized(channel, (width, len(picture))) for channel in np.moveaxis(picture, -1, 0)]
    return np.stack([resized(channel, (width, height)) for channel in along], -1)


def expected(picture: np.ndarray, transform: PixelTransform, size: int) -> np.ndarray:
    """Resize and center crop as torchvision does with Pillow, rounding as the transform says."""
    height, width = picture.shape[:2]
    short = int(size / transform.crop_ratio)
    w, h = (short, short * height // width) if width < height else (short * width // height, short)
    w, h = (short, short) if transform.resize == "square" else (w, h)
    offsets = [(w - size) / 2, (h - size) / 2]
    left, top = (int(o) if transform.crop_rounding == "down" else round(o) for o in offsets)
    return pillow(picture, w, h, transform.filter)[top : top + size, left : left + size]


def decoded(path: Path, transform: PixelTransform, size: int, crop: Crop = CENTER) -> np.ndarray:
    return first_square(path, size, transform, crop)


def differ(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in gray levels."""
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
@example(size=(2, 58), target=(22, 43))
@settings(max_examples=20, deadline=None)
def test_every_filter_is_pillows(filter: Filter, size: tuple[int, int], target: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    actual = resize(picture, *target, filter=filter)
    width, height = target
    # along rows first: Pillow 13 takes the cheaper order, and overshoot is cut in between
    there = pillow(pillow(picture, width, size[0], filter), width, height, filter)
    magnitudes = {"bicubic": 1.25, "lanczos": 1.5}.get(filter, 1.0)  # most that weights of both signs add up to
    # half a level from rounding between the passes, so enlarged, and half a level from rounding at the end
    assert np.abs(actual - exactly(picture, width, height, filter)).max() <= 0.5 * magnitudes + 0.5 + FIXED_POINT
    # Pillow is as far from the exact value, and may be so on the other side of it
    assert np.abs(actual.astype(int) - there).max() <= 1 + (magnitudes > 1)


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
    actual = decoded(write_lossless(tmp_path / "a.mkv", golden.frame(name)), transform, golden.SIZE)
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
    actual = decoded(write_lossless(tmp_path / "a.mkv", picture), transform, 56)
    assert differ(actual, expected(picture, transform, 56)) < 0.5


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
@settings(max_examples=20, deadline=None)
def test_without_antialiasing_it_is_torchs(filter: Filter, size: tuple[int, int], target: tuple[int, int]) -> None:
    """What torchvision made of tensors before its version 0.17."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    tensor = torch.tensor(picture).permute(2, 0, 1)[None].float()
    there = F.interpolate(tensor, target[::-1], mode=filter, align_corners=False)[0].clamp(0, 255).round()
    actual = resize(picture, *target, filter=filter, antialias=False)
    assert np.abs(actual.astype(int) - there.permute(1, 2, 0).numpy()).max() <= 1


def test_half_a_pixel_is_rounded_as_the_authors_do() -> None:
    """As torchvision, as transformers, and as PyTorchVideo and SlowFast do."""
    words: tuple[CropRounding, ...] = ("even", "down", "up")
    even, down, up = ([square(56 + odd, 56, 56, rounding=word)[0] for odd in range(8)] for word in words)
    assert (even, down) == ([0, 0, 1, 2, 2, 2, 3, 4], [0, 0, 1, 1, 2, 2, 3, 3])
    assert up == [0, 1, 1, 2, 2, 3, 3, 4]


def test_other_crops_take_the_filter_only(tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (80, 150, 3), np.uint8)
    path = write_lossless(tmp_path / "a.mkv", picture)
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
def test_real_frames_are_pillows_of_the_decoded_frame(name: str) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is not here")
    video = inspect(REAL / name)
    with av.open(str(REAL / name)) as file:
        frame = next(file.decode(video=0))
    whole = Cutter(1, PixelTransform(), Orientation(video.rotation, video.mirrored))._whole(
        frame, (frame.width, frame.height), {}
    )
    picture = np.ascontiguousarray(whole)
    filters: tuple[Filter, ...] = ("bilinear", "bicubic", "lanczos")
    for filter in filters:
        transform = PixelTransform(filter=filter, crop_ratio=0.875)
        assert differ(decoded(REAL / name, transform, 112), expected(picture, transform, 112)) < 0.5, filter


def filmed(path: Path, codec: str, pixels: str, size: tuple[int, int]) -> Any:
    """A frame with saturated color, decoded from a file of one."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    picture = np.stack([np.sin(x / 5), np.cos(y / 7 + x / 9), np.sin(x * y / 50)], -1) * 70 + 128
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, width=width, height=height, pix_fmt=pixels, options={"qp": "4"})
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), "rgb24").reformat(format=pixels)))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        return next(file.decode(video=0))


FILMED = [
    *(("ffv1", pixels) for pixels in ("yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuv410p", "yuv420p10le")),
    *(("libx264", "yuv420p"), ("libx264", "yuv422p10le"), ("libx264", "yuv444p"), ("mjpeg", "yuvj420p")),
]
"""Codecs and pixel formats; H.264 has chroma at the left of its pixels, the others in the middle."""


@pytest.mark.parametrize(("codec", "pixels"), FILMED)
@pytest.mark.parametrize("size", [(96, 160), (121, 87), (40, 64)])
def test_planes_resampled_before_they_become_rgb_are_rgb_resampled(
    codec: str, pixels: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    even = (size[0] // 2 * 2, size[1] // 2 * 2) if codec == "libx264" else size
    frame = filmed(tmp_path / "a.mkv", codec, pixels, even)
    made = {}
    for way in ("planes", "rgb"):
        monkeypatch.setattr(crops, "planar", lambda frame, way=way: way == "planes")
        for rotation in (0, 90, 180, 270):
            for filter, antialias in (("bicubic", True), ("lanczos", True), ("bilinear", False), ("bicubic", False)):
                transform = PixelTransform(filter=filter, antialias=antialias, crop_ratio=0.9)
                cutter = Cutter(48, transform)
                cutter.by_angle[0] = Orientation(rotation, rotation == 90)
                made[way, rotation, filter, antialias] = cutter.cut(frame, [CENTER])[0]
    for way, *rest in made:
        assert differ(made["planes", *rest], made["rgb", *rest]) < 0.5, (way, rest)
