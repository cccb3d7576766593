"""Self-attention and the pre-norm transformer block, with the few switches by which published models differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.nn.configs.block import Activation, BlockConfig

PIECE = 2**21
"""Scores at a time of attention as plain products: 4 MB, which the allocator hands out again and caches hold."""


class Rope(NamedTuple):
    """Angles of a rotary position embedding, one row a token; rows of zeros leave a token as it is."""

    cos: Float[Tensor, "l d"]
    sin: Float[Tensor, "l d"]
    pairs: bool
    """Whether channels 2i and 2i + 1 turn together; else i and i + d / 2."""

    def turn(self, x: Float[Tensor, "n h l d"]) -> Float[Tensor, "n h l d"]:
        """Queries or keys, turned in float32."""
        if self.pairs:
            even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
            across = torch.stack((-odd, even), -1).flatten(-2)
        else:
            first, second = x.chunk(2, -1)
            across = torch.cat((-second, first), -1)
        return (x * self.cos + across * self.sin).to(x.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), as CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
}


class RMSNorm(nn.Module):
    """Division by the root mean square over the last axis, in float32, and a weight a channel."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
        """Vector by vector."""
        return F.rms_norm(x.float(), x.shape[-1:], None, self.eps).to(x.dtype) * self.weight


class LayerScale(nn.Module):
    """A factor a channel on what a layer adds."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
        """Channel by channel."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection to queries, keys and values; scale head_dim ** -0.5."""

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool = True, norm_eps: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.q_norm = nn.Identity() if norm_eps is None else RMSNorm(dim, norm_eps)
        self.k_norm = nn.Identity() if norm_eps is None else RMSNorm(dim, norm_eps)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "n l d"], rope: Rope | None = None) -> Float[Tensor, "n l d"]:
        """Every token looks at every token."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q_norm(q), self.k_norm(k), v))
        if rope is not None:
            q, k = rope.turn(q), rope.turn(k)
        mixed: Tensor = self.proj(attended(q, k, v).transpose(1, 2).flatten(2))
        return mixed


def attended(
    q: Float[Tensor, "n h l d"], k: Float[Tensor, "n h l d"], v: Float[Tensor, "n h l d"]
) -> Float[Tensor, "n h l d"]:
    """Values mixed by the softmax of queries times keys, scaled by d ** -0.5.

    In bfloat16 on a CPU as plain products, a few heads at a time: torch's fused kernel takes 2 to 5 times as long there
    (16 to 1568 tokens), and so do the products where their scores are fresh memory every time.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v)
    heads = max(PIECE // (q.shape[2] * k.shape[2]), 1)
    queries, keys, values = ((q * q.shape[-1] ** -0.5).flatten(0, 1), k.flatten(0, 1).mT, v.flatten(0, 1))
    pieces = zip(queries.split(heads), keys.split(heads), values.split(heads), strict=True)
    mixed: Tensor = torch.cat([(a @ b).softmax(-1) @ c for a, b, c in pieces]).unflatten(0, q.shape[:2])
    return mixed


class Mlp(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, dim: int, hidden: int, act: Activation = "gelu", *, out: int | None = None) -> None:
        super().__init__()
        self.act = ACTIVATIONS[act]
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out or dim)

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s e"]:
        """Token by token."""
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class GatedMlp(nn.Module):
    """SwiGLU: one half of the first layer, through SiLU, times the other half, and a second layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
        """Token by token."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        y: Tensor = self.w3(F.silu(gate) * value)
        return y


def norm_of(shape: BlockConfig) -> nn.Module:
    """The norm of a block of this shape."""
    return (nn.LayerNorm if shape.norm == "layernorm" else RMSNorm)(shape.dim, eps=shape.eps)


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to what came in."""

    def __init__(self, shape: BlockConfig) -> None:
        super().__init__()
        dim = shape.dim
        self.norm1 = norm_of(shape)
        norm_eps = shape.eps if shape.qk_norm else None
        self.attn = Attention(dim, shape.heads, qkv_bias=shape.qkv_bias, norm_eps=norm_eps)
        self.ls1 = LayerScale(dim) if shape.layer_scale else nn.Identity()
        self.norm2 = norm_of(shape)
        self.mlp = GatedMlp(dim, shape.mlp) if shape.gated else Mlp(dim, shape.mlp, shape.act)
        self.ls2 = LayerScale(dim) if shape.layer_scale else nn.Identity()

    def forward(self, x: Float[Tensor, "n l d"], rope: Rope | None = None) -> Float[Tensor, "n l d"]:
        """One layer of the trunk."""
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        y: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return y


class AttentionPool(nn.Module):
    """One vector of a sequence: its mean asks, every token answers (the clip projector of InternVideo2).

    Keys and values have norms of their own; there is no residual and no MLP after it.
    """

    def __init__(self, dim: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1_q, self.norm1_k, self.norm1_v = (nn.LayerNorm(dim, eps=1e-5) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.proj = nn.Linear(dim, out)

    def forward(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n c"]:
        """The pooled vector."""
        q = self.q(self.norm1_q(x.mean(1, keepdim=True)))
        k, v = self.k(self.norm1_k(x)), self.v(self.norm1_v(x))
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        pooled: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))
        return pooled
