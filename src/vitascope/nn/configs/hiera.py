"""Hiera over video as plain numbers: four stages, each of half the side and twice the width of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from vitascope.core.errors import UserError
from vitascope.nn.configs.base import changed

Features: TypeAlias = Literal["last", "fused"]

CHANNELS = 3
KERNEL, STRIDE, PADDING = (3, 7, 7), (2, 4, 4), (1, 3, 3)
"""Of the patch embedding, whose blocks overlap."""
LOCAL_STAGES = 2
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
"""What published configurations state and every video Hiera has in common."""
UNUSED = (
    *("input_size", "embed_dim", "num_heads", "q_pool", "mask_unit_size"),
    *("num_classes", "drop_path_rate", "head_dropout", "head_init_scale"),
    *("decoder_embed_dim", "decoder_depth", "decoder_num_heads"),
)
"""What they also state: read under another name, or about training and heads."""


class HieraBlockConfig(NamedTuple):
    """One block of a stage."""

    dim: int
    """Width that comes in."""
    out: int
    heads: int
    local: bool
    """Attention within a unit; else between all tokens."""
    stage: int
    first: bool
    """Of its stage, where width and resolution change; the very first block changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HieraConfig:
    """What makes one video Hiera differ from another."""

    dim: int
    """Width of the first stage."""
    heads: int
    """Of the first stage."""
    stages: tuple[int, ...]
    """Blocks of each stage."""
    clip: tuple[int, int, int] = (16, 224, 224)
    """Frames, height and width in pixels that the position tables are for."""
    fusion: bool = False
    """Whether the weights are those of a masked autoencoder: fusion heads and their norm, no norm of its own."""
    features: Features = "last"
    """`last`: tokens of the last stage, one a unit. `fused`: sum of the stages with four tokens a unit, as the
    masked autoencoder gives its decoder."""

    def __post_init__(self) -> None:
        if self.features == "fused" and not self.fusion:
            raise UserError("features:fused: only a masked autoencoder's weights can fuse stages; take a -mae variant")

    @property
    def levels(self) -> int:
        """Times that the side is halved, at most; a unit is 2 ** levels tokens wide and high."""
        return len(self.stages) - 1

    @property
    def pools(self) -> int:
        """Times that the side is halved for the features asked for: the autoencoder was trained with one less."""
        return self.levels - (self.features == "fused")

    @property
    def out(self) -> int:
        """Width of the last stage and of the summary vector."""
        return self.dim << self.levels

    @property
    def width(self) -> int:
        """Of the tokens."""
        return self.out

    @property
    def tubelet(self) -> int:
        """Frames that the frames of a clip are a multiple of."""
        return STRIDE[0]

    @property
    def patch(self) -> int:
        """Pixels that the side of a clip is a multiple of: one unit."""
        return STRIDE[1] << self.levels

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens of the first stage along time, height and width, as the position tables have them."""
        t, h, w = (size // step for size, step in zip(self.clip, STRIDE, strict=True))
        return t, h, w

    @property
    def input(self) -> tuple[int, int]:
        """Frames and side in pixels of the position tables' clips."""
        return self.clip[0], self.clip[1]

    def layers(self) -> Iterator[HieraBlockConfig]:
        """The blocks in order. The first global stage begins with a block that still looks within units."""
        for stage, depth in enumerate(self.stages):
            out, heads = self.dim * 2**stage, self.heads * 2**stage
            for i in range(depth):
                first = stage > 0 and i == 0
                local = stage < LOCAL_STAGES + first
                yield HieraBlockConfig(out // 2 if first else out, out, heads, local, stage, first)

    def fusions(self) -> list[tuple[int, int]]:
        """Width that comes in and side of the window, in tokens, of each convolution that fuses stages."""
        return [(self.dim * 2**i, 2 ** (self.levels - 1 - i)) for i in range(self.levels - 1)]

    @property
    def params(self) -> int:
        """Numbers in the weights."""
        t, h, w = self.grid
        volume = KERNEL[0] * KERNEL[1] * KERNEL[2]
        embed = (CHANNELS * volume + 1 + t + h * w) * self.dim
        fusion = sum((dim * side**2 + 1) * self.out for dim, side in self.fusions()) if self.fusion else 0
        return embed + sum(layer_params(layer) for layer in self.layers()) + 2 * self.out + fusion

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds of one clip."""
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

    def told(self, given: Mapping[str, Any]) -> HieraConfig:
        """With the numbers of a published configuration; ValueError for what no video Hiera has otherwise."""
        new = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        stages = new.get("stages", self.stages)
        fixed = {**FIXED, "mask_unit_size": (1, *[2 ** (len(stages) - 1)] * 2)}
        fixed |= {} if self.fusion else {"q_pool": len(stages) - 1}
        for key, value in fixed.items():
            if new.pop(key, value) != value:
                raise UserError(f"architecture: {key} {given[key]!r}: a video Hiera of these stages has {value!r}")
        names = {"embed_dim": "dim", "num_heads": "heads", "input_size": "clip"}
        new |= {ours: new[theirs] for theirs, ours in names.items() if theirs in new}
        return changed(self, new, UNUSED)


def layer_params(layer: HieraBlockConfig) -> int:
    """Numbers in the weights of one block."""
    dim, out = layer.dim, layer.out
    attention = (dim + 1) * 3 * out + (out + 1) * out
    mlp = 2 * MLP_RATIO * out**2 + (MLP_RATIO + 1) * out
    return 2 * dim + 2 * out + attention + mlp + ((dim + 1) * out if layer.first else 0)


def layer_macs(layer: HieraBlockConfig, tokens: int, keys: int, pool: int) -> int:
    """Multiply-adds of one block on `tokens`, each of which looks at `keys`; one in `pool` of them goes on."""
    dim, out, kept = layer.dim, layer.out, tokens // pool
    inward = tokens * dim * out * (4 if layer.first else 3)
    return inward + kept * out * (2 * keys + (1 + 2 * MLP_RATIO) * out)
