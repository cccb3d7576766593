"""The image transformer that serves the frame-wise models, as plain numbers and flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import changed
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
"""Our fields by the names that published configurations have for them."""
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
HEADS = {"attn": "map", "tok": "cls", "avg": "all", "none": "mean"}
SETTLED = frozenset({"mlp_ratio", "use_abs_posemb", "use_rope2d", "ls_init_value", "pool_type", "frames"})
"""Words that are turned into others here, or say what the variant knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageViTConfig:
    """What makes one image transformer differ from another."""

    dim: int
    depth: int
    heads: int
    mlp: int
    """Hidden width of the MLP; of each half where it is gated."""
    patch: int = 16
    """Side of a token, pixels."""
    side: int = 224
    """Side of the square images that the position table is for, pixels."""
    cls: bool = True
    registers: int = 0
    """Tokens of no place beside the class token."""
    table: Table = "bicubic"
    """How the learned position table is brought to another grid; `none` is no table."""
    rope: Literal["none", "centered", "counted"] = "none"
    """Rotary positions: of patch centers from -1 to 1 (DINOv3), or of rows and columns counted (PE)."""
    rope_base: float = 100.0
    patch_bias: bool = True
    pre_norm: bool = False
    """A norm before the first block."""
    final_norm: bool = True
    """A norm after the last."""
    eps: float = 1e-6
    qkv_bias: bool = True
    layer_scale: bool = False
    act: Activation = "gelu"
    gated: bool = False
    """SwiGLU in place of the two-layer MLP."""
    gated_multiple: int = 8
    """What a gated width that only follows from others is rounded up to a multiple of."""
    head: Literal["cls", "map", "mean", "all"] = "cls"
    """The vector: class token, a learned query's attention over all tokens, the mean of the patches or of all."""
    head_heads: int = 0
    """Of that attention; 0 is as many as in the blocks."""
    head_ratio: int = 0
    """Hidden width of the head's MLP by `dim`; 0 is the blocks' width."""
    project: int = 0
    """Width to which the vector is projected; 0 leaves it as it is."""

    @property
    def block(self) -> BlockConfig:
        """Of every layer."""
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
        """Hidden width of the head's MLP."""
        return self.head_ratio * self.dim or self.mlp

    @property
    def width(self) -> int:
        """Of the tokens."""
        return self.dim

    @property
    def out(self) -> int:
        """Width of the summary vector."""
        return self.project or self.dim

    @property
    def input(self) -> tuple[int, int]:
        """One frame, and the side of the position table's images in pixels."""
        return 1, self.side

    @property
    def params(self) -> int:
        """Numbers in the weights, the position table included."""
        d = self.dim
        embed = 3 * self.patch**2 * d + d * self.patch_bias
        table = ((self.side // self.patch) ** 2 + self.cls) * d if self.table != "none" else 0
        norms = 2 * d * (self.pre_norm + self.final_norm)
        head = 4 * d * d + 7 * d + (2 * d + 1) * self.head_mlp + d if self.head == "map" else 0
        tokens = (self.cls + self.registers) * d
        return embed + tokens + table + norms + self.depth * self.block.params + head + d * self.project

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds of `frames` images in convolutions, matrix products and attention."""
        d, patches = self.dim, (size // self.patch) ** 2
        tokens = patches + self.cls + self.registers
        head = (2 * tokens + 2) * d**2 + 2 * tokens * d + 2 * d * self.head_mlp if self.head == "map" else 0
        one = patches * 3 * self.patch**2 * d + self.depth * self.block.macs(tokens) + head + d * self.project
        return frames * one

    def told(self, given: Mapping[str, Any]) -> ImageViTConfig:
        """With the numbers of a published configuration, under its names or ours.

        Without a hidden width it comes from `mlp_ratio` (two thirds of that where gated, up to a multiple of
        `gated_multiple`), and without that it grows with `dim`.
        """
        new = {OURS.get(key, key): value for key, value in given.items()}
        if new.get("gated", self.gated):
            new.pop("act", None)  # SwiGLU has its own, whatever is said of the other MLP
        new |= {"act": meaning(new["act"], ACTIVATIONS, "act")} if "act" in new else {}
        new |= {"head": meaning(new["pool_type"], HEADS, "pool_type")} if "pool_type" in new else {}
        new |= {"project": new["project"] or 0} if "project" in new else {}
        new |= {"layer_scale": new["ls_init_value"] is not None} if "ls_init_value" in new else {}
        new |= {"table": "none"} if new.get("use_abs_posemb") is False else {}
        new |= {"rope": "none"} if new.get("use_rope2d") is False else {}
        for key in ("patch", "side"):
            if isinstance(new.get(key), (list, tuple)):
                new[key] = square(key, new[key])
        if "mlp" not in new:
            new["mlp"] = self._hidden(new)
        return changed(self, new, SETTLED)

    def _hidden(self, new: Mapping[str, Any]) -> int:
        dim, gated = new.get("dim", self.dim), new.get("gated", self.gated)
        ratio = new.get("mlp_ratio") or (4 if gated != self.gated else None)
        wide = dim * ratio * (2 / 3 if gated else 1) if ratio else self.mlp * dim / self.dim
        whole = int(wide + 1e-6)  # 35 / 6 is not exact
        return whole + -whole % self.gated_multiple if gated else whole


def meaning(word: Any, words: Mapping[str, str], what: str) -> str:
    """What a published word is called here; ValueError for others."""
    if word not in words:
        raise UserError(f"architecture: {what} {word!r} is none of {', '.join(words)}")
    return words[word]


def square(what: str, sides: Any) -> int:
    """The one length of two equal sides; ValueError for others."""
    if len(set(sides)) != 1:
        raise UserError(f"architecture: {what} {list(sides)} is not square, and position tables are")
    return int(sides[0])


def transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers in a transformers config.json, or in its `vision_config`, under names that `told` knows."""
    vision = config.get("vision_config") or config
    found = {key: vision[key] for key in (*OURS, "mlp_ratio", "qkv_bias") if key in vision}
    if "vision_config" in config and "projection_dim" in config:
        found["projection_dim"] = config["projection_dim"]
    return found
