"""DFN-5B (Fang et al., ICLR 2024): CLIP ViT-H/14 trained on filtered image-text pairs, applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import CLIP_CARD, Model, WeightSource
from vitascope.encoders.weights.tensor_names import clip_layouts
from vitascope.nn.configs.image_vit import ImageViTConfig, transformers

HUGE = ImageViTConfig(
    dim=1280,
    depth=32,
    heads=16,
    mlp=5120,
    patch=14,
    table="bicubic_antialias",  # as in OpenCLIP
    patch_bias=False,
    pre_norm=True,
    eps=1e-5,
    act="quick_gelu",
    project=1024,
)
CARD = replace(
    CLIP_CARD,
    pool="mean over the frames of the projected class token, not normalized (per frame, mean over time: TWLV-I)",
    resize="square",  # OpenCLIP's tags specify squash instead of its default, cropping
    transform="squashed to the input size with Pillow's bicubic filter (preprocess_cfg of OpenCLIP's dfn5b tags)",
    trained="DFN-5B, images and text; the filter was trained on IN-1k, COCO and Flickr30k",
)


def _model(variant: str, size: int, repo: str, license: str) -> Model:
    return Model(
        about=f"ViT-H/14 at {size} pixels, frame by frame",
        card=replace(CARD, name=f"dfn/{variant}", size=size, license=license),
        shape=replace(HUGE, side=size),
        layouts=clip_layouts("OpenCLIP"),
        source=WeightSource(file="open_clip_pytorch_model.bin", repo=repo, page=f"https://huggingface.co/{repo}"),
        framewise=True,
        authors=PixelTransform(resize="square", filter="bicubic"),
        from_config=transformers,
    )


MODELS = {
    "h14": _model("h14", 224, "apple/DFN5B-CLIP-ViT-H-14", "Apple sample code license"),
    "h14-378": _model("h14-378", 378, "apple/DFN5B-CLIP-ViT-H-14-378", "Apple AMLR"),
}
