"""MVD, masked video distillation (Wang et al., CVPR 2023) from an image and a video teacher, and fine-tuned."""

from __future__ import annotations

from dataclasses import replace

from vitascope.encoders.spec import (
    CARD_TEMPLATE,
    FINE_TUNED,
    OPENCV,
    OPENCV_SOURCE,
    CheckpointLayout,
    Model,
    WeightSource,
)
from vitascope.nn.configs.video_vit import VideoViTConfig

BASE = VideoViTConfig(dim=768, depth=12, heads=12, mlp=3072, positions="sincos3d_d4")
SHAPES = {
    "base": BASE,
    "large": replace(BASE, dim=1024, depth=24, heads=16, mlp=4096),
    "huge": replace(BASE, dim=1280, depth=32, heads=16, mlp=5120),
}
PRETRAINED = CheckpointLayout(
    name="pre-training",
    mark=r"decoder_(?:img|vid)\.|norm\.weight$",
    surplus=(r"decoder_(?:img|vid)\.", r"down_(?:img|vid)\.", r"mask_token_(?:img|vid)$", r"pos_embed_(?:img|vid)$"),
)
LAYOUTS = {
    "pt": (replace(FINE_TUNED, refused="it is fine-tuned (it has fc_norm); load it as a -ft variant"), PRETRAINED),
    "ft": (
        FINE_TUNED,
        replace(PRETRAINED, refused="it is a pre-training file (no fc_norm); load it as a -pt variant"),
    ),
}
CARD = replace(
    CARD_TEMPLATE,
    sampling="16 frames, stride 4; K400 5 clips x 3 crops, SSv2 2 clips x 3 crops",
    transform=f"{OPENCV_SOURCE} (kinetics.py of the official code)",
    pretraining_datasets=frozenset({"k400"}),
    license="CC BY-NC 4.0",
)
POOLS = {
    "pt": "mean of the tokens after the final norm (no official pooling)",
    "ft": "fc_norm of the mean of the tokens (official fine-tuning code)",
}
ZOO = "https://github.com/ruiwang2021/mvd/blob/main/MODEL_ZOO.md"
PAGES = {
    ("base", "pt"): "https://drive.google.com/file/d/1MFgpUuHTtFMiormgenmxypU9gqRDbbwb/view",  # teacher ViT-L
    ("large", "pt"): "https://drive.google.com/file/d/1Zr3ayWxlauFm1bVfMzxaQIzfYvDXhMW-/view",
}
DATA = "K400; teachers MAE-L (ImageNet-1k) and VideoMAE-L (K400)"


def _model(size: str, kind: str) -> Model:
    shape = SHAPES[size]
    # pre-training files store their (fixed) table, fine-tuned ones do not
    shape = replace(shape, positions="stored") if kind == "pt" else replace(shape, pool="mean_then_norm")
    return Model(
        about=f"ViT-{size[0].upper()}/16, {'distilled' if kind == 'pt' else 'fine-tuned'} on Kinetics-400"
        + ("" if (size, kind) in PAGES else "; weights not released"),
        card=replace(
            CARD,
            name=f"mvd/{size}-{kind}",
            pool=POOLS[kind],
            trained=DATA + ("" if kind == "pt" else "; then labels"),
        ),
        shape=shape,
        layouts=LAYOUTS[kind],
        authors=OPENCV,
        source=WeightSource(file="its checkpoint", page=PAGES.get((size, kind), ZOO)),
    )


MODELS = {f"{size}-{kind}": _model(size, kind) for kind in LAYOUTS for size in SHAPES}
