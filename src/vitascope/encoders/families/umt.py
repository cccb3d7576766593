"""UMT, Unmasked Teacher (Li et al., ICCV 2023): stage 1 on video only, stage 2 with text, and fine-tuned."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import (
    CARD_TEMPLATE,
    FINE_TUNED,
    OPENCV,
    OPENCV_SOURCE,
    CheckpointLayout,
    Model,
    WeightSource,
    rejected,
)
from vitascope.nn.configs.video_vit import VideoViTConfig

BASE = VideoViTConfig(
    dim=768, depth=12, heads=12, mlp=3072, tubelet=1, grid=(8, 14, 14), positions="sinusoid_flat", image="first"
)
LARGE = replace(BASE, dim=1024, depth=24, heads=16, mlp=4096)
STAGE1 = CheckpointLayout(
    name="stage 1",
    mark=r"encoder\.patch_embed\.proj\.weight$",
    containers=("", "model", "module"),
    prefix="encoder.",
    surplus=(r"clip_decoder\.",),
)
STAGE2 = CheckpointLayout(
    name="stage 2",
    mark=r"vision_encoder\.encoder\.patch_embed\.proj\.weight$",
    containers=("model", "module", ""),
    prefix="vision_encoder.",
    renames=((r"^encoder\.", ""),),
    surplus=(
        r"vision_encoder\.clip_decoder\.",
        r"clip_teacher\.",
        r"text_(?:encoder|decoder)\.",
        r"(vision_proj|text_proj|itm_head)\.",
        r"temp$",
    ),
)
CARD = replace(
    CARD_TEMPLATE,
    sampling="8 frames over the whole video, 4 clips x 3 crops",
    transform=f"{OPENCV_SOURCE} (single_modality/datasets of the official code)",
    pretraining_datasets=frozenset({"k400", "k600", "k700"}),
    license="MIT",
)
SQUASHED = replace(
    CARD,
    resize="square",
    image="single",
    sampling="4 frames, the middle of each quarter, squashed to 224 x 224",
    transform="squashed to 224 x 224 by torchvision's Resize of tensors, bicubic, not antialiased in the authors' "
    "version 0.13.1 (test_transform in multi_modality/dataset and vl.yml of the official code)",
)
TENSORS = PixelTransform(resize="square", filter="bicubic", antialias=False)
"""torchvision's bicubic resizing of tensors before its version 0.17."""
POOLS = {
    "s1": "mean of the tokens after the final norm (no official pooling)",
    "s2": "pool_norm of the mean of the tokens (pooled_vision_embeds of the official code)",
    "ft": "fc_norm of the mean of the tokens (official fine-tuning code)",
}
DATA = {
    "s1": "K710",
    "s2": "K710, WebVid10M, CC3M, CC12M, COCO, VG, SBU",
    "ft": "K710, then labels of K710 and K400",
}
ABOUT = {"s1": "stage 1, video only", "s2": "stage 2, with text, 25M", "ft": "fine-tuned on Kinetics"}
FILES = {
    "base-s1": "b16_ptk710_f8_res224.pth",
    "large-s1": "l16_ptk710_f8_res224.pth",
    "base-s2": "b16_25m.pth",
    "large-s2": "l16_25m.pth",
    "base-ft": "b16_ptk710_ftk710_ftk400_f8_res224.pth",
    "large-ft": "l16_ptk710_ftk710_ftk400_f8_res224.pth",
}
REPO = "OpenGVLab/UMT"  # the URLs in the authors' model zoo are dead; the files moved here
LAYOUTS = {"s1": STAGE1, "s2": STAGE2, "ft": FINE_TUNED}
REJECTED = rejected(LAYOUTS)


def _model(size: str, stage: str) -> Model:
    shape = {"base": BASE, "large": LARGE}[size]
    if stage == "s2":
        shape = replace(shape, grid=(4, 14, 14), pool="mean_then_poolnorm")
    if stage == "ft":
        shape = replace(shape, pool="mean_then_norm")
    return Model(
        about=f"ViT-{size[0].upper()}, {ABOUT[stage]}",
        card=replace(
            SQUASHED if stage == "s2" else CARD, name=f"umt/{size}-{stage}", pool=POOLS[stage], trained=DATA[stage]
        ),
        shape=shape,
        layouts=(LAYOUTS[stage], *(layout for other, layout in REJECTED.items() if other != stage)),
        source=WeightSource(
            file=f"{'multi' if stage == 's2' else 'single'}_modality/{FILES[f'{size}-{stage}']}",
            repo=REPO,
            page=f"https://huggingface.co/{REPO}/tree/main",
        ),
        presets={"native": {"frames": 4 if stage == "s2" else 8}},
        authors=TENSORS if stage == "s2" else OPENCV,
    )


MODELS = {f"{size}-{stage}": _model(size, stage) for stage in LAYOUTS for size in ("base", "large")}
