"""DINOv3 (Simeoni et al., 2025): vision transformers trained on web images, applied frame by frame."""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.pixel_transform import PixelTransform
from vitascope.encoders.spec import IMAGE_CARD, CheckpointLayout, Model, State, WeightSource
from vitascope.nn.configs.image_vit import ImageViTConfig, transformers

BASE = ImageViTConfig(
    dim=768,
    depth=12,
    heads=12,
    mlp=3072,
    registers=4,
    table="none",
    rope="centered",
    eps=1e-5,
    layer_scale=True,
)
SMALL = replace(BASE, dim=384, heads=6, mlp=1536)
SIZES = {
    "small": ("vits16", SMALL),
    "small-plus": ("vits16plus", replace(SMALL, gated=True)),
    "base": ("vitb16", BASE),
    "large": ("vitl16", replace(BASE, dim=1024, depth=24, heads=16, mlp=4096)),
    "huge-plus": ("vith16plus", replace(BASE, dim=1280, depth=32, heads=20, mlp=5120, gated=True)),
    "7b": (
        "vit7b16",
        replace(BASE, dim=4096, depth=40, heads=32, mlp=8192, gated=True, gated_multiple=64, qkv_bias=False),
    ),
}


def masked(state: State) -> State:
    """Apply the masks of the query, key and value biases; a bias without a mask is renamed so that loading fails."""
    out: State = {}
    for key, tensor in state.items():
        mask = state.get(f"{key}_mask")
        if mask is not None and mask.shape == tensor.shape:
            out[key] = tensor * mask
        elif key.endswith("attn.qkv.bias"):
            out[f"{key} without its {key}_mask"] = tensor
        elif not key.endswith("_mask") or key.removesuffix("_mask") not in out:
            out[key] = tensor
    return out


def keyless(state: State) -> State:
    """Add zero biases for keys, which transformers omits even if queries have biases."""
    keys = {key: key.replace("attn.q.bias", "attn.k.bias") for key in state if key.endswith("attn.q.bias")}
    return {ours: state[theirs] * 0 for theirs, ours in keys.items()} | state


def biasless(state: State) -> State:
    """Add zero biases where timm has none: those of the distilled models are zero."""
    weights = {key: tensor for key, tensor in state.items() if key.endswith("attn.qkv.weight")}
    zeros = {key.replace("weight", "bias"): tensor[:, 0] * 0 for key, tensor in weights.items()}
    bare = not any(key.endswith(("attn.q_bias", "attn.qkv.bias")) for key in state)
    return {**state, **zeros} if bare else state


TIMM = CheckpointLayout(
    name="timm",
    mark=r"reg_token$",
    containers=("", "state_dict"),
    renames=(
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^reg_token$", "register_tokens"),
        (r"\.mlp\.fc1_g\.", ".mlp.w1."),
        (r"\.mlp\.fc1_x\.", ".mlp.w2."),
    ),
    surplus=(r"head\.",),
    convert=biasless,
)
OFFICIAL = CheckpointLayout(
    name="official",
    mark=r"(patch_embed|blocks|rope_embed|storage_tokens)",
    containers=("",),
    renames=(
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^storage_tokens$", "register_tokens"),
        (r"^rope_embed\.", ""),
    ),
    surplus=(r"mask_token$", r"local_cls_norm\."),
    convert=masked,
)
RENAMES = (
    (r"^embeddings\.patch_embeddings\.", "patch_embed."),
    (r"^embeddings\.", ""),
    (r"^(model\.)?layer\.", "blocks."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)
GATED = CheckpointLayout(
    name="transformers, gated",
    mark=r"(model\.)?layer\.\d+\.mlp\.gate_proj\.",
    containers=("",),
    renames=(
        *RENAMES,
        (r"\.mlp\.gate_proj\.", ".mlp.w1."),
        (r"\.mlp\.up_proj\.", ".mlp.w2."),
        (r"\.mlp\.down_proj\.", ".mlp.w3."),
    ),
    surplus=(r"embeddings\.mask_token$",),
    convert=keyless,
)
PLAIN = replace(
    GATED,
    name="transformers",
    mark=r"(embeddings|(model\.)?layer)\.",
    renames=(*RENAMES, (r"\.mlp\.up_proj\.", ".mlp.fc1."), (r"\.mlp\.down_proj\.", ".mlp.fc2.")),
)
CARD = replace(
    IMAGE_CARD,
    resize="square",
    pool="mean over the frames of the class token after the final norm (x_norm_clstoken of the official code)",
    transform="squashed to the input size, antialiased bilinear (make_transform in the README of the official code; "
    "its kNN and linear probes resize the short side to 256 for 224 pixels, bicubic, and crop the center)",
    pretraining_datasets=frozenset({"in1k"}),
    trained="LVD-1689M, images; IN-1k is in it",
    license="DINOv3 License",
)


def _model(variant: str) -> Model:
    name, shape = SIZES[variant]
    repo = f"facebook/dinov3-{name}-pretrain-lvd1689m"
    file = "model.safetensors.index.json" if variant == "7b" else "model.safetensors"  # sharded
    last = ((r"\.mlp\.fc2\.", ".mlp.w3."),) if shape.gated else ()
    timm = replace(TIMM, renames=(*TIMM.renames, *last), convert=TIMM.convert if shape.qkv_bias else None)
    return Model(
        about=f"ViT-{variant}/16, frame by frame",
        card=replace(CARD, name=f"dinov3/{variant}"),
        shape=shape,
        layouts=(timm, OFFICIAL, GATED, PLAIN),
        source=WeightSource(file=file, repo=repo, page=f"https://huggingface.co/{repo}", gated=True),
        framewise=True,
        authors=PixelTransform(resize="square"),
        from_config=transformers,
    )


MODELS = {variant: _model(variant) for variant in SIZES}
