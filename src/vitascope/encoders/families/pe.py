"""Perception Encoder (Bolya et al., NeurIPS 2025): PE-Core, PE-Lang and PE-Spatial, applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import IMAGE_CARD, CheckpointLayout, Model, WeightSource
from vitascope.encoders.weights.tensor_names import OPENCLIP, OPENCLIP_TEXT, TIMM
from vitascope.nn.configs.image_vit import ImageViTConfig

BASE = ImageViTConfig(
    dim=768,
    depth=12,
    heads=12,
    mlp=3072,
    table="bilinear",
    rope="counted",
    rope_base=10000.0,
    patch_bias=False,
    pre_norm=True,
    eps=1e-5,
    head="map",
    head_heads=8,
    head_ratio=4,
    project=1024,
)
SMALL = replace(BASE, dim=384, heads=6, mlp=1536, side=384, project=512)
LARGE = replace(BASE, dim=1024, depth=24, heads=16, mlp=4096, patch=14, side=336)
GIANT = replace(BASE, dim=1536, depth=50, heads=16, mlp=8960, patch=14, side=448, cls=False, project=1280)
FILES = {
    "tiny": ("PE-Core-T16-384", replace(SMALL, dim=192, heads=3, mlp=768)),
    "small": ("PE-Core-S16-384", SMALL),
    "base": ("PE-Core-B16-224", BASE),
    "large": ("PE-Core-L14-336", LARGE),
    "giant": ("PE-Core-G14-448", GIANT),
    "lang-large": (
        "PE-Lang-L14-448",
        replace(LARGE, depth=23, side=448, head="mean", project=0, final_norm=False, layer_scale=True),
    ),
    "lang-giant": (
        "PE-Lang-G14-448",
        replace(GIANT, depth=47, head="mean", project=0, final_norm=False, layer_scale=True),
    ),
    "spatial-giant": (
        "PE-Spatial-G14-448",
        replace(GIANT, head="mean", project=0, final_norm=False, layer_scale=True),
    ),
}
RENAMES = (
    (r"^module\.", ""),
    (r"^visual\.", ""),
    (r"^attn_pool\.layernorm\.", "head.norm."),
    (r"^attn_pool\.", "head."),
)
JOINT = CheckpointLayout(
    name="image and text",
    mark=r"(module\.)?visual\.",
    containers=("", "state_dict", "weights"),
    renames=(*RENAMES, *OPENCLIP),
    surplus=OPENCLIP_TEXT,
    transposed=("proj.weight",),
)
ALONE = replace(JOINT, name="image", mark=r"(module\.)?(conv1|transformer|ln_pre)\.", surplus=())
CARD = replace(
    IMAGE_CARD,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    resize="square",
    transform="squashed to the input size, antialiased bilinear (get_image_transform of the official code)",
    sampling="8 frames over the whole video",
    license="Apache-2.0",
)
POOLS = {
    "map": "mean over the frames of the projected vector of the attention head, not normalized (CLIP.encode_video)",
    "mean": "mean over the frames of the mean of the patch tokens (no official pooling)",
}
DATA = {
    "Core": "5.4 B images with text, recaptioned video (PVD)",
    "Lang": "as PE-Core, then aligned with a language model",
    "Spatial": "as PE-Core, then dense self-distillation and SAM 2.1",
}


def _model(variant: str) -> Model:
    name, shape = FILES[variant]
    return Model(
        about=f"{name}, frame by frame",
        card=replace(
            CARD, name=f"pe/{variant}", size=shape.side, pool=POOLS[shape.head], trained=DATA[name.split("-")[1]]
        ),
        shape=shape,
        layouts=(TIMM, JOINT, ALONE),
        source=WeightSource(file=f"{name}.pt", repo=f"facebook/{name}", page=f"https://huggingface.co/facebook/{name}"),
        framewise=True,
        presets={"native": {"frames": 8}},
        authors=PixelTransform(resize="square"),
    )


MODELS = {variant: _model(variant) for variant in FILES}
