"""Image and video models of transformers, loaded strictly: `hf:ID` from the hub, `hf:FOLDER` from the disk."""

from __future__ import annotations

import json
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

from vitascope.core.errors import UserError
from vitascope.core.types import RGB, Card
from vitascope.encoders.base import Encoder, NetworkEncoder, Tokens, fingerprint, framewise

VARIANTS: dict[str, str] = {}
TOWERS = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""Vision parts of models of image and text, by model type."""
HEADS = re.compile(
    r"(classifier|head|heads|decoder|encoder_to_decoder|text_model|text_projection|lm_head)\.|logit_(scale|bias)$"
    r"|(embeddings\.)?mask_token$"
)
"""What a file may hold beyond the encoder: heads, decoders and text towers, by the start of the key."""
IMAGENET: tuple[RGB, RGB] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI: tuple[RGB, RGB] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: tuple[RGB, RGB] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT: tuple[RGB, RGB] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
HABITS: dict[str, tuple[RGB, RGB, Literal["shorter", "square"]]] = {
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
"""Normalization and resize of a family as published, by the start of the model type, for folders that do not say."""
ANY_SIZE = ("dinov2", "dinov3")
"""Families made for other sizes than their table's; the preprocessor's size is theirs. Off its own size, transformers'
DINOv2 without registers resamples its table without the 0.1 of the official code: about 0.2 standard deviations."""
FRAMES = 16
"""Frames of a clip given to an image model, as TWLV-I does."""


class Preprocessing(NamedTuple):
    """How a model wants its pixels."""

    mean: RGB
    std: RGB
    resize: Literal["shorter", "square"]
    size: int | None
    """Side of the square input where the folder states one, pixels."""


class ImageModel(nn.Module):
    """A transformers image model: images to a grid of tokens and one vector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n c"]]:
        """The patch tokens and `pooled` vector; models without a plain token grid give a 1 x 1 grid of the vector."""
        out = self.model(pixel_values=images)
        states = out.last_hidden_state
        if states.ndim == 4:  # convolutional: channels first
            return states.permute(0, 2, 3, 1), pooled(out, states.flatten(2).transpose(1, 2))
        patch = getattr(self.model.config, "patch_size", None)
        h, w = (images.shape[2] // patch, images.shape[3] // patch) if isinstance(patch, int) else (0, 0)
        if not h or not 0 <= states.shape[1] - h * w <= 16:  # hierarchical: patches were merged on the way
            h = w = math.isqrt(states.shape[1])
            if h * w != states.shape[1]:
                vector = pooled(out, states)
                return vector[:, None, None], vector
        tokens = states[:, states.shape[1] - h * w :]  # class and register tokens come first
        return tokens.unflatten(1, (h, w)), pooled(out, tokens)


class VideoModel(nn.Module):
    """A transformers video model: clips to a grid of tokens and one vector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Tokens in (t, h, w) order and `pooled` vector; ValueError for another size than the model's own."""
        config: Any = self.model.config
        t, y, x = clips.shape[2:]
        if (t, y, x) != (frames_of(config), side_of(config), side_of(config)):
            asked, own = f"{t} x {y} x {x}", f"{frames_of(config)} x {side_of(config)} x {side_of(config)}"
            raise UserError(
                f"{config.model_type} reads clips of {own}, not {asked}; others give silently wrong positions"
            )
        name: str = self.model.main_input_name  # type: ignore[assignment]
        skip = {"skip_predictor": True} if config.model_type == "vjepa2" else {}
        out = self.model(**{name: clips.transpose(1, 2)}, **skip)
        tubelet, patch = block_of(config)
        t, h, w = t // tubelet, y // patch, x // patch
        tokens = out.last_hidden_state[:, out.last_hidden_state.shape[1] - t * h * w :]
        if config.model_type == "timesformer":  # time is fastest there
            return Tokens(tokens.unflatten(1, (h, w, t)).permute(0, 3, 1, 2, 4), pooled(out, tokens))
        return Tokens(tokens.unflatten(1, (t, h, w)), pooled(out, tokens))


def pooled(out: Any, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n c"]:
    """The summary that the model defines, else the mean of the patch tokens; see `summary_of`."""
    name = summary_of(out)
    return torch.as_tensor(getattr(out, name)).flatten(1) if name else tokens.mean(1)


def summary_of(out: Any) -> str:
    """Name of the model's own summary vector: `image_embeds`, else `pooler_output`; empty where it has none."""
    names = ("image_embeds", "pooler_output")
    return next((name for name in names if getattr(out, name, None) is not None), "")


def frames_of(config: Any) -> int | None:
    """Frames of a clip, None for an image model."""
    return getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)


def side_of(config: Any) -> int | None:
    """Side of the square input, pixels, where the configuration says it."""
    size = getattr(config, "crop_size", None) or getattr(config, "image_size", None)
    return size[0] if isinstance(size, (list, tuple)) else size


def block_of(config: Any) -> tuple[int, int]:
    """Frames and pixels a side of one token of a video model."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, (list, tuple)):
        return tubelet[0], tubelet[1]
    patch = config.patch_size
    return tubelet, patch[0] if isinstance(patch, (list, tuple)) else patch


def build(name: str) -> Encoder:
    """The model of the folder or hub id `name`; ValueError naming each tensor that does not fit, or the file to add."""
    library = _transformers()
    folder = _folder(name)
    with _quiet(library):
        model, loaded = _load(library, folder)
        card = _card(model, folder, "hf:" + (folder.resolve().name if Path(name).is_dir() else name))
    if frames_of(model.config):
        return NetworkEncoder(card, VideoModel(model), loaded=loaded)
    return framewise(ImageModel(model), card, loaded=loaded)


def _card(model: Any, folder: Path, name: str) -> Card:
    frames, habits = frames_of(model.config), _habits(folder, model.config.model_type)
    own = habits.size if model.config.model_type.startswith(ANY_SIZE) else None
    size = own or side_of(model.config) or habits.size
    if size is None:
        raise UserError(f"{folder}: no image_size in config.json; put the model's preprocessor_config.json there")
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
        raise UserError(f"hf: encoders need transformers ({error}): pip install 'vitascope[hf]'") from error
    return transformers


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """No load report and no progress bar: what they would say is checked here."""
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
    """The folder with config.json and the weights: on the disk, else in the hub's cache, else fetched."""
    if name and Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise UserError(f"{name}: no config.json there; put the model's config.json and model.safetensors there")
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise UserError(f"hf:{name}: no such folder, and no id of the form owner/model")
    import huggingface_hub

    for kinds in (["*.json", "*.safetensors"], ["*.json", "pytorch_model*.bin"]):
        try:
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=kinds))
        except Exception as error:  # its errors share no base: no network, no such model, gated, a bad answer
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
            remedy = f"put config.json and model.safetensors of {name} into a folder and say hf:FOLDER"
            raise UserError(f"hf:{name}: no such folder, and not fetched ({cause}); {remedy}") from error
        if any(folder.glob(kinds[1])):
            break
    return folder


def _load(library: Any, folder: Path) -> tuple[Any, str]:
    """The model with every tensor from the folder, and a line that says so."""
    kind = _class(library, folder)
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
        raise UserError(f"{folder}: the weights do not fit {kind.__name__} of {total} tensors: {listed}")
    parts = Counter(key.split(".")[0] for key in left_out)
    heads = "; left out: " + ", ".join(f"{part} ({n})" for part, n in parts.items()) if parts else ""
    return model.eval(), f"{kind.__name__}: all of {total} tensors{heads}"


def _class(library: Any, folder: Path) -> Any:
    """The transformers class that encodes; code from the folder is never run."""
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}/config.json: {str(error).strip().splitlines()[0]}") from error
    if config.model_type == "vit_mae":
        raise UserError(f"{folder}: vit_mae masks its input at random, so it embeds nothing twice alike; take a ViT")
    if config.model_type in TOWERS:
        return getattr(library, TOWERS[config.model_type])
    kind = library.MODEL_MAPPING.get(type(config), None)
    if kind is None or getattr(kind, "main_input_name", "") not in ("pixel_values", "pixel_values_videos"):
        raise UserError(f"{folder}: model type {config.model_type!r} is no image or video encoder of transformers")
    if getattr(config, "vision_config", None) is not None:
        raise UserError(f"{folder}: {config.model_type!r} holds more than a vision encoder; save its vision part alone")
    return kind


def _read(kind: Any, folder: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    if kind.__name__.startswith("VideoPrism"):
        settings["attn_implementation"] = "eager"  # it caps the logits, which fused attention cannot
    try:
        model, info = kind.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below with all else that does not fit
            local_files_only=True,
            dtype=torch.float32,
            **settings,
        )
    except Exception as error:  # safetensors and pickles fail with errors of their own
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: the weights cannot be read ({cause}); fetch model.safetensors again") from error
    return model, info


def _habits(folder: Path, model_type: str) -> Preprocessing:
    """From the folder's preprocessor file, else as the family was published; ValueError where neither is known."""
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if (folder / file).is_file():
            try:
                return _stated(json.loads((folder / file).read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{folder / file}: not a preprocessor of images ({error!r})") from error
    family = next((known for known in HABITS if model_type.startswith(known)), None)
    if family is None:
        missing = f"how {model_type!r} wants its pixels normalized is not known"
        raise UserError(f"{folder}: {missing}; put the model's preprocessor_config.json there")
    return Preprocessing(*HABITS[family], None)


def _stated(given: dict[str, Any]) -> Preprocessing:
    """The habits in a transformers preprocessor file: the cut's size is the network's where there is a cut."""
    mean, std = given.get("image_mean"), given.get("image_std")
    if not given.get("do_normalize", True) or mean is None or std is None:
        mean, std = UNIT
    whole = given.get("size") or {}
    cut = given.get("crop_size") if given.get("do_center_crop", given.get("crop_size") is not None) else None
    asked = cut or whole
    sides = asked if isinstance(asked, dict) else {"height": asked}
    size = next((sides[key] for key in ("height", "shortest_edge") if sides.get(key)), None)
    squash = isinstance(whole, dict) and "height" in whole and not cut
    red, green, blue = (float(v) for v in mean)
    low, middle, high = (float(v) for v in std)
    return Preprocessing((red, green, blue), (low, middle, high), "square" if squash else "shorter", size)
