"""Tensor names of published CLIP-like image towers, shared by several families."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from vitascope.encoders.spec import CheckpointLayout, State

Renames: TypeAlias = tuple[tuple[str, str], ...]

OPENCLIP: Renames = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^proj$", "proj.weight"),
    (r"^conv1\.", "patch_embed."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.ls_([12])\.", r".ls\1."),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
"""Renames for OpenAI CLIP, OpenCLIP and PE, after the prefix of the image tower."""
OPENCLIP_TEXT = (
    r"(module\.)?(text\.|transformer\.|token_embedding\.|ln_final\.|positional_embedding$|text_projection(\.|$))",
    r"(module\.)?(logit_scale|logit_bias|attn_mask|input_resolution|context_length|vocab_size)$",
)
"""Surplus of files whose image tower is named `visual.`: text tower and scalars."""
TRANSFORMERS: Renames = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.patch_embedding\.", "patch_embed."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^visual_projection\.", "proj."),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"^head\.attention\.in_proj_", "head.attn.qkv."),
    (r"^head\.attention\.out_proj\.", "head.attn.proj."),
    (r"^head\.layernorm\.", "head.norm."),
)
"""Renames for CLIP and SigLIP in transformers, with or without the text tower."""
TRANSFORMERS_MARK = r"(vision_model\.)?(embeddings|encoder\.layers)\."
TRANSFORMERS_TEXT = (
    r"text_model\.",
    r"text_projection\.",
    r"(logit_scale|logit_bias)$",
    r"(vision_model\.)?embeddings\.position_ids$",
)
"""Surplus of transformers files: text tower and scalars."""


TIMM_PREFIX = r"^(?:module\.)?(?:visual\.trunk\.)?"
"""Prefix of the image tower in timm files: none, or that of OpenCLIP around a timm tower."""


def from_timm(state: State) -> State:
    """Split the keys and values of the attention head; drop the bias that timm adds to a projection if it is zero."""
    out: State = {}
    for key, tensor in state.items():
        if key.startswith("head.attn.kv."):
            keys, values = tensor.chunk(2)
            out |= {key.replace("kv", "k"): keys, key.replace("kv", "v"): values}
        elif key != "proj.bias" or tensor.any():
            out[key] = tensor
    return out


def with_registers(state: State) -> State:
    """Add the position of the class token, which timm adds to the token itself if there are registers."""
    import torch  # not needed to list models

    rows = state.get("pos_embed")
    if rows is None:
        return state
    return {**state, "pos_embed": torch.cat([torch.zeros_like(rows[:, :1]), rows], dim=1)}


TIMM = CheckpointLayout(
    name="timm",
    mark=TIMM_PREFIX + r"(?:patch_embed\.proj\.weight$)",
    containers=("", "model", "state_dict"),
    renames=(
        (TIMM_PREFIX, ""),
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^visual\.head\.proj\.", "proj."),
        (r"^head\.", "proj."),
        (r"^reg_token$", "register_tokens"),
        (r"^attn_pool\.latent$", "head.probe"),
        (r"^attn_pool\.(q|kv|proj)\.", r"head.attn.\1."),
        (r"^attn_pool\.", "head."),
    ),
    surplus=OPENCLIP_TEXT,
    convert=from_timm,
)
"""Layout of image towers under the names of timm's vision transformers; layer scale is renamed for all layouts."""


def clip_layouts(name: str) -> tuple[CheckpointLayout, ...]:
    """Layouts of a CLIP image tower: `name` files with the text tower or without it, transformers and timm files."""
    joint = CheckpointLayout(
        name=name,
        mark=r"(module\.)?visual\.(conv1|transformer|ln_)",
        containers=("", "state_dict"),  # `state_dict` is OpenCLIP's training checkpoint
        renames=((r"^(module\.)?(visual\.)?", ""), *OPENCLIP),
        surplus=OPENCLIP_TEXT,
        transposed=("proj.weight",),
    )
    return (
        joint,
        replace(joint, name=f"{name} image tower", mark=r"(module\.)?(conv1|ln_pre)\.", surplus=()),
        CheckpointLayout(
            name="transformers",
            mark=TRANSFORMERS_MARK,
            containers=("",),
            renames=TRANSFORMERS,
            surplus=TRANSFORMERS_TEXT,
        ),
        TIMM,
    )
