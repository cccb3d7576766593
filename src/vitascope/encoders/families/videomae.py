"""VideoMAE (Tong et al., NeurIPS 2022) and VideoMAE V2 (Wang et al., CVPR 2023), pre-trained and fine-tuned.

A pre-training file has a final norm over the tokens, a fine-tuned one `fc_norm` over their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitascope.core.types import Card
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

BASE = VideoViTConfig(dim=768, depth=12, heads=12, mlp=3072, positions="sinusoid_flat")
SHAPES = {
    "base": BASE,
    "large": replace(BASE, dim=1024, depth=24, heads=16, mlp=4096),
    "huge": replace(BASE, dim=1280, depth=32, heads=16, mlp=5120),
    "giant": replace(BASE, dim=1408, depth=40, heads=16, mlp=6144, patch=14, grid=(8, 16, 16)),
}
TRANSFORMERS = (
    (r"^videomae\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.(q|v)(?:uery|alue)\.bias$", r".attn.\1_bias"),  # in memory; keys have none
    (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.attention\.(q|v)_bias$", r".attn.\1_bias"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
PATCHES = r"embeddings\.patch_embeddings\.projection\.weight$"
PRETRAINED = (
    CheckpointLayout(
        name="pre-training",
        mark=r"encoder\.patch_embed\.proj\.weight$",
        prefix="encoder.",
        surplus=(r"decoder\.", r"encoder_to_decoder\.", r"mask_token$"),
    ),
    CheckpointLayout(
        name="fine-tuned",
        mark=r"(?:model\.)?fc_norm\.weight$",
        refused="it is fine-tuned (it has fc_norm); load it as a -ft variant, or base-v2",
    ),
    CheckpointLayout(
        name="transformers, pre-training",
        mark=rf"(?:videomae\.)?{PATCHES}",
        containers=("",),
        renames=(*TRANSFORMERS, (r"^layernorm\.", "norm.")),
        # there is a classifier if the configuration disables mean pooling
        surplus=(r"decoder\.", r"encoder_to_decoder\.", r"mask_token$", r"classifier\."),
    ),
)
TUNED = (
    CheckpointLayout(
        name="transformers, fine-tuned",
        mark=rf"videomae\.{PATCHES}",
        containers=("",),
        renames=(*TRANSFORMERS, (r"^fc_norm\.", "norm.")),
        surplus=(r"classifier\.",),
    ),
    replace(
        FINE_TUNED,
        mark=r"(?:model\.)?fc_norm\.weight$",
        renames=((r"^model\.", ""), *FINE_TUNED.renames),  # `model.` is a prefix in files of the hub's own code
        surplus=(r"(?:model\.)?head\.",),
    ),
    CheckpointLayout(
        name="pre-training",
        mark=r"encoder\.patch_embed\.proj\.weight$",
        refused="it is a pre-training file (no fc_norm); load it as a -pt variant",
    ),
)
HYBRID = frozenset({"k400", "k600", "k700", "ssv2", "ava"})
CARD = replace(
    CARD_TEMPLATE,
    sampling="K400 16 frames, stride 4, 5 clips x 3 crops; SSv2 16 uniform frames, 2 clips x 3 crops",
    transform=f"{OPENCV_SOURCE} (kinetics.py of the official code)",
    license="CC BY-NC 4.0",  # also for V2: the hub says Apache-2.0 with the files, but this in later repositories
)
POOLS = {
    "pt": "mean of the tokens after the final norm (no official pooling)",
    "ft": "fc_norm of the mean of the tokens (official fine-tuning code)",
}
V1 = {
    "base-pt": "MCG-NJU/videomae-base",
    "large-pt": "MCG-NJU/videomae-large",
    "huge-pt": "",
    "base-ft": "MCG-NJU/videomae-base-finetuned-kinetics",
    "large-ft": "MCG-NJU/videomae-large-finetuned-kinetics",
    "huge-ft": "MCG-NJU/videomae-huge-finetuned-kinetics",
    "base-ssv2-ft": "MCG-NJU/videomae-base-finetuned-ssv2",
}
"""Hub repositories by variant."""
PICKLED = ("huge-ft", "base-ssv2-ft")
"""Variants without a safetensors file on the hub."""
DRIVE = "https://drive.google.com/file/d/1AJQR1Rsi2N1pDn9tLyJ8DQrUREiBA1bO/view"
"""Page of the pre-trained ViT-H."""
V2 = {
    "base-v2": "distill/vit_b_k710_dl_from_giant.pth",
    "huge-v2-pt": "",
    "huge-v2-ft": "",
    "giant-v2-pt": "mae-g/vit_g_hybrid_pt_1200e.pth",
    "giant-v2-ft": "mae-g/vit_g_hybrid_pt_1200e_k710_ft.pth",
}
"""Files in OpenGVLab/VideoMAE2 by variant; those of ViT-H are unknown."""


def _config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Configuration values from a transformers config.json, except its eps of 1e-12, which training did not use."""
    names = {"hidden_size": "dim", "num_hidden_layers": "depth", "num_attention_heads": "heads", "image_size": "img"}
    names |= {"intermediate_size": "mlp", "patch_size": "patch", "tubelet_size": "tubelet", "num_frames": "frames"}
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}


def _model(variant: str, *, about: str, source: WeightSource, card: Card) -> Model:
    tuned = not variant.endswith("-pt")
    shape = SHAPES[variant.partition("-")[0]]
    return Model(
        about=about,
        card=replace(card, name=f"videomae/{variant}", pool=POOLS["ft" if tuned else "pt"]),
        shape=replace(shape, pool="mean_then_norm") if tuned else shape,
        layouts=TUNED if tuned else PRETRAINED,
        source=source,
        authors=OPENCV,
        from_config=_config,
    )


def _first(variant: str) -> Model:
    repo, size = V1[variant], variant.partition("-")[0]
    source = WeightSource(file="checkpoint.pth", page=DRIVE)
    if repo:
        file = "pytorch_model.bin" if variant in PICKLED else "model.safetensors"
        source = WeightSource(file=file, repo=repo, page=f"https://huggingface.co/{repo}")
    tag, name = ("ssv2", "SSv2") if "ssv2" in variant else ("k400", "K400")
    tuned = variant.endswith("-ft")
    return _model(
        variant,
        about=f"ViT-{size[0].upper()}/16, {'fine-tuned' if tuned else 'pre-trained'} on {name}",
        source=source,
        card=replace(
            CARD, pretraining_datasets=frozenset({tag}), trained=f"{name}, then its labels" if tuned else name
        ),
    )


def _second(variant: str) -> Model:
    size = variant.partition("-")[0]
    how = "distilled from g" if variant == "base-v2" else "pre-trained" if variant.endswith("pt") else "K710 labels"
    data = "UnlabeledHybrid 1.35M: Kinetics, SSv2, AVA, WebVid2M, Instagram"
    page = "https://huggingface.co/OpenGVLab/VideoMAE2/tree/main"
    source = WeightSource(file=V2[variant], repo="OpenGVLab/VideoMAE2", page=page)
    return _model(
        variant,
        about=f"V2, ViT-{'g/14' if size == 'giant' else f'{size[0].upper()}/16'}, {how}",
        source=source if V2[variant] else WeightSource(file="a file of ViT-H", page=f"{page}/mae-h"),
        card=replace(
            CARD,
            pretraining_datasets=HYBRID,
            trained=data if variant.endswith("pt") else f"{data}; then labels of K710",
        ),
    )


MODELS = {variant: _first(variant) for variant in V1} | {variant: _second(variant) for variant in V2}
