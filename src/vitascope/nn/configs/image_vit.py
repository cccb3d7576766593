"""Config of the image transformer, used by frame-wise encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import replace_fields
from vitascope.nn.configs.block import Activation, BlockConfig

Table: TypeAlias = Literal["bicubic", "bicubic_antialias", "bicubic_offset", "bilinear", "none"]

OURS = {
    "width": "dim",
    "hidden_size": "dim",
    "layers": "depth",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "mlp_hidden": "mlp",
    "intermediate_size": "mlp",
    "patch_size": "patch",
    "img": "side",
    "image_size": "side",
    "num_register_tokens": "registers",
    "layer_norm_eps": "eps",
    "hidden_act": "act",
    "swiglu": "gated",
    "use_swiglu_ffn": "gated",
    "use_gated_mlp": "gated",
    "query_bias": "qkv_bias",
    "conv_bias": "patch_bias",
    "out_dim": "project",
    "output_dim": "project",
    "projection_dim": "project",
    "use_cls_token": "cls",
    "use_ln_pre": "pre_norm",
    "use_ln_post": "final_norm",
    "attn_pooler_heads": "head_heads",
    "rope_theta": "rope_base",
}
"""Our field names by their names in published configs."""
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
"""Our activations by their names in published configs."""
HEADS = {"attn": "map", "tok": "cls", "avg": "all", "none": "mean"}
"""Our pooling heads by their names in published configs."""
TRANSLATED = frozenset({"mlp_ratio", "use_abs_posemb", "use_rope2d", "ls_init_value", "pool_type", "frames"})
"""Keys that are translated to other fields or repeat what the variant defines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageViTConfig:
    """Options of an image transformer."""

    dim: int
    """Width of the tokens."""
    depth: int
    """Number of blocks."""
    heads: int
    """Number of attention heads."""
    mlp: int
    """Hidden width of the MLP, or of each half if it is gated."""
    patch: int = 16
    """Side of a patch, pixels."""
    side: int = 224
    """Side of the images that the position table is for, pixels."""
    cls: bool = True
    """True if there is a class token."""
    registers: int = 0
    """Number of register tokens."""
    table: Table = "bicubic"
    """Interpolation of the learned position table to other token grids; `none`: no table."""
    rope: Literal["none", "centered", "counted"] = "none"
    """Rotary positions: patch centers in [-1, 1] (DINOv3), or row and column indices (PE)."""
    rope_base: float = 100.0
    """Base of the rotary frequencies."""
    patch_bias: bool = True
    """True if the patch embedding has a bias."""
    pre_norm: bool = False
    """True if there is a norm before the first block."""
    final_norm: bool = True
    """True if there is a norm after the last block."""
    eps: float = 1e-6
    """Epsilon of all norms."""
    qkv_bias: bool = True
    """True if queries, keys and values have a bias."""
    layer_scale: bool = False
    """A learned factor per channel on the output of attention and MLP."""
    act: Activation = "gelu"
    """Activation of the MLP."""
    gated: bool = False
    """SwiGLU instead of a two-layer MLP."""
    gated_multiple: int = 8
    """A gated hidden width derived from other values is rounded up to a multiple of this."""
    head: Literal["cls", "map", "mean", "all"] = "cls"
    """Pooling: class token, attention with a learned query, mean of the patches, or mean of all tokens."""
    head_heads: int = 0
    """Attention heads of the pooling head; 0: as in the blocks."""
    head_ratio: int = 0
    """Hidden width of the pooling head's MLP as a multiple of `dim`; 0: as in the blocks."""
    project: int = 0
    """Width of a linear projection of the pooled vector; 0: none."""

    @property
    def block(self) -> BlockConfig:
        """Config of the blocks."""
        return BlockConfig(
            dim=self.dim,
            heads=self.heads,
            mlp=self.mlp,
            eps=self.eps,
            qkv_bias=self.qkv_bias,
            layer_scale=self.layer_scale,
            act=self.act,
            gated=self.gated,
        )

    @property
    def head_mlp(self) -> int:
        """Hidden width of the pooling head's MLP."""
        return self.head_ratio * self.dim or self.mlp

    @property
    def width(self) -> int:
        """Width of the tokens."""
        return self.dim

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        return self.project or self.dim

    @property
    def input(self) -> tuple[int, int]:
        """One frame, and the side of the images in pixels that the position table is for."""
        return 1, self.side

    @property
    def params(self) -> int:
        """Number of parameters, including the position table."""
        d = self.dim
        embed = 3 * self.patch**2 * d + d * self.patch_bias
        table = ((self.side // self.patch) ** 2 + self.cls) * d if self.table != "none" else 0
        norms = 2 * d * (self.pre_norm + self.final_norm)
        head = 4 * d * d + 7 * d + (2 * d + 1) * self.head_mlp + d if self.head == "map" else 0
        tokens = (self.cls + self.registers) * d
        return embed + tokens + table + norms + self.depth * self.block.params + head + d * self.project

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for `frames` images in convolutions, matrix products and attention."""
        d, patches = self.dim, (size // self.patch) ** 2
        tokens = patches + self.cls + self.registers
        head = (2 * tokens + 2) * d**2 + 2 * tokens * d + 2 * d * self.head_mlp if self.head == "map" else 0
        one = patches * 3 * self.patch**2 * d + self.depth * self.block.macs(tokens) + head + d * self.project
        return frames * one

    def updated(self, values: Mapping[str, Any]) -> ImageViTConfig:
        """This config with values of a published config, under its names or ours.

        If the hidden width is not given, it is derived from `mlp_ratio` (if gated, two thirds of it, rounded up to a
        multiple of `gated_multiple`), or scaled with `dim`.
        """
        new = {OURS.get(key, key): value for key, value in values.items()}
        if new.get("gated", self.gated):
            new.pop("act", None)  # SwiGLU has its own activation
        new |= {"act": translate(new["act"], ACTIVATIONS, "act")} if "act" in new else {}
        new |= {"head": translate(new["pool_type"], HEADS, "pool_type")} if "pool_type" in new else {}
        new |= {"project": new["project"] or 0} if "project" in new else {}
        new |= {"layer_scale": new["ls_init_value"] is not None} if "ls_init_value" in new else {}
        new |= {"table": "none"} if new.get("use_abs_posemb") is False else {}
        new |= {"rope": "none"} if new.get("use_rope2d") is False else {}
        for key in ("patch", "side"):
            if isinstance(new.get(key), (list, tuple)):
                new[key] = square(key, new[key])
        if "mlp" not in new:
            new["mlp"] = self._hidden(new)
        return replace_fields(self, new, TRANSLATED)

    def _hidden(self, new: Mapping[str, Any]) -> int:
        dim, gated = new.get("dim", self.dim), new.get("gated", self.gated)
        ratio = new.get("mlp_ratio") or (4 if gated != self.gated else None)
        wide = dim * ratio * (2 / 3 if gated else 1) if ratio else self.mlp * dim / self.dim
        hidden = int(wide + 1e-6)  # 35 / 6 is not exact
        return hidden + -hidden % self.gated_multiple if gated else hidden


def translate(value: Any, names: Mapping[str, str], key: str) -> str:
    """Our name for a value of a published config; raises UserError for unknown values."""
    if value not in names:
        raise UserError(f"architecture: {key} is one of {', '.join(names)}, not {value!r}")
    return names[value]


def square(key: str, sides: Any) -> int:
    """The length of two equal sides; raises UserError if they differ."""
    if len(set(sides)) != 1:
        raise UserError(f"architecture: {key} {list(sides)} must be square")
    return int(sides[0])


def transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a transformers config.json, or of its `vision_config`, that `updated` accepts."""
    vision = config.get("vision_config") or config
    values = {key: vision[key] for key in (*OURS, "mlp_ratio", "qkv_bias") if key in vision}
    if "vision_config" in config and "projection_dim" in config:
        values["projection_dim"] = config["projection_dim"]
    return values
