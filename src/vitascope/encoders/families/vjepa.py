"""V-JEPA (Bardes et al., TMLR 2024): feature prediction without text or a pretrained teacher."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import CARD_TEMPLATE, CheckpointLayout, Model, WeightSource
from vitascope.nn.configs.video_vit import VideoViTConfig

LARGE = VideoViTConfig(dim=1024, depth=24, heads=16, mlp=4096, positions="stored", resample="trilinear")
HUGE = replace(LARGE, dim=1280, depth=32, mlp=5120)
SHAPES = {"large": LARGE, "huge": HUGE, "huge-384": replace(HUGE, grid=(8, 24, 24))}
FILES = {"large": "vitl16/vitl16", "huge": "vith16/vith16", "huge-384": "vith16-384/vith16-384"}
MARK = r"module\.backbone\.patch_embed\.proj\.weight$"
LAYOUTS = (
    CheckpointLayout(
        name="pre-training, target encoder", mark=MARK, containers=("target_encoder",), prefix="module.backbone."
    ),
    CheckpointLayout(
        name="context encoder",
        mark=MARK,
        containers=("encoder",),
        refused="it has no target_encoder, only the context encoder under 'encoder', whose embeddings differ",
    ),
)
CARD = replace(
    CARD_TEMPLATE,
    size=0,
    pool="mean of the tokens after the final norm (no official pooling: an attentive probe reads the tokens)",
    sampling="16 frames, stride 4; K400 8 clips x 3 crops, SSv2 2 clips x 3 crops",
    transform="short side to 8/7 of the input size by cv2.resize (bilinear, not antialiased), center crop "
    "(make_transforms of evals/video_classification_frozen)",
    pretraining_datasets=frozenset({"k400", "k600", "k700", "ssv2"}),
    trained="VideoMix2M: K710, SSv2, HowTo100M",
    license="CC BY-NC 4.0",
)


def _model(variant: str) -> Model:
    size, _, side = variant.partition("-")
    return Model(
        about=f"ViT-{size[0].upper()}/16 at {side or 224}, target encoder",
        card=replace(CARD, name=f"vjepa/{variant}", size=int(side or 224)),
        shape=SHAPES[variant],
        layouts=LAYOUTS,
        authors=PixelTransform(antialias=False, crop_ratio=224 / 256),
        source=WeightSource(
            file=f"{FILES[variant].rpartition('/')[2]}.pth.tar",
            url=f"https://dl.fbaipublicfiles.com/jepa/{FILES[variant]}.pth.tar",
            page="https://github.com/facebookresearch/jepa",
        ),
    )


MODELS = {variant: _model(variant) for variant in SHAPES}
