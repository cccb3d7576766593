"""CLIP (Radford et al., ICML 2021): the image towers of OpenAI's ViT models, applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import CLIP_CARD, Model, WeightSource
from vitascope.encoders.weights.tensor_names import clip_layouts
from vitascope.nn.configs.image_vit import ImageViTConfig, transformers

BASE = ImageViTConfig(
    dim=768,
    depth=12,
    heads=12,
    mlp=3072,
    patch_bias=False,
    pre_norm=True,
    eps=1e-5,
    act="quick_gelu",
    project=512,
)
LARGE = replace(BASE, dim=1024, depth=24, heads=16, mlp=4096, patch=14, project=768)
CARD = replace(
    CLIP_CARD,
    pool="mean over the frames of the projected class token, not normalized (image_embeds of transformers)",
    transform="short side to the input size with Pillow's bicubic filter, center crop (openai/CLIP, clip.py)",
    trained="WIT-400M, images and text",
    license="MIT",
)


def _model(variant: str, shape: ImageViTConfig, repo: str) -> Model:
    return Model(
        about=f"ViT-{variant[0].upper()}/{shape.patch} at {shape.side} pixels, frame by frame",
        card=replace(CARD, name=f"clip/{variant}", size=shape.side),
        shape=shape,
        layouts=clip_layouts("OpenAI"),
        source=WeightSource(file="pytorch_model.bin", repo=repo, page=f"https://huggingface.co/{repo}"),
        framewise=True,
        authors=PixelTransform(filter="bicubic"),
        from_config=transformers,
    )


MODELS = {
    "base": _model("base", BASE, "openai/clip-vit-base-patch16"),
    "large": _model("large", LARGE, "openai/clip-vit-large-patch14"),
    "large-336": _model("large-336", replace(LARGE, side=336), "openai/clip-vit-large-patch14-336"),
}
