"""Image and video models of transformers, loaded strictly: `hf:ID` from the hub, `hf:FOLDER` from disk.

Frames are resized and cropped as the folder's own preprocessor file says, with `+view=report` behind the name as in the
TWLV-I report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from vitascope.core import option_text
from vitascope.core.errors import MissingPackageError, UserError, one_line
from vitascope.core.fields import FieldOption
from vitascope.core.files import read_json, require_regular_file
from vitascope.core.log import log
from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.text import escaped, nearest
from vitascope.core.types import Card
from vitascope.encoders import preprocessor_files
from vitascope.encoders.base import Encoder, NetworkEncoder, fingerprint, framewise
from vitascope.encoders.spec import VIEW_MEANING, VIEWS
from vitascope.encoders.transformers_networks import (
    ImageModel,
    VideoModel,
    XClipVideo,
    frames_of,
    side_of,
    summary_of,
)
from vitascope.encoders.weights import reader as checkpoint

VARIANTS: dict[str, str] = {}
TOWERS = {
    "clip": "CLIPVisionModelWithProjection",
    "clip_vision_model": "CLIPVisionModelWithProjection",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "metaclip_2": "MetaClip2VisionModelWithProjection",
    "chinese_clip": "ChineseCLIPModel",
    "altclip": "AltCLIPModel",
    "blip": "BlipModel",
    "xclip": "XCLIPModel",
}
"""Vision towers of image-text models, by model type, or the whole model if its tower cannot be loaded alone."""
WHOLE = {
    "ChineseCLIPModel": ("vision_model",),
    "AltCLIPModel": ("vision_model",),
    "BlipModel": ("vision_model",),
    "XCLIPModel": ("vision_model", "visual_projection", "mit"),
}
"""Parts of whole models that the encoder consists of."""
WITHOUT_PROJECTION = {
    "CLIPVisionModelWithProjection": "CLIPVisionModel",
    "MetaClip2VisionModelWithProjection": "MetaClip2VisionModel",
}
"""Classes of the same tower for files without its projection, such as fine-tuned ones."""
TIMM = "is a model of timm; load it as that of a family, such as dinov2/base=FOLDER or pe/base=FOLDER"
REMEDIES = {
    "vit_mae": "masks its input at random, so its embeddings are not reproducible; use a ViT",
    "siglip2": "takes patches of images of any shape; use a SigLIP 2 of fixed size",
    "siglip2_vision_model": "takes patches of images of any shape; use a SigLIP 2 of fixed size",
    "timm_wrapper": TIMM,
    "xclip_vision_model": "is half of a video encoder; use the folder of the whole X-CLIP",
}
"""Why a model type is refused, and what to use, where it is not for its kind."""
HEADS = re.compile(
    r"(classifier|head|heads|decoder|encoder_to_decoder|text_model|text_projection|lm_head)\.|logit_(scale|bias)$"
    r"|(embeddings\.)?mask_token$"
)
"""Tensors that a file may contain beyond the encoder (heads, decoders, text towers), by the start of their names."""
POOLER = "pooler.layernorm."
"""Pooler of BEiT and data2vec: the norm of the mean of the patch tokens, which their classes do not always have."""
FC_NORM = {"fc_norm.weight", "fc_norm.bias"}
"""Norm of the mean of the tokens in VideoMAEForVideoClassification."""
AGAIN = "download the model again"
MAX_SIDE, MAX_LAYERS = 4096, 1000
"""Far more pixels and blocks than any model has: building one of absurd numbers takes for ever."""
PER_BYTE, MANY = 8, 10_000_000
"""Parameters that a byte of a weight file holds at most, however it is quantized, and those that are built anyway."""
FRAMES = 16
"""Frames per clip for an image model, as in TWLV-I."""


def build(text: str) -> Encoder:
    """Load the model `ID_OR_FOLDER[+view=..]`; `UserError` names the tensors that do not fit, or a missing file."""
    library = _transformers()
    name, view = spelled(text)
    folder = _folder(name)
    for file in (path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".bin")):
        require_regular_file(file)
    with _quiet(library):
        model, loaded = _load(library, folder)
        try:
            card = _card(model, folder, "hf:" + (folder.resolve().name if Path(name).is_dir() else name), view)
        except (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:  # odd values in it
            raise UserError(f"{folder}/config.json: not that of an encoder ({one_line(error)}); {AGAIN}") from error
    if frames_of(model.config):
        network = model if isinstance(model, XClipVideo) else VideoModel(model)
        return NetworkEncoder(card, network, loaded=loaded)
    return framewise(ImageModel(model), card, loaded=loaded)


def spelled(text: str) -> tuple[str, str]:
    """The folder or hub id and the view of `text`; UserError for options that there are not."""
    ends = [len(text), *(i for i in reversed(range(len(text))) if text[i] == "+")]
    end = next((i for i in ends if Path(text[:i]).is_dir()), ends[-1])  # a folder may have a + in its name
    options = option_text.once(option_text.parse(text[end:], path=False).options, f"hf:{text}")
    there = f"hf: encoders take {' or '.join(f'+view={view}' for view in VIEWS)} only"
    if unknown := options.keys() - {"view"}:
        raise UserError(f"hf:{text}: no option {min(unknown)!r}; {there}")
    view = options.get("view", "authors")
    if view not in VIEWS:
        raise UserError(f"hf:{text}: no view {view!r}{nearest(view, VIEWS)}; {there}")
    return text[:end], view


def view_option(text: str) -> FieldOption:
    """The one option that `hf:` encoders have, with its value in `text`."""
    return FieldOption("view", " | ".join(VIEWS), spelled(text)[1], "", VIEW_MEANING)


def _card(model: Any, folder: Path, name: str, view: str) -> Card:
    frames, kind = frames_of(model.config), model.config.model_type
    wanted = preprocessor_files.read(_transformers(), folder, kind, video=bool(frames))
    pixels = PixelTransform(resize=wanted.pixels.resize) if view == "report" else wanted.pixels
    size = _input_size(model.config, folder, wanted.size)
    _warn_of_rest(folder, size, getattr(model.config, "patch_size", None))
    if frames:
        summary, dim = video_summary(model), getattr(model, "dim", model.config.hidden_size)
    else:
        summary, dim = _image_summary(model, folder, size)
    return Card(
        name=name + "+view:report" * (pixels != wanted.pixels),
        digest=fingerprint(model.state_dict()),
        dim=dim,
        frames=frames or FRAMES,
        size=size,
        mean=wanted.mean,
        std=wanted.std,
        **asdict(pixels),
        pool=(summary or "mean of the patch tokens") + ("" if frames else ", mean over the frames"),
        image="repeat" if frames else "single",
    )


def _warn_of_rest(folder: Path, size: int, patch: Any) -> None:
    if isinstance(patch, int) and size % patch:
        unseen = f"the last {size % patch} pixels of rows and columns are not seen"
        log.warning("%s: size %d is no multiple of the patch size %d: %s", folder, size, patch, unseen)


def video_summary(model: Any) -> str:
    """What the vector of a video model is; empty for the mean of its patch tokens."""
    if isinstance(model, XClipVideo):
        return "pooler_output of get_video_features"
    if getattr(model, "fc_norm", None) is not None:
        return "fc_norm of the mean of the patch tokens"
    return "pooler_output" if getattr(model, "pooler", None) is not None else ""


def _input_size(config: Any, folder: Path, wanted: int | None) -> int:
    """Side of the input, pixels: what the preprocessor gives; a video model must be of that size."""
    own = side_of(config)
    if wanted is None and own is None:
        raise UserError(f"{folder}: no image_size in config.json; put the model's preprocessor_config.json there")
    if wanted and own and frames_of(config) and wanted != own:
        problem = f"its preprocessor gives {wanted} x {wanted} pixels, and config.json says {own} x {own}"
        raise UserError(f"{folder}: {problem}; put the preprocessor_config.json of this model there")
    size = wanted or own
    if type(size) is not int or not 0 < size <= MAX_SIDE:
        raise UserError(
            f"{folder}: images of {size!r:.40} pixels; the size is a whole number up to {MAX_SIDE}; {AGAIN}"
        )
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
    _check_size(kind, folder)
    model, info, kind = _read_variant(library, kind, folder)
    unexpected, prefix = set(info["unexpected_keys"]), f"{model.base_model_prefix}."
    if unexpected & FC_NORM and model.config.model_type == "videomae":
        unexpected -= FC_NORM
        _add_norm(model, folder)
    left_out = _heads(unexpected, prefix, folder)
    wrong = [f"missing {key}" for key in sorted(info["missing_keys"])]
    wrong += [f"unexpected {key}" for key in sorted(unexpected - set(left_out))]
    wrong += [f"{key} is {list(a)}, not {list(b)}" for key, a, b in sorted(info["mismatched_keys"])]
    total = len(model.state_dict())
    if wrong:
        listed = "; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise UserError(f"{folder}: the weights do not fit {kind.__name__} with {total} tensors: {escaped(listed)}")
    parts = WHOLE.get(kind.__name__, ())
    left_out = [key.removeprefix(prefix) for key in left_out]
    left_out += [key for key in model.state_dict() if parts and key.partition(".")[0] not in parts]
    encoder = XClipVideo(model) if len(parts) > 1 else model.vision_model if parts else model
    return encoder.eval(), _coverage(kind.__name__, len(encoder.state_dict()), left_out)


def _coverage(kind: str, used: int, left_out: Sequence[str]) -> str:
    """The coverage in one line."""
    parts = Counter(key.split(".")[0] for key in left_out)
    return f"{kind}: all of {used} tensors" + (
        "; left out: " + ", ".join(f"{part} ({n})" for part, n in parts.items()) if parts else ""
    )


def _read_variant(library: Any, kind: Any, folder: Path) -> tuple[Any, dict[str, Any], Any]:
    """The model of class `kind`, without the projection, the pooler or the predictor that the file lacks."""
    model, info = _read(kind, folder)
    missing = info["missing_keys"]
    if kind.__name__ in WITHOUT_PROJECTION and set(missing) == {"visual_projection.weight"}:
        kind = getattr(library, WITHOUT_PROJECTION[kind.__name__])
        model, info = _read(kind, folder)
    elif missing and all(key.startswith("pooler.") for key in missing):
        model, info = _read(kind, folder, add_pooling_layer=False)
    elif any(key.removeprefix(f"{model.base_model_prefix}.").startswith(POOLER) for key in info["unexpected_keys"]):
        model, info = _read(kind, folder, add_pooling_layer=True)
    elif missing and kind.__name__ == "VJEPA2Model" and all(key.startswith("predictor.") for key in missing):
        model.predictor, info["missing_keys"] = None, ()  # the encoder does not use it
    return model, info, kind


def _heads(unexpected: Collection[str], prefix: str, folder: Path) -> list[str]:
    """The tensors beyond the encoder: those with the name of a head, and those beside the encoder in a larger model."""
    larger = bool(unexpected) and any(name.startswith(prefix) for name in _names(folder))
    beside = {key for key in unexpected if larger and not key.startswith(prefix)}
    return sorted(key for key in unexpected if key in beside or HEADS.match(key.removeprefix(prefix)))


def _names(folder: Path) -> Iterator[str]:
    """The tensor names of the safetensors files in a folder."""
    for path in folder.glob("*.safetensors"):
        with suppress(SafetensorError), safe_open(path, framework="pt") as file:  # not all of them need be the model's
            yield from file.keys()


def _add_norm(model: Any, folder: Path) -> None:
    """Add the norm that VideoMAE's classifier applies to the mean of the tokens, as `fc_norm`; it ends the encoder."""
    content = checkpoint.read(folder).content
    model.fc_norm = torch.nn.LayerNorm(model.config.hidden_size)  # transformers has this epsilon, the authors 1e-6
    try:
        model.fc_norm.load_state_dict({key.removeprefix("fc_norm."): content[key].float() for key in FC_NORM})
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{folder}: fc_norm does not fit the model ({one_line(error)})") from error


def _class(library: Any, folder: Path) -> Any:
    """The transformers class of the encoder; code from the folder is never run."""
    read_json(folder / "config.json", AGAIN, dict[str, Any])
    try:
        config = library.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # their checks of a config have errors of their own
        text = (folder / "config.json").read_text(encoding="utf-8", errors="replace")
        if '"architecture"' in text and '"model_type"' not in text:
            raise UserError(f"{folder}: {TIMM}") from error
        raise UserError(f"{folder}/config.json: {one_line(error)}") from error
    if config.model_type in REMEDIES:
        raise UserError(f"{folder}: {config.model_type} {REMEDIES[config.model_type]}")
    if config.model_type in TOWERS:
        return getattr(library, TOWERS[config.model_type])
    if getattr(config, "vision_config", None) is not None:
        remedy = "save its vision part alone, as in model.vision_model.save_pretrained(FOLDER)"
        raise UserError(f"{folder}: {config.model_type!r} is more than a vision encoder; {remedy}")
    kind = library.MODEL_MAPPING.get(type(config), None)
    if kind is None or getattr(kind, "main_input_name", "") not in ("pixel_values", "pixel_values_videos"):
        raise UserError(f"{folder}: model type {config.model_type!r} is not an image or video encoder of transformers")
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
    if held and count > max(PER_BYTE * held, MANY):
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
