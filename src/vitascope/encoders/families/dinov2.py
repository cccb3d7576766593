"""DINOv2 (Oquab et al., TMLR 2024), also with registers (Darcet et al., ICLR 2024), applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import IMAGE_CARD, CheckpointLayout, Model, WeightSource
from vitascope.encoders.weights.tensor_names import with_registers
from vitascope.nn.configs.image_vit import ImageViTConfig, transformers

BASE = ImageViTConfig(
    dim=768,
    depth=12,
    heads=12,
    mlp=3072,
    patch=14,
    side=518,
    table="bicubic_offset",
    layer_scale=True,
)
SIZES = {
    "small": replace(BASE, dim=384, heads=6, mlp=1536),
    "base": BASE,
    "large": replace(BASE, dim=1024, depth=24, heads=16, mlp=4096),
    "giant": replace(BASE, dim=1536, depth=40, heads=24, mlp=4096, gated=True),
}
OFFICIAL = CheckpointLayout(
    name="official",
    mark=r"(backbone\.)?(patch_embed|blocks|norm)\.",
    containers=("", "teacher"),  # `teacher` in training checkpoints
    renames=(
        (r"^backbone\.", ""),
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # blocks in chunks, numbered consecutively
    ),
    surplus=(r"(backbone\.)?mask_token$", r"((dino|ibot)_)?head\."),
)
TIMM = replace(
    OFFICIAL,
    name="timm, with registers",
    mark=r"reg_token$",
    containers=("", "state_dict"),
    renames=(*OFFICIAL.renames, (r"^reg_token$", "register_tokens")),
    convert=with_registers,
)
GATED = ((r"\.mlp\.fc1\.", ".mlp.w12."), (r"\.mlp\.fc2\.", ".mlp.w3."))
"""Names of timm for the gated MLP."""
TRANSFORMERS = CheckpointLayout(
    name="transformers",
    mark=r"(dinov2(_with_registers)?\.)?(embeddings|encoder\.layer)\.",
    containers=("",),
    renames=(
        (r"^dinov2(_with_registers)?\.", ""),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed."),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.", ""),
        (r"^layernorm\.", "norm."),
        (r"^encoder\.layer\.", "blocks."),
        (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attn.\1."),
        (r"\.attention\.([qkv])_proj\.", r".attn.\1."),  # newer versions of transformers
        (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"\.mlp\.weights_in\.", ".mlp.w12."),
        (r"\.mlp\.gate_proj\.", ".mlp.w1."),
        (r"\.mlp\.up_proj\.", ".mlp.w2."),
        (r"\.mlp\.(weights_out|down_proj)\.", ".mlp.w3."),
    ),
    surplus=(r"(dinov2(_with_registers)?\.)?embeddings\.mask_token$", r"classifier\."),
)
CARD = replace(
    IMAGE_CARD,
    pool="mean over the frames of the class token after the final norm (x_norm_clstoken of the official code)",
    transform="short side to 256 for 224 pixels with Pillow's bicubic filter, center crop "
    "(make_classification_eval_transform of facebookresearch/dinov2)",
    pretraining_datasets=frozenset({"in1k"}),
    trained="LVD-142M, images; IN-22k is in it",
    license="Apache-2.0",
)


def _source(size: str, end: str) -> WeightSource:
    if not end:
        return WeightSource(file="model.safetensors", repo=f"facebook/dinov2-{size}")
    name = f"dinov2_vit{size[0]}14"
    file = f"{name}_reg4_pretrain.pth"
    page = "https://github.com/facebookresearch/dinov2"
    return WeightSource(file=file, url=f"https://dl.fbaipublicfiles.com/dinov2/{name}/{file}", page=page)


def _model(size: str, end: str) -> Model:
    shape = replace(SIZES[size], registers=4, table="bicubic_antialias") if end else SIZES[size]
    own = tuple(replace(one, renames=(*one.renames, *(GATED if shape.gated else ()))) for one in (TIMM, OFFICIAL))
    return Model(
        about=f"ViT-{size[0].upper()}/14{' with registers' if end else ''}, frame by frame",
        card=replace(CARD, name=f"dinov2/{size}{end}"),
        shape=shape,
        layouts=(*own, TRANSFORMERS),
        source=_source(size, end),
        framewise=True,
        authors=PixelTransform(filter="bicubic", crop_ratio=224 / 256),
        from_config=transformers,
    )


MODELS = {f"{size}{end}": _model(size, end) for size in SIZES for end in ("", "-reg")}
