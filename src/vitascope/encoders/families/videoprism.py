"""VideoPrism (Zhao et al., ICML 2024): video encoders, and the video towers of the video-text models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import CARD_TEMPLATE, CheckpointLayout, Model, State, WeightSource
from vitascope.nn.configs.videoprism import VideoPrismConfig

SHAPES = {
    "base": VideoPrismConfig(dim=768, spatial=12, heads=12, mlp=3072),
    "large": VideoPrismConfig(dim=1024, spatial=24, heads=16, mlp=4096, grid=(8, 16, 16)),
    "giant": VideoPrismConfig(dim=1408, spatial=40, heads=16, mlp=6144, grid=(8, 16, 16)),
}
NORM = re.compile(r"norm\d?\.weight$")
CONFIG = {
    "hidden_size": "model_dim",
    "num_spatial_layers": "num_spatial_layers",
    "num_temporal_layers": "num_temporal_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "mlp_dim",
    "attn_logit_softcapping": "atten_logit_cap",
}
"""Keys of the published configurations by those of a transformers config.json."""


def from_flax(state: State) -> State:
    """Convert Flax parameters: unstack layers, transpose matrices, add 1 to norm scales, which are stored minus 1."""
    layers: State = {}
    for key, tensor in state.items():
        stacked = ".*." in key and tensor.ndim
        layers |= {key.replace("*", str(i)): one for i, one in enumerate(tensor)} if stacked else {key: tensor}
    return dict(as_torch(key, tensor) for key, tensor in layers.items())


def as_torch(key: str, tensor: Any) -> tuple[str, Any]:
    """Convert one Flax parameter to PyTorch; one of unexpected shape is left unchanged, for the loader to report."""
    base, _, kind = key.rpartition(".")
    if kind == "scale":
        return f"{base}.weight", tensor + 1
    if kind == "b":
        return f"{base}.bias", tensor.flatten()
    if kind == "w" and tensor.ndim == 3:  # width x heads x head width, also for the output projection
        return f"{base}.weight", tensor.flatten(1) if base.endswith("proj") else tensor.flatten(1).T
    if kind == "kernel" and tensor.ndim == 2:
        return f"{base}.weight", as_convolution(tensor) if base.startswith("patch_embed") else tensor.T
    return key, tensor


def as_convolution(matrix: Any) -> Any:
    """Reshape a patch embedding matrix, with rows ordered by y, x and color, to a convolution weight."""
    side = round((len(matrix) / 3) ** 0.5)
    return matrix.unflatten(0, (side, side, 3)).permute(3, 2, 0, 1) if len(matrix) == 3 * side**2 else matrix


def from_transformers(state: State) -> State:
    """Add 1 to the norm scales, which are stored minus 1."""
    return {key: tensor + 1 if NORM.search(key) else tensor for key, tensor in state.items()}


def numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration values from a transformers config.json; empty for other models."""
    vision = config.get("vision_config") or config
    if not str(vision.get("model_type")).startswith("videoprism"):
        return {}
    side, (_, *patch) = vision["image_size"], vision["tubelet_size"]
    places = [n // p for n, p in zip((side, side) if isinstance(side, int) else side, patch, strict=True)]
    values = {ours: vision[theirs] for theirs, ours in CONFIG.items()}
    return {**values, "patch_size": patch[0], "pos_emb_shape": [vision["num_frames"], *places]}


FLAX = CheckpointLayout(
    name="flax",
    mark=r"(params/)?patch_projection/",
    containers=("",),
    renames=(
        (r"^params/", ""),
        (r"^vision_encoder/", ""),
        (r"/", "."),
        (r"_encoder\.transformers_stack\.x_layers\.", ".*."),
        (r"_encoder\.transformers_stack\.x_layers_(\d+)\.", r".\1."),
        (r"^patch_projection\.linear\.", "patch_embed.proj."),
        (r"_pos_emb\.emb_var$", "_pos"),
        (r"_ln\.", "_norm."),
        (r"\.ff_layer\.layer_norm\.", ".norm2."),
        (r"\.ff_layer\.ffn_layer([12])\.linear\.", r".mlp.fc\1."),
        (r"\.layer_norm\.", ".norm1."),
        (r"\.self_attention\.([qkv])[a-z]+\.", r".attn.\1."),
        (r"\.self_attention\.post\.", ".attn.proj."),
    ),
    convert=from_flax,
)
TRANSFORMERS = CheckpointLayout(
    name="transformers",
    mark=r"(vision_model\.)?spatial_embeddings\.",
    containers=("",),
    surplus=(r"(head|head_layernorm|classifier)\.",),
    renames=(
        (r"^(video_model\.)?vision_model\.", ""),
        (r"^spatial_embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"_embeddings\.position_embeddings$", "_pos"),
        (r"^(spatial|temporal)_layers\.", r"\1."),
        (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
        (r"\.attention\.o_proj\.", ".attn.proj."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"^layernorm1\.", "spatial_norm."),
        (r"^layernorm2\.", "temporal_norm."),
    ),
    convert=from_transformers,
)
LAYOUTS = {
    "": (FLAX, TRANSFORMERS),
    "lvt-": (
        replace(
            FLAX,
            name="flax video-text",
            mark=r"(params/)?vision_encoder/",
            surplus=(r"(params/)?(text_encoder|auxiliary_encoder|contrastive_vision_pooler)/",),
        ),
        replace(
            TRANSFORMERS,
            name="transformers video-text",
            mark=r"(video_model\.)?vision_model\.",
            surplus=(r"text_model\.", r"(video_model\.)?(auxiliary_layers|head|head_layernorm)\."),
        ),
    ),
}
REJECTED = {
    "": replace(LAYOUTS["lvt-"][0], refused="it is a video-text model; load it as an lvt- variant"),
    "lvt-": replace(FLAX, refused="it is a video encoder without text; omit lvt-"),
}
CARD = replace(
    CARD_TEMPLATE,
    size=288,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    resize="square",
    pool="mean of the tokens after the final norm (no official pooling)",
    sampling="16 frames (large: 8) evenly over the whole video, one view",
    transform="squashed to 288 x 288 with Pillow's Lanczos filter (mediapy.resize_video in the authors' encoder demo, "
    "which takes square videos only; their Kinetics demo crops the center)",
    trained="36 M videos with captions, 582 M clips with noisy text, images with text",
    license="Apache-2.0",
)
ABOUT = {"": "video encoder", "lvt-": "video tower of the video-text model, without its pooling head"}
FILES = {"base": "base-f16r288", "large": "large-f8r288"}
PAGE = "https://github.com/google-deepmind/videoprism#released-models"


def _source(size: str, tower: str) -> WeightSource:
    if size not in FILES:
        return WeightSource(file=f"videoprism_v1_{size}.npz", page=PAGE)
    file = f"flax_{tower}{FILES[size]}".replace("-", "_") + "_repeated.npz"
    return WeightSource(file=file, repo=f"google/videoprism-{tower}{FILES[size]}", page=PAGE)


def _model(size: str, tower: str) -> Model:
    shape, letter = SHAPES[size], "g" if size == "giant" else size[0].upper()
    about = f"ViT-{letter}, {ABOUT[tower]}{'' if size in FILES else '; weights not released'}"
    return Model(
        about=about,
        card=replace(CARD, name=f"videoprism/{tower}{size}"),
        shape=shape,
        layouts=(*LAYOUTS[tower], REJECTED[tower]),
        source=_source(size, tower),
        presets={"native": {"frames": shape.grid[0]}},
        authors=PixelTransform(resize="square", filter="lanczos"),
        from_config=numbers,
    )


MODELS = {tower + size: _model(size, tower) for tower in LAYOUTS for size in (FILES if tower else SHAPES)}
