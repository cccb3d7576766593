"""Pixels: colors by the standards' formulas, resizing by Pillow, crops by arithmetic, normalization by the card."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import first_square, write_lossless
from vitascope.core.pixel_transform import Resize
from vitascope.core.types import Card, Clip, Crop
from vitascope.encoders.preprocess import to_tensor
from vitascope.video import decode, inspect
from vitascope.video.resample import resize, shorter, square


def pillow(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with coarse and fine detail."""
    rng = np.random.default_rng(seed)
    coarse = pillow(rng.integers(0, 256, (5, 6, 3), np.uint8), width, height).astype(float)
    return np.clip(coarse + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_resize_is_pillows_antialiased_bilinear(size: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    actual = resize(picture, *target)
    assert np.abs(actual.astype(int) - pillow(picture, *target)).max() <= 1


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_is_a_part_of_the_whole(data: st.DataObject) -> None:
    size = [data.draw(st.integers(1, 40)) for _ in range(2)]
    width, height = (data.draw(st.integers(2, 60)) for _ in range(2))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    part = resize(picture, width, height, window=(left, top, right, bottom))
    np.testing.assert_array_equal(part, resize(picture, width, height)[top:bottom, left:right])


@given(width=st.integers(1, 4000), height=st.integers(1, 4000), short=st.integers(1, 512))
def test_the_short_side_becomes_short(width: int, height: int, short: int) -> None:
    w, h = shorter(width, height, short)
    assert min(w, h) == short
    assert (w > h) == (width > height and w != h)
    assert abs(max(w, h) - short * max(width, height) / min(width, height)) < 1


@given(st.integers(224, 900), st.integers(224, 900), st.integers(1, 6))
def test_squares_are_evenly_spaced_along_the_long_side(width: int, height: int, count: int) -> None:
    actual = [square(width, height, 224, index=i, count=count) for i in range(count)]
    long = max(width, height)
    starts = [(long - 224) / 2] if count == 1 else [i * ((long - 224) // (count - 1)) for i in range(count)]
    for (left, top, right, bottom), start in zip(actual, starts, strict=True):
        along, across = (left, top) if width >= height else (top, left)
        assert abs(along - start) <= 0.5
        assert abs(across - (min(width, height) - 224) / 2) <= 0.5
        assert (right - left, bottom - top) == (224, 224)
        assert 0 <= left <= right <= width
        assert 0 <= top <= bottom <= height


def one(path: Path, crop: Crop, size: int, resize: Resize = "shorter") -> np.ndarray:
    return first_square(path, size, resize, crop).astype(float)


@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (101, 101), (301, 203), (64, 255)])
@pytest.mark.parametrize("crop", [Crop(), Crop(scale=256 / 224), Crop(0, 3), Crop(2, 3), Crop(1, 2, flip=True)])
def test_crops_are_pillows_resize_and_a_cut(tmp_path: Path, shape: tuple[int, int], crop: Crop) -> None:
    picture = smooth(*shape)
    size = 112
    short = {1.0: 112, 256 / 224: 128}[crop.scale]
    height, width = shape
    w, h = (short, short * height // width) if width <= height else (short * width // height, short)
    long = max(w, h) - size
    along = round(long / 2) if crop.count == 1 else crop.index * (long // (crop.count - 1))
    across = round((short - size) / 2)
    left, top = (along, across) if w >= h else (across, along)
    expected = pillow(picture, w, h)[top : top + size, left : left + size]
    expected = expected[:, ::-1] if crop.flip else expected
    actual = one(write_lossless(tmp_path / "a.mkv", picture), crop, size)
    assert np.abs(actual - expected).mean() < 0.5


def test_square_habit_squashes_only_the_plain_center(tmp_path: Path) -> None:
    picture = smooth(60, 200)
    path = write_lossless(tmp_path / "a.mkv", picture)
    assert np.abs(one(path, Crop(), 64, "square") - pillow(picture, 64, 64)).mean() < 0.5
    assert np.abs(one(path, Crop(0, 3), 64, "square") - one(path, Crop(0, 3), 64)).max() == 0


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 1.0, 1.0), (0.25, 0.5, 0.75, 1.0), (0.1, 0.2, 0.1, 0.2), (0.9, 0.9, 1.0, 1.0)]
)
def test_a_box_is_cut_out_and_squashed(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    picture = smooth(80, 120)
    left, right = round(box[0] * 120), max(round(box[2] * 120), round(box[0] * 120) + 1)
    top, bottom = round(box[1] * 80), max(round(box[3] * 80), round(box[1] * 80) + 1)
    expected = pillow(np.ascontiguousarray(picture[top:bottom, left:right]), 48, 48)
    path = write_lossless(tmp_path / "a.mkv", picture)
    assert np.abs(one(path, Crop(box=box), 48) - expected).mean() < 0.5
    assert np.abs(one(path, Crop(box=box, flip=True), 48) - expected[:, ::-1]).mean() < 0.5


@pytest.mark.parametrize("shape", [(8, 4000), (4000, 8), (1, 3000)])
def test_extreme_pictures_cost_no_more_than_their_square(tmp_path: Path, shape: tuple[int, int]) -> None:
    picture = smooth(*shape)
    path = write_lossless(tmp_path / "a.mkv", picture)
    tracemalloc.start()
    actual = one(path, Crop(1, 3), 112)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    long = 112 * max(shape) // min(shape)
    start = (long - 112) // 2
    low = int(start / long * max(shape)) - 3
    near = picture[:, low : low + 12 + 224 // 112 * 8] if shape[1] > shape[0] else picture[low : low + 28]
    assert abs(actual.mean() - near.mean()) < 12


MATRICES = {"bt709": (av.video.reformatter.Colorspace.ITU709, 0.2126, 0.0722), "bt601": (None, 0.299, 0.114)}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p", "yuv422p10le"])
def test_colors_follow_the_standard(tmp_path: Path, matrix: str, full: bool, pixels: str) -> None:
    """Flat patches of random Y'CbCr against R' = Y' + 2 (1 - Kr) Cr and so on (ITU-R BT.601-7, BT.709-6)."""
    _, kr, kb = MATRICES[matrix]
    rng = np.random.default_rng(3)
    luma, blue, red = rng.uniform(0.2, 0.8, 16), rng.uniform(-0.15, 0.15, 16), rng.uniform(-0.15, 0.15, 16)
    offset, span, chroma = (0, 255, 255) if full else (16, 219, 224)
    depth = 4 if pixels.endswith("10le") else 1
    planes = [np.round(v * depth) for v in (offset + span * luma, 128 + chroma * blue, 128 + chroma * red)]
    clean = [planes[0] / depth, planes[1] / depth, planes[2] / depth]
    y, cb, cr = (clean[0] - offset) / span, (clean[1] - 128) / chroma, (clean[2] - 128) / chroma
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    expected = np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], -1) * 255
    frame = av.VideoFrame(64 * 4, 64 * 4, pixels)
    for plane, values in zip(frame.planes, planes, strict=True):
        kind = np.uint16 if depth == 4 else np.uint8
        patch = np.kron(values.reshape(4, 4), np.ones((plane.height // 4, plane.width // 4))).astype(kind)
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : patch.shape[1] * patch.itemsize] = patch.view(np.uint8)
        plane.update(rows.tobytes())
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    with av.open(str(tmp_path / "a.mkv"), "w") as file:
        stream = file.add_stream("ffv1", rate=25, width=256, height=256, pix_fmt=pixels)
        stream.codec_context.color_range = 2 if full else 1
        frame.color_range = 2 if full else 1
        if matrix == "bt709":
            stream.codec_context.colorspace = 1
            frame.colorspace = 1
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    actual = one(tmp_path / "a.mkv", Crop(), 64).reshape(4, 16, 4, 16, 3)[:, 4:12, :, 4:12].mean((1, 3)).reshape(16, 3)
    assert np.abs(actual - np.clip(expected, 0, 255)).max() < 1.6
    assert np.abs(actual - np.clip(expected, 0, 255)).mean() < 0.7


def test_every_frame_of_a_clip_has_its_own_size(tmp_path: Path) -> None:
    for i, shape in enumerate([(40, 60), (80, 50), (64, 64)]):
        Image.fromarray(np.full((*shape, 3), 50 * i + 50, np.uint8)).save(tmp_path / f"{i}.png")
    ((_, pixels),) = decode(inspect(tmp_path, fps=1), [Clip((0.0, 1.0, 2.0), (0.0, 3.0))], 32)
    assert [int(p.mean()) for p in pixels] == [50, 100, 150]


def card(mean: tuple[float, float, float], std: tuple[float, float, float]) -> Card:
    return Card(name="a/b", digest="0", dim=1, frames=2, size=5, mean=mean, std=std)


def test_tensors_are_normalized_by_the_card() -> None:
    pixels = torch.randint(0, 256, (2, 3, 5, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    actual = to_tensor(pixels, card(mean, std))
    assert (actual.shape, actual.dtype) == ((2, 3, 3, 5, 5), torch.float32)
    for c in range(3):
        expected = (pixels[..., c].numpy() / 255.0 - mean[c]) / std[c]
        np.testing.assert_allclose(actual[:, c].numpy(), expected, atol=1e-5)
