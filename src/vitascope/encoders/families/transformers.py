"""Image and video models of transformers, loaded strictly: `hf:ID` from the hub, `hf:FOLDER` from disk."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import MissingPackageError, UserError, one_line
from vitascope.core.files import read_json, require_regular_file
from vitascope.core.types import RGB, Card
from vitascope.encoders.base import Encoder, NetworkEncoder, Tokens, fingerprint, framewise

VARIANTS: dict[str, str] = {}
TOWERS = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""Vision towers of image-text models, by model type."""
HEADS = re.compile(
    r"(classifier|head|heads|decoder|encoder_to_decoder|text_model|text_projection|lm_head)\.|logit_(scale|bias)$"
    r"|(embeddings\.)?mask_token$"
)
"""Tensors that a file may contain beyond the encoder (heads, decoders, text towers), by the start of their names."""
IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI: tuple[RGB, RGB] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: tuple[RGB, RGB] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT: tuple[RGB, RGB] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
PREPROCESSING: dict[str, tuple[RGB, RGB, Literal["shorter", "square"]]] = {
    "clip": (*OPENAI, "shorter"),
    "siglip": (*HALF, "square"),
    "dinov2": (*IMAGENET, "shorter"),
    "dinov3": (*IMAGENET, "square"),
    "vit": (*HALF, "square"),
    "videomae": (*IMAGENET, "shorter"),
    "vjepa2": (*IMAGENET, "shorter"),
    "timesformer": (*IMAGENET, "shorter"),
    "vivit": (*HALF, "shorter"),
    "videoprism": (*UNIT, "square"),
}
"""Published normalization and resizing by start of the model type, for folders without a preprocessor file."""
ANY_SIZE = ("dinov2", "dinov3")
"""Families used at other sizes than that of their position table, namely the preprocessor's. At those sizes, DINOv2
without registers in transformers lacks the official code's offset of 0.1 in resampling: about 0.2 std difference."""
AGAIN = "download the model again"
MAX_SIDE, MAX_LAYERS = 4096, 1000
"""Far more pixels and blocks than any model has: building one of absurd numbers takes for ever."""
PER_BYTE = 8
"""Parameters that a byte of a weight file holds at most, however it is quantized."""
FRAMES = 16
"""Frames per clip for an image model, as in TWLV-I."""


class Preprocessing(NamedTuple):
    """The input preprocessing of a model."""

    mean: RGB
    std: RGB
    resize: Literal["shorter", "square"]
    size: int | None
    """Side of the square input, pixels; None if the folder does not specify it."""


class ImageModel(nn.Module):
    """A transformers image model, from images to token grids and vectors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n c"]]:
        """The patch tokens and the pooled vector; without a regular token grid, the vector as a 1 x 1 grid."""
        out = self.model(pixel_values=images)
        states = out.last_hidden_state
        if states.ndim == 4:  # convolutional: channels first
            return states.permute(0, 2, 3, 1), pooled(out, states.flatten(2).transpose(1, 2))
        patch = getattr(self.model.config, "patch_size", None)
        h, w = (images.shape[2] // patch, images.shape[3] // patch) if isinstance(patch, int) else (0, 0)
        if not h or not 0 <= states.shape[1] - h * w <= 16:  # hierarchical: patches are merged between stages
            h = w = math.isqrt(states.shape[1])
            if h * w != states.shape[1]:
                vector = pooled(out, states)
                return vector[:, None, None], vector
        tokens = states[:, states.shape[1] - h * w :]  # class and register tokens come first
        return tokens.unflatten(1, (h, w)), pooled(out, tokens)


class VideoModel(nn.Module):
    """A transformers video model, from clips to token grids and vectors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Tokens in (t, h, w) order and the pooled vector; `UserError` for another input size than the model's."""
        config: Any = self.model.config
        t, y, x = clips.shape[2:]
        if (t, y, x) != (frames_of(config), side_of(config), side_of(config)):
            size, own = f"{t} x {y} x {x}", f"{frames_of(config)} x {side_of(config)} x {side_of(config)}"
            raise UserError(f"{config.model_type} takes clips of {own}, not {size}, for which its positions are wrong")
        name: str = self.model.main_input_name  # type: ignore[assignment]
        skip = {"skip_predictor": True} if config.model_type == "vjepa2" else {}
        out = self.model(**{name: clips.transpose(1, 2)}, **skip)
        tubelet, patch = block_of(config)
        t, h, w = t // tubelet, y // patch, x // patch
        tokens = out.last_hidden_state[:, out.last_hidden_state.shape[1] - t * h * w :]
        if config.model_type == "timesformer":  # time varies fastest
            return Tokens(tokens.unflatten(1, (h, w, t)).permute(0, 3, 1, 2, 4), pooled(out, tokens))
        return Tokens(tokens.unflatten(1, (t, h, w)), pooled(out, tokens))


def pooled(out: Any, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n c"]:
    """The model's own summary vector, otherwise the mean of the patch tokens; see `summary_of`."""
    name = summary_of(out)
    return torch.as_tensor(getattr(out, name)).flatten(1) if name else tokens.mean(1)


def summary_of(out: Any) -> str:
    """Name of the model's own summary vector, `image_embeds` or `pooler_output`; empty if it has none."""
    names = ("image_embeds", "pooler_output")
    return next((name for name in names if getattr(out, name, None) is not None), "")


def frames_of(config: Any) -> int | None:
    """Number of frames per clip; None for an image model."""
    return getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)


def side_of(config: Any) -> int | None:
    """Side of the square input, pixels; None if the configuration does not specify it."""
    size = getattr(config, "crop_size", None) or getattr(config, "image_size", None)
    return size[0] if isinstance(size, (list, tuple)) else size


def block_of(config: Any) -> tuple[int, int]:
    """Size of one token of a video model: frames, and side in pixels."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, (list, tuple)):
        return tubelet[0], tubelet[1]
    patch = config.patch_size
    return tubelet, patch[0] if isinstance(patch, (list, tuple)) else patch


def build(name: str) -> Encoder:
    """Load the model in a folder or with a hub id; `UserError` names the tensors that do not fit, or a missing file."""
    library = _transformers()
    folder = _folder(name)
    for file in (path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        require_regular_file(file)
    with _quiet(library):
        model, loaded = _load(library, folder)
        try:
            card = _card(model, folder, "hf:" + (folder.resolve().name if Path(name).is_dir() else name))
        except (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:  # odd values in it
            raise UserError(f"{folder}/config.json: not that of an encoder ({one_line(error)}); {AGAIN}") from error
    if frames_of(model.config):
        return NetworkEncoder(card, VideoModel(model), loaded=loaded)
    return framewise(ImageModel(model), card, loaded=loaded)


def _card(model: Any, folder: Path, name: str) -> Card:
    frames, habits = frames_of(model.config), _preprocessing(folder, model.config.model_type)
    own = habits.size if model.config.model_type.startswith(ANY_SIZE) else None
    size = own or side_of(model.config) or habits.size
    if size is None:
        raise UserError(f"{folder}: no image_size in config.json; put the model's preprocessor_config.json there")
    if type(size) is not int or not 0 < size <= MAX_SIDE:
        raise UserError(
            f"{folder}: images of {size!r:.40} pixels; the size is a whole number up to {MAX_SIDE}; {AGAIN}"
        )
    if frames:
        summary = "pooler_output" if getattr(model, "pooler", None) is not None else ""
        dim = model.config.hidden_size
    else:
        image = torch.zeros(1, 3, size, size)
        with torch.no_grad():
            summary, (_, vector) = summary_of(model(pixel_values=image)), ImageModel(model)(image)
        dim = vector.shape[1]
    return Card(
        name=name,
        digest=fingerprint(model.state_dict()),
        dim=dim,
        frames=frames or FRAMES,
        size=size,
        mean=habits.mean,
        std=habits.std,
        resize=habits.resize,
        pool=(summary or "mean of the patch tokens") + ("" if frames else ", mean over the frames"),
        image="repeat" if frames else "single",
    )


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise MissingPackageError(f"hf: encoders need transformers ({error}): pip install 'vitascope[hf]'") from error
    return transformers


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Suppress the load report and progress bar of transformers; their content is checked here."""
    log = library.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(50)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()


def _folder(name: str) -> Path:
    """The folder with config.json and the weights: local, from the hub's cache, or downloaded."""
    if name and Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise UserError(f"{name}: no config.json; put the model's config.json and model.safetensors there")
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise UserError(f"hf:{name}: no such folder, and not a hub id of the form owner/model")
    import huggingface_hub

    for kinds in (["*.json", "*.safetensors"], ["*.json", "pytorch_model*.bin"]):
        try:
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=kinds))
        except Exception as error:  # the errors of the hub share no base class
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
            remedy = f"put config.json and model.safetensors of {name} into a folder and use hf:FOLDER"
            raise UserError(f"hf:{name}: no such folder, and download failed ({cause}); {remedy}") from error
        if any(folder.glob(kinds[1])):
            break
    return folder


def _load(library: Any, folder: Path) -> tuple[Any, str]:
    """The model with all tensors from the folder, and a line about the coverage."""
    kind = _class(library, folder)
    _check_size(kind, folder)
    model, info = _read(kind, folder)
    if info["missing_keys"] and all(key.startswith("pooler.") for key in info["missing_keys"]):
        model, info = _read(kind, folder, add_pooling_layer=False)
    left_out = sorted(key for key in info["unexpected_keys"] if HEADS.match(key))
    wrong = [f"missing {key}" for key in sorted(info["missing_keys"])]
    wrong += [f"unexpected {key}" for key in sorted(set(info["unexpected_keys"]) - set(left_out))]
    wrong += [f"{key} is {list(a)}, not {list(b)}" for key, a, b in sorted(info["mismatched_keys"])]
    total = len(model.state_dict())
    if wrong:
        listed = "; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise UserError(f"{folder}: the weights do not fit {kind.__name__} with {total} tensors: {listed}")
    parts = Counter(key.split(".")[0] for key in left_out)
    heads = "; left out: " + ", ".join(f"{part} ({n})" for part, n in parts.items()) if parts else ""
    return model.eval(), f"{kind.__name__}: all of {total} tensors{heads}"


def _class(library: Any, folder: Path) -> Any:
    """The transformers class of the encoder; code from the folder is never run."""
    read_json(folder / "config.json", AGAIN, dict[str, Any])
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # their checks of a config have errors of their own
        raise UserError(f"{folder}/config.json: {one_line(error)}") from error
    if config.model_type == "vit_mae":
        raise UserError(
            f"{folder}: vit_mae masks its input at random, so its embeddings are not reproducible; use a ViT"
        )
    if config.model_type in TOWERS:
        return getattr(library, TOWERS[config.model_type])
    kind = library.MODEL_MAPPING.get(type(config), None)
    if kind is None or getattr(kind, "main_input_name", "") not in ("pixel_values", "pixel_values_videos"):
        raise UserError(f"{folder}: model type {config.model_type!r} is not an image or video encoder of transformers")
    if getattr(config, "vision_config", None) is not None:
        raise UserError(f"{folder}: {config.model_type!r} is more than a vision encoder; save only its vision part")
    return kind


def _check_size(kind: Any, folder: Path) -> None:
    """Raise UserError for a configuration of a network that is far larger than the weights beside it."""
    where = f"{folder}/config.json"
    try:
        config = kind.config_class.from_pretrained(folder, local_files_only=True)
        layers = getattr(config, "num_hidden_layers", 0)
        if isinstance(layers, int) and layers > MAX_LAYERS:
            raise UserError(f"{where}: {layers} layers, but no model has more than {MAX_LAYERS}; {AGAIN}")
        with torch.device("meta"):
            count = sum(tensor.numel() for tensor in kind(config).parameters())
    except UserError:
        raise
    except Exception:  # loading it says what is wrong
        return
    held = sum(p.stat().st_size for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
    if held and count > PER_BYTE * held:
        raise UserError(f"{where}: describes {count:,} parameters, but the weights have {held:,} bytes; {AGAIN}")


def _read(kind: Any, folder: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    if kind.__name__.startswith("VideoPrism"):
        settings["attn_implementation"] = "eager"  # fused attention cannot cap logits
    try:
        model, info = kind.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported with the other mismatches
            local_files_only=True,
            dtype=torch.float32,
            **settings,
        )
    except Exception as error:  # safetensors and pickles fail with errors of their own
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: the weights cannot be read ({cause}); download model.safetensors again") from error
    return model, info


def _preprocessing(folder: Path, model_type: str) -> Preprocessing:
    """Preprocessing from the folder's preprocessor file, else the family's published one; `UserError` if unknown."""
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if (folder / file).is_file():
            config = read_json(folder / file, AGAIN, dict[str, Any])
            try:
                return _from_config(config)
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
                raise UserError(f"{folder / file}: not an image preprocessor ({error!r})") from error
    family = next((prefix for prefix in PREPROCESSING if model_type.startswith(prefix)), None)
    if family is None:
        missing = f"the input normalization of {model_type!r} is unknown"
        raise UserError(f"{folder}: {missing}; put the model's preprocessor_config.json there")
    return Preprocessing(*PREPROCESSING[family], None)


def _from_config(config: dict[str, Any]) -> Preprocessing:
    """Preprocessing from the content of a preprocessor file; the size is that of the center crop if there is one."""
    mean, std = config.get("image_mean"), config.get("image_std")
    if not config.get("do_normalize", True) or mean is None or std is None:
        mean, std = UNIT
    resized = config.get("size") or {}
    crop = config.get("crop_size") if config.get("do_center_crop", config.get("crop_size") is not None) else None
    target = crop or resized
    sides = target if isinstance(target, dict) else {"height": target}
    size = next((sides[key] for key in ("height", "shortest_edge") if sides.get(key)), None)
    squash = isinstance(resized, dict) and "height" in resized and not crop
    red, green, blue = (float(v) for v in mean)
    low, middle, high = (float(v) for v in std)
    return Preprocessing((red, green, blue), (low, middle, high), "square" if squash else "shorter", size)
