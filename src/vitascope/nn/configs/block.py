"""Config of a transformer block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Activation: TypeAlias = Literal["gelu", "gelu_tanh", "quick_gelu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockConfig:
    """A pre-norm transformer block with residual attention and MLP."""

    dim: int
    """Width of the tokens."""
    heads: int
    """Number of attention heads."""
    mlp: int
    """Hidden width of the MLP."""
    eps: float = 1e-6
    """Epsilon of all norms."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    qkv_bias: bool = True
    qk_norm: bool = False
    """RMSNorm of queries and keys, jointly over all heads."""
    layer_scale: bool = False
    """A learned factor per channel on the output of attention and MLP."""
    act: Activation = "gelu"
    gated: bool = False
    """SwiGLU instead of a two-layer MLP; `mlp` is then the width of each half."""

    @property
    def params(self) -> int:
        """Number of parameters."""
        norm = self.dim * (2 if self.norm == "layernorm" else 1)
        attention = 4 * self.dim**2 + self.dim + (3 * self.dim if self.qkv_bias else 0)
        mlp = (3 if self.gated else 2) * self.dim * self.mlp + (2 if self.gated else 1) * self.mlp + self.dim
        return 2 * norm + attention + mlp + 2 * self.dim * (self.qk_norm + self.layer_scale)

    def macs(self, tokens: int) -> int:
        """Multiply-adds for a sequence of `tokens` tokens."""
        return tokens * (4 * self.dim**2 + (3 if self.gated else 2) * self.dim * self.mlp) + 2 * tokens**2 * self.dim
