"""Config of video Hiera: four stages, each with half the resolution and twice the width of the previous one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import replace_fields

Features: TypeAlias = Literal["last", "fused"]

CHANNELS = 3
KERNEL, STRIDE, PADDING = (3, 7, 7), (2, 4, 4), (1, 3, 3)
"""Convolution of the patch embedding, whose patches overlap."""
LOCAL_STAGES = 2
"""Number of stages with attention within mask units."""
MLP_RATIO = 4
FIXED: dict[str, Any] = {
    "patch_kernel": KERNEL,
    "patch_stride": STRIDE,
    "patch_padding": PADDING,
    "q_stride": (1, 2, 2),
    "mask_unit_attn": (True, True, False, False),
    "dim_mul": 2.0,
    "head_mul": 2.0,
    "mlp_ratio": 4.0,
    "eps": 1e-6,
    "in_chans": CHANNELS,
    "sep_pos_embed": True,
    "norm_layer": "LayerNorm",
}
"""Values in published configs that all video Hiera models share."""
UNUSED = (
    *("input_size", "embed_dim", "num_heads", "q_pool", "mask_unit_size"),
    *("num_classes", "drop_path_rate", "head_dropout", "head_init_scale"),
    *("decoder_embed_dim", "decoder_depth", "decoder_num_heads"),
)
"""Keys of published configs that are read under another name or concern training and heads."""


class HieraBlockConfig(NamedTuple):
    """One block of a stage."""

    dim: int
    """Input width."""
    out: int
    """Output width."""
    heads: int
    """Number of attention heads."""
    local: bool
    """Attention within units instead of global attention."""
    stage: int
    """Index of the stage."""
    first: bool
    """True for the first block of every stage but the first, where width and resolution change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HieraConfig:
    """Options of a video Hiera network."""

    dim: int
    """Width of the first stage."""
    heads: int
    """Attention heads of the first stage."""
    stages: tuple[int, ...]
    """Number of blocks per stage."""
    clip: tuple[int, int, int] = (16, 224, 224)
    """Frames, height and width (pixels) of the clips that the position tables are for."""
    fusion: bool = False
    """True for the weights of a masked autoencoder: with fusion heads and their norm, without a final norm."""
    features: Features = "last"
    """`last`: tokens of the last stage, one per unit. `fused`: sum of all stages at four tokens per unit, as for the
    decoder of the masked autoencoder."""

    def __post_init__(self) -> None:
        if self.features == "fused" and not self.fusion:
            raise UserError("features=fused requires the weights of a masked autoencoder; use a -mae variant")

    @property
    def levels(self) -> int:
        """Maximum number of poolings by two; a unit has 2 ** levels x 2 ** levels tokens."""
        return len(self.stages) - 1

    @property
    def pools(self) -> int:
        """Number of poolings by two for the chosen features; the masked autoencoder was trained with one less."""
        return self.levels - (self.features == "fused")

    @property
    def out(self) -> int:
        """Width of the last stage and of the pooled vector."""
        return self.dim << self.levels

    @property
    def width(self) -> int:
        """Width of the tokens."""
        return self.out

    @property
    def tubelet(self) -> int:
        """The number of frames of a clip must be a multiple of this."""
        return STRIDE[0]

    @property
    def patch(self) -> int:
        """Side of a unit in pixels; the side of a clip must be a multiple of it."""
        return STRIDE[1] << self.levels

    @property
    def grid(self) -> tuple[int, int, int]:
        """Token grid of the first stage, as in the position tables."""
        t, h, w = (size // step for size, step in zip(self.clip, STRIDE, strict=True))
        return t, h, w

    @property
    def input(self) -> tuple[int, int]:
        """Number of frames and side in pixels of the clips that the position tables are for."""
        return self.clip[0], self.clip[1]

    def layers(self) -> Iterator[HieraBlockConfig]:
        """The blocks in order. The first block of the first global stage still uses local attention."""
        for stage, depth in enumerate(self.stages):
            out, heads = self.dim * 2**stage, self.heads * 2**stage
            for i in range(depth):
                first = stage > 0 and i == 0
                local = stage < LOCAL_STAGES + first
                yield HieraBlockConfig(out // 2 if first else out, out, heads, local, stage, first)

    def fusions(self) -> list[tuple[int, int]]:
        """Input width and window side (tokens) of each fusion convolution."""
        return [(self.dim * 2**i, 2 ** (self.levels - 1 - i)) for i in range(self.levels - 1)]

    @property
    def params(self) -> int:
        """Number of parameters."""
        t, h, w = self.grid
        volume = KERNEL[0] * KERNEL[1] * KERNEL[2]
        embed = (CHANNELS * volume + 1 + t + h * w) * self.dim
        fusion = sum((dim * side**2 + 1) * self.out for dim, side in self.fusions()) if self.fusion else 0
        return embed + sum(layer_params(layer) for layer in self.layers()) + 2 * self.out + fusion

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for one clip."""
        tokens = frames // STRIDE[0] * (size // STRIDE[1]) ** 2
        unit = 4**self.levels
        volume = KERNEL[0] * KERNEL[1] * KERNEL[2]
        total = tokens * CHANNELS * volume * self.dim
        for layer in self.layers():
            pool = 4 if layer.first and layer.stage <= self.pools else 1
            total += layer_macs(layer, tokens, unit if layer.local else tokens, pool)
            tokens, unit = tokens // pool, unit // pool
        if self.features == "fused":
            total += sum(tokens * dim * side**2 * self.out for dim, side in self.fusions())
        return total

    def updated(self, values: Mapping[str, Any]) -> HieraConfig:
        """This config with values of a published config; raises UserError for unsupported ones."""
        new = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        stages = new.get("stages", self.stages)
        fixed = {**FIXED, "mask_unit_size": (1, *[2 ** (len(stages) - 1)] * 2)}
        fixed |= {} if self.fusion else {"q_pool": len(stages) - 1}
        for key, value in fixed.items():
            if new.pop(key, value) != value:
                raise UserError(
                    f"architecture: {key} of a video Hiera with these stages must be {value!r}, not {values[key]!r}"
                )
        names = {"embed_dim": "dim", "num_heads": "heads", "input_size": "clip"}
        new |= {ours: new[theirs] for theirs, ours in names.items() if theirs in new}
        return replace_fields(self, new, UNUSED)


def layer_params(layer: HieraBlockConfig) -> int:
    """Number of parameters of one block."""
    dim, out = layer.dim, layer.out
    attention = (dim + 1) * 3 * out + (out + 1) * out
    mlp = 2 * MLP_RATIO * out**2 + (MLP_RATIO + 1) * out
    return 2 * dim + 2 * out + attention + mlp + ((dim + 1) * out if layer.first else 0)


def layer_macs(layer: HieraBlockConfig, tokens: int, keys: int, pool: int) -> int:
    """Multiply-adds of one block for `tokens` tokens, each attending to `keys`, of which one in `pool` remains."""
    dim, out, remaining = layer.dim, layer.out, tokens // pool
    inward = tokens * dim * out * (4 if layer.first else 3)
    return inward + remaining * out * (2 * keys + (1 + 2 * MLP_RATIO) * out)
