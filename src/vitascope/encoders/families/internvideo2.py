"""InternVideo2 (Wang et al., ECCV 2024): stage 1 on video with two teachers, stage 2 with text, and fine-tuned.

There is no final norm: the tokens are the output of the last block. The released weights were trained with the tanh
approximation of GELU (flash-attn's fused MLP); `act=gelu` matches the authors' code without flash-attn.
"""

from __future__ import annotations

from dataclasses import replace

from vitascope.encoders.spec import (
    CARD_TEMPLATE,
    OPENCV,
    OPENCV_SOURCE,
    CheckpointLayout,
    Model,
    WeightSource,
    rejected,
)
from vitascope.nn.configs.video_vit import VideoViTConfig

STAGE1_1B = VideoViTConfig(
    dim=1408,
    depth=40,
    heads=16,
    mlp=6144,
    patch=14,
    tubelet=1,
    grid=(8, 16, 16),
    positions="stored",
    cls=True,
    norm="rmsnorm",
    qkv_bias=False,
    qk_norm=True,
    layer_scale=True,
    act="gelu_tanh",
    final_norm=False,
    pool="attention",
)
STAGE2_1B = replace(STAGE1_1B, grid=(4, 16, 16), image="stored")
SHAPES = {
    "1b-s1": STAGE1_1B,
    "1b-s1-ft": STAGE1_1B,
    "1b-s1-ft-k710": STAGE1_1B,
    "1b-s2": STAGE2_1B,
    "6b-s2": replace(STAGE2_1B, dim=3200, depth=48, heads=25, mlp=12800, image="mean"),
}
POOLING = (
    (r"^clip_projector\.cross_attn\.(q|k|v)_bias$", r"pool.\1.bias"),
    (r"^clip_projector\.(?:cross_attn\.)?", "pool."),
)
TRAINING = r"(?:clip_decoder|final_clip_decoder|mae_decoder)\.|(?:mae_|clip_|clip_img_)pos_embed$"
"""Tensors that only training needs."""
STAGE1 = CheckpointLayout(
    name="stage 1",
    mark=r"clip_projector\.norm1_q\.weight$",
    containers=("module", "model", ""),
    renames=POOLING,
    surplus=(TRAINING,),
)
STAGE2 = CheckpointLayout(
    name="stage 2",
    mark=r"vision_encoder\.clip_projector\.norm1_q\.weight$",
    containers=("module", "model", ""),
    prefix="vision_encoder.",
    renames=POOLING,
    surplus=(
        rf"vision_encoder\.(?:{TRAINING})",
        r"(?:text_encoder|vision_proj|text_proj|itm_head|clip_teacher)\.",
        r"(?:audio_encoder|audio_proj|av_concat_vision_proj|av_concat_audio_proj|av_fusion|atm_head|avtm_head)\.",
        r"temp$",
    ),
)
TUNED = replace(STAGE1, name="fine-tuned", mark=r"fc_norm\.weight$", surplus=(TRAINING, r"fc_norm\.", r"head\."))
LAYOUTS = {"s1-ft": TUNED, "s1": STAGE1, "s2": STAGE2}
"""The fine-tuned layout comes first, since its files also match the mark of stage 1."""
REJECTED = rejected(LAYOUTS)
SOURCES = {
    "1b-s1": ("OpenGVLab/InternVideo2-Stage1-1B-224p-f8", "pretrain.pth"),
    "1b-s1-ft": ("OpenGVLab/InternVideo2-Stage1-1B-224p-K400", "1B_ft_k710_ft_k400_f8.pth"),
    "1b-s1-ft-k710": ("OpenGVLab/InternVideo2-Stage1-1B-224p-f8-k710", "1B_ft_k710_f8.pth"),
    "1b-s2": ("OpenGVLab/InternVideo2-Stage2_1B-224p-f4", "InternVideo2-stage2_1b-224p-f4.pt"),
    "6b-s2": ("OpenGVLab/InternVideo2-Stage2_6B-224p-f4", "internvideo2-s2_6b-224p-f4_with_audio_encoder.pt"),
}
ABOUT = {
    "1b-s1": "ViT-1B/14, stage 1, video only",
    "1b-s1-ft": "ViT-1B/14, stage 1, fine-tuned on K710 and K400",
    "1b-s1-ft-k710": "ViT-1B/14, stage 1, fine-tuned on K710",
    "1b-s2": "ViT-1B/14, stage 2, with text",
    "6b-s2": "ViT-6B/14, stage 2, with text",
}
CARD = replace(
    CARD_TEMPLATE,
    pool="attention over class token and patches, 768 wide (clip_projector of the official code)",
    pretraining_datasets=frozenset({"k400", "k600", "k700", "ssv2", "mit", "activitynet", "hacs"}),
    license="Apache-2.0",
)
KMASH = "K710, SSv1, SSv2, MiT, ActivityNet, HACS, own; teachers InternVL-6B and VideoMAE V2-g"
DATA = {
    "1b-s1": f"K-Mash-1.1M: {KMASH}",
    "1b-s1-ft": f"K-Mash-1.1M: {KMASH}; then labels of K710 and K400",
    "1b-s1-ft-k710": f"K-Mash-1.1M: {KMASH}; then labels of K710",
    "1b-s2": f"K-Mash-1.1M: {KMASH}; then CC3M, CC12M, SBU, VG, COCO, WebVid, InternVid",
    "6b-s2": f"K-Mash-2M: {KMASH}; then IV-400M, with text and sound",
}
SAMPLING = {
    "s1": "8 frames over the whole video, 4 clips x 3 crops, short side 224",
    "s2": "4 frames, the middle of each quarter, squashed to 224 x 224",
}
TRANSFORMS = {
    "s1": f"{OPENCV_SOURCE} (single_modality/datasets of the official code)",
    "s2": "squashed to 224 x 224 by cv2.resize, bilinear, not antialiased (frames2tensor of multi_modality/demo; the "
    "retrieval code has torchvision's bicubic, not antialiased in version 0.14.1)",
}


def _model(variant: str) -> Model:
    own = variant[3:].removesuffix("-k710")
    stage, (repo, file) = "s2" if variant.endswith("s2") else "s1", SOURCES[variant]
    return Model(
        about=ABOUT[variant],
        card=replace(
            CARD,
            name=f"internvideo2/{variant}",
            resize="square" if stage == "s2" else "shorter",
            image="single" if stage == "s2" else "repeat",
            sampling=SAMPLING[stage],
            transform=TRANSFORMS[stage],
            trained=DATA[variant],
        ),
        shape=SHAPES[variant],
        layouts=tuple(layout if kind == own else REJECTED[kind] for kind, layout in LAYOUTS.items()),
        source=WeightSource(
            file=file,
            repo=repo,
            page=f"https://huggingface.co/{repo}",
            gated=True,
        ),
        presets={"native": {"frames": 4 if stage == "s2" else 8}},
        authors=replace(OPENCV, resize="square") if stage == "s2" else OPENCV,
    )


MODELS = {variant: _model(variant) for variant in SHAPES}
