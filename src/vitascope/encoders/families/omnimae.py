"""OmniMAE (Girdhar et al., CVPR 2023): a masked autoencoder for images and videos, pre-trained and fine-tuned."""

from __future__ import annotations

from dataclasses import replace

from vitascope.encoders.spec import CARD_TEMPLATE, SLOWFAST, CheckpointLayout, Model, WeightSource
from vitascope.nn.configs.video_vit import VideoViTConfig

BASE = VideoViTConfig(
    dim=768, depth=12, heads=12, mlp=3072, positions="stored", image="first", pool="mean_then_norm"
)  # the files store their fixed table, which is VideoMAE's
SHAPES = {
    "base": BASE,
    "large": replace(BASE, dim=1024, depth=24, heads=16, mlp=4096),
    "huge": replace(BASE, dim=1280, depth=32, heads=16, mlp=5120, patch=14, grid=(8, 16, 16)),
}
PRETRAINED = CheckpointLayout(
    name="pre-training",
    mark=r"trunk\.decoder\.",
    containers=("", "model", "module"),
    prefix="trunk.",
    renames=((r"^patch_embed\.proj\.1\.", "patch_embed.proj."),),  # layer 0 repeats images and has no weights
    surplus=(r"trunk\.decoder\.", r"trunk\.mask_token$", r"heads?\."),
)
TUNED = replace(PRETRAINED, name="fine-tuned", mark=r"trunk\.patch_embed\.proj\.1\.weight$", surplus=(r"heads?\.",))
LAYOUTS = {
    "": (PRETRAINED, replace(TUNED, refused="it is fine-tuned (it has no decoder); load it as -in1k-ft or -ssv2-ft")),
    "ft": (replace(PRETRAINED, refused="it is a pre-training file (it has a decoder); omit -ft"), TUNED),
}
LABELS = {"": "", "in1k-ft": "ImageNet-1k", "ssv2-ft": "SSv2"}
CARD = replace(
    CARD_TEMPLATE,
    pool="the final norm of the mean of the tokens (global_pool of the official code)",
    image="single",
    sampling="16 uniform frames of 2.7 s, 5 clips x 3 crops",
    transform="short side to 224 by torch's interpolate (bilinear, not antialiased), middle of three crops "
    "(ShortSideScale and SpatialCrop in the SSv2 configuration of facebookresearch/omnivore)",
    pretraining_datasets=frozenset({"ssv2", "in1k"}),
    license="CC BY-NC 4.0",
)


FOLDER = "https://dl.fbaipublicfiles.com/omnivore/omnimae_ckpts"
PAGE = "https://github.com/facebookresearch/omnivore/tree/main/omnimae"


def _model(size: str, kind: str) -> Model:
    file = f"vit{size[0]}_{kind.replace('-', '_') or 'pretrain'}.torch"
    training = f"fine-tuned on {LABELS[kind]}" if kind else "pre-trained on images and videos"
    return Model(
        about=f"ViT-{size[0].upper()}/{SHAPES[size].patch}, {training}",
        card=replace(
            CARD,
            name="omnimae/" + "-".join(filter(None, (size, kind))),
            trained="SSv2, ImageNet-1k" + (f"; then labels of {LABELS[kind]}" if kind else ""),
        ),
        shape=SHAPES[size],
        layouts=LAYOUTS[kind[-2:]],
        authors=SLOWFAST,
        source=WeightSource(file=file, url=f"{FOLDER}/{file}", page=PAGE),
    )


MODELS = {"-".join(filter(None, (size, kind))): _model(size, kind) for kind in LABELS for size in SHAPES}
