"""V-JEPA 2 (Assran et al., 2025) and 2.1 (2026): rotary positions, more data; 2.1 with a patch embedding for images.

A `.pt` file of V-JEPA 2 contains two different encoders: the target encoder, and under `encoder` the context encoder,
which is also the one in transformers files. `-context` variants read the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import CARD_TEMPLATE, CheckpointLayout, Model, WeightSource
from vitascope.nn.configs.video_vit import VideoViTConfig

LARGE = VideoViTConfig(dim=1024, depth=24, heads=16, mlp=4096, grid=(32, 16, 16), positions="rope3d", rope="tiled")
GIANT = replace(LARGE, dim=1408, depth=40, heads=22, mlp=6144)
SHAPES = {
    "large": LARGE,
    "huge": replace(LARGE, dim=1280, depth=32, mlp=5120),
    "giant": GIANT,
    "giant-384": replace(GIANT, grid=(32, 24, 24)),
}
NEW: dict[str, Any] = {"grid": (32, 24, 24), "rope": "interleaved", "rope_grid": 16, "image": "embed"}
SHAPES_2_1 = {
    "base-2.1": replace(LARGE, dim=768, depth=12, heads=12, mlp=3072, **NEW),
    "large-2.1": replace(LARGE, **NEW),
    "giant-2.1": replace(GIANT, **NEW),
    "gigantic-2.1": replace(LARGE, dim=1664, depth=48, heads=26, mlp=8192, **NEW),
}
FILES = {"large": "vitl", "huge": "vith", "giant": "vitg", "giant-384": "vitg-384"} | {
    "base-2.1": "vjepa2_1_vitb_dist_vitG_384",
    "large-2.1": "vjepa2_1_vitl_dist_vitG_384",
    "giant-2.1": "vjepa2_1_vitg_384",
    "gigantic-2.1": "vjepa2_1_vitG_384",
}
HUB = {"large": "vitl-fpc64-256", "huge": "vith-fpc64-256", "giant": "vitg-fpc64-256", "giant-384": "vitg-fpc64-384"}
WRAPPED = r"(?:module\.)?(?:backbone\.)?"
TARGET = CheckpointLayout(
    name="pre-training, target encoder",
    mark=rf"{WRAPPED}patch_embed\.proj\.weight$",
    containers=("target_encoder",),
    renames=((rf"^{WRAPPED}", ""),),
    surplus=(rf"{WRAPPED}pos_embed$",),  # unused remnant of an earlier stage; positions are rotary
)
CONTEXT = replace(TARGET, name="pre-training, context encoder", containers=("encoder",))
TRANSFORMERS = CheckpointLayout(
    name="transformers, context encoder",
    mark=r"(?:vjepa2\.)?encoder\.embeddings\.patch_embeddings\.proj\.weight$",
    containers=("",),
    renames=(
        (r"^(?:vjepa2\.)?encoder\.", ""),
        (r"^embeddings\.patch_embeddings\.", "patch_embed."),
        (r"^layer\.", "blocks."),
        (r"\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attn.\1."),
        (r"\.attention\.proj\.", ".attn.proj."),
        (r"^layernorm\.", "norm."),
    ),
    surplus=(r"(?:vjepa2\.)?predictor\.", r"pooler\.", r"classifier\."),
)
ONLY_CONTEXT = replace(
    CONTEXT,
    refused="it has no target_encoder, only the context encoder under 'encoder'; load it as a -context variant",
)
NEWEST = CheckpointLayout(
    name="pre-training, averaged encoder",
    mark=rf"{WRAPPED}norms_block\.3\.weight$",
    containers=("target_encoder",),
    renames=((rf"^{WRAPPED}", ""), (r"^norms_block\.3\.", "norm.")),
    surplus=(rf"{WRAPPED}norms_block\.[0-2]\.", rf"{WRAPPED}pos_embed$"),  # norms of inner layers, for training only
)
DISTILLED = replace(NEWEST, containers=("ema_encoder",))
NEWEST_CONTEXT = replace(
    NEWEST, containers=("encoder",), refused="it has no averaged encoder, only the context encoder under 'encoder'"
)
OLDER = replace(
    TARGET, containers=("target_encoder", "encoder"), refused="it is a V-JEPA 2 file, not 2.1 (it has no norms_block)"
)
CARD = replace(
    CARD_TEMPLATE,
    size=0,
    pool="mean of the tokens after the final norm (no official pooling: an attentive probe reads the tokens)",
    sampling="K400 16 frames, stride 4, 8 clips x 3 crops; SSv2 16 frames (g-384: 64), 2 x 3; "
    "Diving48 32 frames, stride 2, 4 x 3",
    transform="short side to 8/7 of the input size by cv2.resize (bilinear, not antialiased), center crop "
    "(make_transforms of evals/video_classification_frozen)",
    pretraining_datasets=frozenset({"k400", "k600", "k700", "ssv2", "in1k"}),
    trained="VideoMix22M: SSv2, Kinetics-400/600/700, HowTo100M, YT-Temporal-1B, ImageNet",
)
CARD_2_1 = replace(
    CARD,
    sampling="made for 64 frames; official sampling unknown",
    trained="VisionMix163M: SSv2, Kinetics, HowTo100M, YT-Temporal-1B, LVD-142M; IN-22k is in it",
)


def _config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Configuration values from a transformers config.json; with rotary positions, the number of frames is free."""
    names = {"hidden_size": "dim", "num_hidden_layers": "depth", "num_attention_heads": "heads", "crop_size": "img"}
    names |= {"mlp_ratio": "mlp_ratio", "patch_size": "patch", "tubelet_size": "tubelet"}
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}


def _model(variant: str, *, context: bool = False) -> Model:
    shape = {**SHAPES, **SHAPES_2_1}[variant]
    name = f"vjepa2/{variant}{'-context' if context else ''}"
    size, side = variant.partition("-")[0], shape.input[1]
    layouts: tuple[CheckpointLayout, ...] = (CONTEXT, TRANSFORMERS) if context else (TARGET, TRANSFORMERS, ONLY_CONTEXT)
    if variant in SHAPES_2_1:
        layouts = (DISTILLED if size in ("base", "large") else NEWEST, NEWEST_CONTEXT, OLDER)
    url = f"https://dl.fbaipublicfiles.com/vjepa2/{FILES[variant]}.pt"
    source = WeightSource(file=f"{FILES[variant]}.pt", url=url, page="https://github.com/facebookresearch/vjepa2")
    if context:
        repo = f"facebook/vjepa2-{HUB[variant]}"
        source = WeightSource(file="model.safetensors", repo=repo, page=f"https://huggingface.co/{repo}")
    letter = {"giant": "g", "gigantic": "G"}.get(size, size[0].upper())
    version = "2.1, averaged" if variant in SHAPES_2_1 else "2, context" if context else "2, target"
    return Model(
        about=f"V-JEPA {version} encoder, ViT-{letter}/16 at {side}",
        card=replace(
            CARD_2_1 if variant in SHAPES_2_1 else CARD,
            name=name,
            size=side,
            image="single" if shape.image == "embed" else "repeat",
            license="Apache-2.0" if variant in ("giant", "giant-384") else "MIT",
        ),
        shape=shape,
        layouts=layouts,
        source=source,
        presets={"native": {"frames": 64}},
        authors=PixelTransform(antialias=False, crop_ratio=224 / 256),
        from_config=None if variant in SHAPES_2_1 else _config,
    )


MODELS = {variant: _model(variant) for variant in (*SHAPES, *SHAPES_2_1)}
MODELS |= {f"{variant}-context": _model(variant, context=True) for variant in SHAPES}
