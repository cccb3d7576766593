"""SigLIP 2 (Tschannen et al., 2025): the image towers with fixed input size, applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.errors import UserError
from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import IMAGE_CARD, CheckpointLayout, Model, State, WeightSource
from vitascope.encoders.weights.tensor_names import TIMM, TRANSFORMERS, TRANSFORMERS_MARK, TRANSFORMERS_TEXT
from vitascope.nn.configs.image_vit import ImageViTConfig, transformers

BASE = ImageViTConfig(dim=768, depth=12, heads=12, mlp=3072, cls=False, act="gelu_tanh", head="map")
SIZES = {
    "base": BASE,
    "large": replace(BASE, dim=1024, depth=24, heads=16, mlp=4096),
    "so400m": replace(BASE, dim=1152, depth=27, heads=16, mlp=4304),
    "giant-opt": replace(BASE, dim=1536, depth=40, heads=16, mlp=6144),
}


def of_fixed_size(state: State) -> State:
    """Return `state` unchanged; `UserError` for a NaFlex model, whose tensors have the same names."""
    patches = state.get("patch_embed.weight")
    if patches is not None and patches.ndim == 2:
        raise UserError(
            "a NaFlex file of SigLIP 2, for images of any shape (its patch embedding is "
            f"{' x '.join(map(str, patches.shape))}); use a model of fixed size, e.g. google/siglip2-base-patch16-224"
        )
    return state


LAYOUT = CheckpointLayout(
    name="transformers",
    mark=TRANSFORMERS_MARK,
    containers=("",),
    renames=TRANSFORMERS,
    surplus=TRANSFORMERS_TEXT,
    convert=of_fixed_size,
)
CARD = replace(
    IMAGE_CARD,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    resize="square",
    pool="mean over the frames of the attention head's vector (pooler_output of transformers)",
    transform="squashed to the input size, antialiased bilinear (preprocessor_config.json of the hub's files; "
    "resize of big_vision does not antialias)",
    trained="WebLI, images and text",
    license="Apache-2.0",
)
FILES = {
    "base": ("base", 16, 224),
    "base-256": ("base", 16, 256),
    "base-384": ("base", 16, 384),
    "base-512": ("base", 16, 512),
    "base-32-256": ("base", 32, 256),
    "large": ("large", 16, 256),
    "large-384": ("large", 16, 384),
    "large-512": ("large", 16, 512),
    "so400m": ("so400m", 14, 384),
    "so400m-224": ("so400m", 14, 224),
    "so400m-16-256": ("so400m", 16, 256),
    "so400m-16-384": ("so400m", 16, 384),
    "so400m-16-512": ("so400m", 16, 512),
    "giant": ("giant-opt", 16, 256),
    "giant-384": ("giant-opt", 16, 384),
}
"""Network, patch size and image size (pixels) of each variant; all have separate weights."""


def _model(variant: str) -> Model:
    size, patch, side = FILES[variant]
    repo = f"google/siglip2-{size}-patch{patch}-{side}"
    file = "model.safetensors.index.json" if size == "giant-opt" else "model.safetensors"  # sharded
    return Model(
        about=f"{size}/{patch} at {side} pixels, frame by frame",
        card=replace(CARD, name=f"siglip2/{variant}", size=side),
        shape=replace(SIZES[size], patch=patch, side=side),
        layouts=(LAYOUT, TIMM),
        source=WeightSource(file=file, repo=repo, page=f"https://huggingface.co/{repo}"),
        framewise=True,
        authors=PixelTransform(resize="square"),
        from_config=transformers,
    )


MODELS = {variant: _model(variant) for variant in FILES}
