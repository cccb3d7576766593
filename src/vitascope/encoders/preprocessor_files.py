"""The preprocessor file of a transformers folder: obeyed in full, or refused by the settings that cannot be.

Classes of transformers have their own default settings and, some of them, their own arithmetic of sizes. Defaults come
from the installed classes; `OWN_STEPS` lists those whose steps were compared with ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.core.pixel_transform import Filter, PixelTransform
from vitascope.core.types import RGB

Settings = Mapping[str, Any]
FILES = {
    "image": ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"),
    "video": ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json"),
}
"""Files by kind of model, the first that exists; the last contains one part per modality."""
CLASS = ("image_processor_type", "video_processor_type", "feature_extractor_type")
"""Settings that name the class."""
GENERIC: Settings = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "resample": 2,
}
"""Settings of a file that names no class."""
IMAGENET: Settings = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SQUARE_224: Settings = {"size": {"height": 224, "width": 224}, "default_to_square": True}
TORCHVISION_ONLY: dict[str, Settings] = {
    "VJEPA2": {**GENERIC, **IMAGENET, "size": {"shortest_edge": 292}, "do_center_crop": True, "crop_size": 256},
    "DINOv3ViT": {**GENERIC, **IMAGENET, **SQUARE_224},
    "Timesformer": {**GENERIC, **IMAGENET, "size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224},
}
"""Default settings of classes that exist for torchvision only."""
OWN_STEPS = ("VideoMAE", "Vivit", "Beit", "Segformer", "ConvNext", "Levit", "PoolFormer", "EfficientNet")
"""Classes with steps of their own that are obeyed here."""
STEPS = {"resize", "center_crop", "rescale", "normalize", "process_image", "_preprocess"}
"""Methods that a class with steps of its own overrides."""
OBEYED = {
    *CLASS,
    *("do_resize", "size", "resample", "crop_pct", "do_center_crop", "crop_size", "default_to_square"),
    *("do_rescale", "rescale_factor", "offset", "rescale_offset", "do_normalize", "image_mean", "image_std"),
    "include_top",
}
HARMLESS = {
    *("do_convert_rgb", "do_sample_frames", "do_reduce_labels", "num_frames", "fps", "processor_class", "data_format"),
    *("input_data_format", "return_tensors", "return_metadata", "device", "disable_grouping", "model_input_names"),
    *("_valid_processor_keys", "_valid_kwargs_names", "_processor_class", "transformers_version", "num_channels"),
}
"""Settings without effect on the pixels of a decoded RGB frame."""
FILTERS: dict[int, Filter] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Filters by Pillow's number."""
PUBLISHED: dict[str, Settings] = {
    "clip": {CLASS[0]: "CLIPImageProcessor"},
    "metaclip_2": {CLASS[0]: "CLIPImageProcessor"},
    "altclip": {CLASS[0]: "CLIPImageProcessor"},
    "chinese_clip": {CLASS[0]: "ChineseCLIPImageProcessor"},
    "blip": {CLASS[0]: "BlipImageProcessor"},
    "siglip": {CLASS[0]: "SiglipImageProcessor"},
    "dinov2": {CLASS[0]: "BitImageProcessor", "size": {"shortest_edge": 256}, **IMAGENET},
    "dinov3": {CLASS[0]: "DINOv3ViTImageProcessor"},
    "vit": {CLASS[0]: "ViTImageProcessor"},
    "videomae": {CLASS[0]: "VideoMAEImageProcessor", **IMAGENET},
    "vjepa2": {CLASS[1]: "VJEPA2VideoProcessor"},
    "timesformer": {CLASS[0]: "VideoMAEImageProcessor", **IMAGENET},
    "vivit": {CLASS[0]: "VivitImageProcessor"},
    "videoprism": {"size": {"height": 288, "width": 288}, "resample": 1, "do_normalize": False},
    "xclip": {CLASS[0]: "VideoMAEImageProcessor", **IMAGENET},
}
"""Published settings by start of the model type, for folders without a file."""


class Preprocessing(NamedTuple):
    """The input preprocessing of a model: `(pixel / 255 - mean) / std` of a square of `size` pixels."""

    mean: RGB
    std: RGB
    pixels: PixelTransform
    size: int | None
    """None if the folder does not specify it."""


class Geometry(NamedTuple):
    """Sides in pixels: what the frame is resized to (a square, or its short side), and the crop, if any."""

    side: int
    squash: bool
    crop: int | None


def read(library: Any, folder: Path, model_type: str, *, video: bool) -> Preprocessing:
    """Preprocessing from the folder's file, else the published one of `model_type`.

    UserError names the settings that are not obeyed, or says that the preprocessing is unknown.
    """
    for name in FILES["video" if video else "image"]:
        config = _content(folder / name, video=video)
        if config is not None:
            return from_settings(library, config, str(folder / name))
    family = next((prefix for prefix in PUBLISHED if model_type.startswith(prefix)), None)
    if family is None:
        missing = f"the input normalization of {model_type!r} is unknown"
        raise UserError(f"{folder}: {missing}; put the model's preprocessor_config.json there")
    return from_settings(library, PUBLISHED[family], str(folder))._replace(size=None)


def _content(path: Path, *, video: bool) -> Settings | None:
    """The settings in a file; None if it does not exist or has none."""
    if not path.is_file():
        return None
    config = read_json(path, "download the model again")
    try:
        if path.name == "processor_config.json":
            parts = ("video_processor", "image_processor") if video else ("image_processor", "video_processor")
            config = next((config[part] for part in parts if config.get(part)), None)
        if config is not None and not isinstance(config, dict):
            raise TypeError("not an object")
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not an image preprocessor ({error!r})") from error
    return config


def from_settings(library: Any, config: Settings, where: str) -> Preprocessing:
    """What settings ask for, with the defaults of their class; UserError names those that are not obeyed."""
    try:
        return _obeyed(library, {key: value for key, value in config.items() if value is not None})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as error:
        raise UserError(f"{where}: not an image preprocessor ({error!r})") from error


def _obeyed(library: Any, given: Settings) -> Preprocessing:
    kind = next((str(given[key]) for key in CLASS if key in given), "")
    stem = re.sub(r"(FeatureExtractor|ImageProcessor|VideoProcessor)(Fast|Pil)?$", "", kind)
    values = {**defaults(library, stem), **given} if kind else {**GENERIC, **given}
    refused = _refused(values, given)
    geometry = _geometry(values, stem, refused)
    if refused:
        raise UserError(
            f"cannot be obeyed: {', '.join(refused)}; edit the file if the model does not need it, or encode with your "
            "own code (module:function)"
        )
    mean, std = normalization(values)
    return Preprocessing(mean, std, _transform(geometry, values), geometry.crop or geometry.side)


def defaults(library: Any, stem: str) -> dict[str, Any]:
    """The default settings of a class of transformers; UserError for one with other steps than ours."""
    if stem in TORCHVISION_ONLY:
        return dict(TORCHVISION_ONLY[stem])
    name = "VivitImageProcessor" if stem == "Vivit" else f"{stem}ImageProcessorPil"
    kind = getattr(library, name, None)
    if kind is None or (stem not in OWN_STEPS and _own_steps(kind)):
        raise UserError(
            f"the steps of the image processor {stem!r} are not known; replace the file by that of a generic one, such "
            "as CLIPImageProcessor, if its pixels are right"
        )
    settings = {key: value for key, value in kind().to_dict().items() if value is not None}
    return {**settings, "default_to_square": getattr(kind, "default_to_square", False)}


def _own_steps(kind: type) -> bool:
    """Whether a class of transformers overrides a step of its generic base."""
    base = next((parent for parent in kind.__mro__ if parent.__name__ == "PilBackend"), object)
    return any(getattr(kind, step, None) is not getattr(base, step, None) for step in STEPS)


def _refused(values: Settings, given: Settings) -> list[str]:
    """The settings that are not obeyed, as `name = value`."""
    refused = [f"{key} = {given[key]!r:.40}" for key in sorted(given.keys() - OBEYED - HARMLESS) if given[key]]
    refused += [] if values["do_resize"] else ["do_resize = False"]
    return refused + ([] if values["resample"] in FILTERS else [f"resample = {values['resample']!r}"])


def _geometry(values: Settings, stem: str, refused: list[str]) -> Geometry:
    """The sides that are resized and cropped to; what is not possible is added to `refused`."""
    side, squash, crop = _of_class(stem, Geometry(*_resized(values, refused), _cropped(values, refused)), values)
    if crop and crop > side:
        refused.append(f"crop_size = {crop} from {side} pixels, which pads")
    if not crop and not squash and (stem or values.get("do_center_crop") is False):
        refused.append("do_center_crop = False, which leaves images of other shapes than square")
    return Geometry(side, squash, crop)


def _of_class(stem: str, stated: Geometry, values: Settings) -> Geometry:
    """The sides as a class computes them from the stated ones."""
    side, squash, crop = stated
    if stem == "VJEPA2" and crop:
        return Geometry(int(crop * 256 / 224), False, crop)
    if stem == "Levit" and not squash:
        return Geometry(int(256 / 224 * side), False, crop)
    if stem == "PoolFormer" and values.get("crop_pct"):
        return Geometry(int(side / values["crop_pct"]), False, crop)
    if stem == "ConvNext":
        return Geometry(int(side / values["crop_pct"]), False, side) if side < 384 else Geometry(side, True, None)
    return stated


def _resized(values: Settings, refused: list[str]) -> tuple[int, bool]:
    """Side in pixels that a frame is resized to, and whether it is squashed to a square."""
    size = values.get("size")
    if isinstance(size, int):
        return size, bool(values.get("default_to_square"))
    sides = dict(zip(("height", "width"), size, strict=True)) if isinstance(size, list | tuple) else dict(size or {})
    sides = {key: value for key, value in sides.items() if value}
    if sides.keys() == {"shortest_edge"}:
        return int(sides["shortest_edge"]), False
    if sides.keys() != {"height", "width"} or sides["height"] != sides["width"]:
        refused.append(f"size = {sides}")
        return 1, True
    return int(sides["height"]), True


def _cropped(values: Settings, refused: list[str]) -> int | None:
    """Side of the center crop in pixels; None if there is none."""
    crop = values.get("crop_size")
    if not values.get("do_center_crop", crop is not None):
        return None
    if isinstance(crop, int):
        return crop
    height, width = (crop["height"], crop["width"]) if isinstance(crop, Mapping) else (crop or (None, None))
    if not height or height != width:
        refused.append(f"crop_size = {crop}")
        return None
    return int(height)


def _transform(geometry: Geometry, values: Settings) -> PixelTransform:
    """The transform; transformers rounds the offsets of crops down."""
    side, squash, crop = geometry
    return PixelTransform(
        resize="square" if squash else "shorter",
        filter=FILTERS[int(values["resample"])],
        crop_ratio=(crop or side) / side,
        crop_rounding="even" if squash and not crop else "down",
    )


def normalization(values: Settings) -> tuple[RGB, RGB]:
    """Mean and standard deviation for pixel values 0 to 1, with rescaling, offset and normalization folded in.

    The model gets `(pixel * factor - offset - mean) / std`. UserError if the file states no mean to normalize with.
    """
    factor = float(values["rescale_factor"]) if values["do_rescale"] else 1.0
    offset = 1.0 if values["do_rescale"] and (values.get("offset") or values.get("rescale_offset")) else 0.0
    mean, std = _stated(values) if values["do_normalize"] else ((0.0,) * 3, (1.0,) * 3)
    deviation = _channels(values["image_std"]) if values.get("include_top") else (1.0,) * 3  # divides once more
    unit = 255 * factor
    red, green, blue = (_short((offset + m) / unit) for m in mean)
    low, middle, high = (_short(s * d / unit) for s, d in zip(std, deviation, strict=True))
    return (red, green, blue), (low, middle, high)


def _stated(values: Settings) -> tuple[RGB, RGB]:
    """The mean and standard deviation in the settings."""
    if values.get("image_mean") is None or values.get("image_std") is None:
        raise UserError("it normalizes (do_normalize), but has no image_mean and image_std; add them")
    return _channels(values["image_mean"]), _channels(values["image_std"])


def _channels(value: Any) -> RGB:
    """One number per channel, from as many or from one for all; the value as the file has it."""
    red, green, blue = [float(value)] * 3 if isinstance(value, int | float) else [float(v) for v in value]
    return red, green, blue


def _short(value: float) -> float:
    """`value` to twelve digits, so that a factor written with sixteen digits does not show."""
    return float(f"{value:.12g}")
