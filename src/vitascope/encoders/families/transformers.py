"""Image and video models of transformers, loaded strictly: `hf:ID` from the hub, `hf:FOLDER` from disk."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import MissingPackageError, UserError, one_line
from vitascope.core.types import Card
from vitascope.encoders import preprocessor_files
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
FRAMES = 16
"""Frames per clip for an image model, as in TWLV-I."""


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
    with _quiet(library):
        model, loaded = _load(library, folder)
        card = _card(model, folder, "hf:" + (folder.resolve().name if Path(name).is_dir() else name))
    if frames_of(model.config):
        return NetworkEncoder(card, VideoModel(model), loaded=loaded)
    return framewise(ImageModel(model), card, loaded=loaded)


def _card(model: Any, folder: Path, name: str) -> Card:
    frames, kind = frames_of(model.config), model.config.model_type
    wanted = preprocessor_files.read(_transformers(), folder, kind, video=bool(frames))
    size = _input_size(model.config, folder, wanted.size)
    if frames:
        summary = "pooler_output" if getattr(model, "pooler", None) is not None else ""
        dim = model.config.hidden_size
    else:
        summary, dim = _image_summary(model, folder, size)
    return Card(
        name=name,
        digest=fingerprint(model.state_dict()),
        dim=dim,
        frames=frames or FRAMES,
        size=size,
        mean=wanted.mean,
        std=wanted.std,
        **asdict(wanted.pixels),
        pool=(summary or "mean of the patch tokens") + ("" if frames else ", mean over the frames"),
        image="repeat" if frames else "single",
    )


def _input_size(config: Any, folder: Path, wanted: int | None) -> int:
    """Side of the input, pixels: what the preprocessor gives; a video model must be of that size."""
    own = side_of(config)
    if wanted is None and own is None:
        raise UserError(f"{folder}: no image_size in config.json; put the model's preprocessor_config.json there")
    if wanted and own and frames_of(config) and wanted != own:
        problem = f"its preprocessor gives {wanted} x {wanted} pixels, and config.json says {own} x {own}"
        raise UserError(f"{folder}: {problem}; put the preprocessor_config.json of this model there")
    size: int = wanted or own  # type: ignore[assignment]
    return size


def _image_summary(model: Any, folder: Path, size: int) -> tuple[str, int]:
    """Name of an image model's own summary vector, if any, and the size of its vector, from an empty image."""
    image = torch.zeros(1, 3, size, size)
    try:
        with torch.no_grad():
            summary, (_, vector) = summary_of(model(pixel_values=image)), ImageModel(model)(image)
    except (ValueError, RuntimeError) as error:  # another size than that of its positions
        problem = f"the model does not take images of {size} x {size} pixels, which its preprocessor gives"
        raise UserError(f"{folder}: {problem} ({one_line(error)})") from error
    return summary, vector.shape[1]


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
