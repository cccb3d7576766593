"""Preprocessor files of transformers: its own processors, run on frames, say what a folder asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from helpers import SHARED
from vitascope.core.errors import UserError
from vitascope.core.types import Card, Crop
from vitascope.encoders import preprocessor_files as files
from vitascope.encoders.load import load
from vitascope.encoders.preprocess import to_tensor
from vitascope.video.crops import Cutter

transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
GIVEN: dict[str, dict[str, Any]] = {
    "CLIP": {"image_processor_type": "CLIPImageProcessor"},
    "CLIP, old": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 40, "crop_size": 32, "resample": 3},
    "DINOv2": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 64}, "crop_size": 56},
    "lanczos": {"image_processor_type": "CLIPImageProcessorFast", "resample": 1, "size": {"shortest_edge": 230}},
    "box": {"image_processor_type": "CLIPImageProcessor", "resample": 4, "size": {"shortest_edge": 255}},
    "nearest": {"image_processor_type": "BitImageProcessor", "resample": 0},
    "ViT": {"image_processor_type": "ViTImageProcessor"},
    "ViT, old": {"feature_extractor_type": "ViTFeatureExtractor", "size": 48, **HALF},
    "Siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 48, "width": 48}},
    "DeiT": {"image_processor_type": "DeiTImageProcessor"},
    "Beit": {"image_processor_type": "BeitImageProcessor"},
    "Beit, cropped": {"image_processor_type": "BeitImageProcessor", "size": 256, "do_center_crop": True},
    "ConvNext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.9},
    "ConvNext, large": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "Levit": {"image_processor_type": "LevitImageProcessor"},
    "PoolFormer": {"image_processor_type": "PoolFormerImageProcessor", "crop_pct": 0.95},
    "EfficientNet": {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 64, "width": 64}},
    "EfficientNet, offset": {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True}
    | {"rescale_factor": 1 / 127.5, "size": {"height": 64, "width": 64}, "include_top": False},
    "VideoMAE": {"image_processor_type": "VideoMAEImageProcessor", "image_mean": [0.485, 0.456, 0.406]},
    "Vivit": {"image_processor_type": "VivitImageProcessor"},
    "Vivit, without offset": {
        "image_processor_type": "VivitImageProcessor",
        "offset": False,
        "rescale_factor": 1 / 255,
    },
    "not normalized": {"image_processor_type": "CLIPImageProcessor", "do_normalize": False},
    "not rescaled": {"image_processor_type": "CLIPImageProcessor", "do_rescale": False, "do_normalize": False},
    "mean of 0 to 255": {"image_processor_type": "CLIPImageProcessor", "do_rescale": False}
    | {"image_mean": [123.7, 116.3, 103.5], "image_std": [58.4, 57.1, 57.4]},
    "another factor": {"image_processor_type": "CLIPImageProcessor", "rescale_factor": 0.01},
    "one mean for all": {"image_processor_type": "ViTImageProcessor", "image_mean": 0.4, "image_std": 0.3},
}
SHAPES = [(180, 279), (279, 181), (200, 200)]


def frame(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height)
    y, x = np.mgrid[:height, :width]
    broad = np.stack([128 + 100 * np.sin(x / 17), 128 + 100 * np.cos(y / 23), (x + y) * 255 / (height + width)], -1)
    return np.clip(broad + rng.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)


def theirs(config: dict[str, Any], picture: np.ndarray) -> np.ndarray:
    kind = next(config[key] for key in files.CLASS if key in config)
    stem = kind.removesuffix("Fast").removesuffix("FeatureExtractor").removesuffix("ImageProcessor")
    name = "VivitImageProcessor" if stem == "Vivit" else f"{stem}ImageProcessorPil"
    settings = {key: value for key, value in config.items() if key not in files.CLASS}
    given = [picture] if stem in ("VideoMAE", "Vivit") else picture
    out = np.asarray(getattr(transformers, name)(**settings)(given, return_tensors="np")["pixel_values"])
    return out.reshape(-1, *out.shape[-3:])[0]


def ours(wanted: files.Preprocessing, picture: np.ndarray) -> np.ndarray:
    assert wanted.size
    fields = {f: getattr(wanted.pixels, f) for f in wanted.pixels.__slots__}
    card = Card(name="a", digest="", dim=1, frames=1, size=wanted.size, mean=wanted.mean, std=wanted.std, **fields)
    pixels = Cutter(card.size, card.pixels).cut(av.VideoFrame.from_ndarray(picture, "rgb24"), [Crop()])[0]
    return to_tensor(torch.from_numpy(pixels)[None, None], card)[0, :, 0].numpy()


@pytest.mark.parametrize("case", GIVEN)
def test_a_file_gives_what_its_processor_gives(case: str) -> None:
    wanted = files.from_settings(transformers, GIVEN[case], "file")
    for shape in SHAPES:
        picture = frame(*shape)
        expected, actual = theirs(GIVEN[case], picture), ours(wanted, picture)
        assert actual.shape == expected.shape
        levels = np.abs(actual - expected).mean((1, 2)) * 255 * np.array(wanted.std)
        assert levels.max() < 0.5, "gray levels"


VIDEO = {
    "V-JEPA 2": ({"video_processor_type": "VJEPA2VideoProcessor", "crop_size": 384}, 438, 384),
    "V-JEPA 2, sides": (
        {"video_processor_type": "VJEPA2VideoProcessor", "size": {"shortest_edge": 292}}
        | {"crop_size": {"height": 256, "width": 256}},
        292,
        256,
    ),
    "TimeSformer": ({"video_processor_type": "TimesformerVideoProcessor"}, 224, 224),
    "VideoMAE": ({"video_processor_type": "VideoMAEVideoProcessor", "size": {"shortest_edge": 256}}, 256, 224),
}


@pytest.mark.parametrize("case", VIDEO)
def test_video_processors(case: str) -> None:
    config, short, size = VIDEO[case]
    wanted = files.from_settings(transformers, config, "file")
    assert (wanted.pixels.short_side(size), wanted.size, wanted.pixels.filter) == (short, size, "bilinear")


def test_vivits_video_processor_has_its_offset() -> None:
    wanted = files.from_settings(transformers, {"video_processor_type": "VivitVideoProcessor"}, "file")
    assert (wanted.mean, wanted.std) == ((0.75,) * 3, (0.25,) * 3)


GENERIC = {**HALF, "size": {"shortest_edge": 40}, "crop_size": 32}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"do_resize": False}, "do_resize = False"),
        ({"do_pad": True}, "do_pad = True"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order = True"),
        ({"resample": 9}, "resample = 9"),
        ({"size": {"longest_edge": 224}}, "size = .*longest_edge"),
        ({"size": {"shortest_edge": 224, "longest_edge": 448}}, "longest_edge"),
        ({"size": {"height": 224, "width": 448}}, "'width': 448"),
        ({"crop_size": {"height": 32, "width": 24}}, "crop_size = .*24"),
        ({"crop_size": 64}, "crop_size = 64 from 40 pixels, which pads"),
        ({"do_center_crop": False}, "do_center_crop = False, which leaves images of other shapes"),
        ({"ensure_multiple_of": 14}, "ensure_multiple_of = 14"),
        ({"auto_map": {"AutoImageProcessor": "code.Mine"}}, "auto_map = "),
        ({"image_mean": None}, "has no image_mean and image_std"),
        ({"image_mean": [0.5]}, "not an image preprocessor"),
        ({"size": "224"}, "not an image preprocessor"),
        ({"rescale_factor": 0}, "not an image preprocessor"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "the steps of the image processor 'Siglip2' are not known"),
        ({"image_processor_type": "MobileViTImageProcessor"}, "'MobileViT' are not known"),
        ({"image_processor_type": "MyImageProcessor"}, "'My' are not known"),
    ],
)
def test_what_is_not_obeyed_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        files.from_settings(transformers, {**GENERIC, **changes}, "folder/preprocessor_config.json")
    assert str(caught.value).startswith("folder/preprocessor_config.json: ")
    assert "\n" not in str(caught.value)


def test_settings_without_effect_are_let_through() -> None:
    more = {"do_pad": False, "do_convert_rgb": True, "processor_class": "CLIPProcessor", "do_flip_channel_order": None}
    assert files.from_settings(transformers, {**GENERIC, **more}, "") == files.from_settings(transformers, GENERIC, "")


def test_a_factor_written_with_sixteen_digits_leaves_the_mean_as_it_is() -> None:
    wanted = files.from_settings(transformers, {**GENERIC, "rescale_factor": 0.00392156862745098}, "")
    assert (wanted.mean, wanted.std) == ((0.5,) * 3, (0.5,) * 3)


def test_files_by_kind_of_model(tmp_path: Path) -> None:
    def side(*, video: bool) -> int | None:
        return files.read(transformers, tmp_path, "vjepa2", video=video).size

    assert side(video=True) is None, "the published one, without a size"
    parts = {"image_processor": {**GENERIC, "crop_size": 30}, "video_processor": {**GENERIC, "crop_size": 28}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "X", **parts}))
    assert (side(video=True), side(video=False)) == (28, 30)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(GENERIC))
    assert (side(video=True), side(video=False)) == (32, 32)
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({**GENERIC, "crop_size": 24}))
    assert (side(video=True), side(video=False)) == (24, 32)
    (tmp_path / "video_preprocessor_config.json").write_text("[1]")
    with pytest.raises(UserError, match=r"video_preprocessor_config\.json: not an image preprocessor"):
        side(video=True)


@pytest.mark.parametrize("family", files.PUBLISHED)
def test_published_settings_can_be_obeyed(family: str, tmp_path: Path) -> None:
    wanted = files.read(transformers, tmp_path, family, video=False)
    assert wanted.size is None
    assert all(0 <= m < 1 and 0 < s <= 1 for m, s in zip(wanted.mean, wanted.std, strict=True))


def test_a_vivit_folder_sees_what_its_processor_gives() -> None:
    folder = SHARED / "cases" / "vivit_rescale"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    card = load(f"hf:{folder}").card
    expected, picture = np.load(folder / "vivit.px.npy"), np.load(folder / "frame.npy")
    pixels = Cutter(card.size, card.pixels).cut(av.VideoFrame.from_ndarray(picture, "rgb24"), [Crop()])[0]
    actual = to_tensor(torch.from_numpy(pixels)[None, None], card)[0, :, 0].numpy()
    assert (card.mean, card.std) == ((0.75,) * 3, (0.25,) * 3)
    assert np.abs(actual - expected.reshape(-1, *expected.shape[-3:])[0]).mean() * 255 * 0.25 < 0.5
    assert expected.min() < -2
