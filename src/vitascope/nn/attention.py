"""Self-attention and the pre-norm transformer block, with the options by which published models differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.nn.configs.block import Activation, BlockConfig

CHUNK = 2**21
"""Attention scores per chunk in `attend`: 4 MB, which fit the cache and are reused by the allocator."""


class Rope(NamedTuple):
    """Cosines and sines of a rotary position embedding, one row per token; angle 0 leaves a token unchanged."""

    cos: Float[Tensor, "l d"]
    sin: Float[Tensor, "l d"]
    pairs: bool
    """True if channels 2i and 2i + 1 are rotated together, otherwise i and i + d / 2."""

    def rotate(self, x: Float[Tensor, "n h l d"]) -> Float[Tensor, "n h l d"]:
        """Rotate queries or keys in float32."""
        if self.pairs:
            even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
            across = torch.stack((-odd, even), -1).flatten(-2)
        else:
            first, second = x.chunk(2, -1)
            across = torch.cat((-second, first), -1)
        return (x * self.cos + across * self.sin).to(x.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the activation of CLIP."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
}


class RMSNorm(nn.Module):
    """Root mean square normalization over the last axis in float32, with a weight per channel."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
        """Normalize over the last axis."""
        return F.rms_norm(x.float(), x.shape[-1:], None, self.eps).to(x.dtype) * self.weight


class LayerScale(nn.Module):
    """A learned factor per channel on the output of a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
        """Scale each channel."""
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
        """Attend over all tokens."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q_norm(q), self.k_norm(k), v))
        if rope is not None:
            q, k = rope.rotate(q), rope.rotate(k)
        mixed: Tensor = self.proj(attend(q, k, v).transpose(1, 2).flatten(2))
        return mixed


def attend(
    q: Float[Tensor, "n h l d"], k: Float[Tensor, "n h l d"], v: Float[Tensor, "n h l d"]
) -> Float[Tensor, "n h l d"]:
    """Scaled dot-product attention with scale d ** -0.5.

    In bfloat16 on a CPU it is computed as plain matrix products, a few heads at a time: there torch's fused kernel
    takes 2 to 5 times as long (16 to 1568 tokens), and so do products that allocate new memory for all scores.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v)
    heads = max(CHUNK // (q.shape[2] * k.shape[2]), 1)
    queries, keys, values = ((q * q.shape[-1] ** -0.5).flatten(0, 1), k.flatten(0, 1).mT, v.flatten(0, 1))
    chunks = zip(queries.split(heads), keys.split(heads), values.split(heads), strict=True)
    mixed: Tensor = torch.cat([(a @ b).softmax(-1) @ c for a, b, c in chunks]).unflatten(0, q.shape[:2])
    return mixed


class Mlp(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, dim: int, hidden: int, act: Activation = "gelu", *, out: int | None = None) -> None:
        super().__init__()
        self.act = ACTIVATIONS[act]
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out or dim)

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s e"]:
        """Apply to each token."""
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class GatedMlp(nn.Module):
    """SwiGLU: SiLU of one half of the first layer times the other half, followed by a second layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*s d"]) -> Float[Tensor, "*s d"]:
        """Apply to each token."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        y: Tensor = self.w3(F.silu(gate) * value)
        return y


def make_norm(shape: BlockConfig) -> nn.Module:
    """The normalization layer of a block config."""
    return (nn.LayerNorm if shape.norm == "layernorm" else RMSNorm)(shape.dim, eps=shape.eps)


class Block(nn.Module):
    """Pre-norm transformer block: attention and MLP with residual connections."""

    def __init__(self, shape: BlockConfig) -> None:
        super().__init__()
        dim = shape.dim
        self.norm1 = make_norm(shape)
        norm_eps = shape.eps if shape.qk_norm else None
        self.attn = Attention(dim, shape.heads, qkv_bias=shape.qkv_bias, norm_eps=norm_eps)
        self.ls1 = LayerScale(dim) if shape.layer_scale else nn.Identity()
        self.norm2 = make_norm(shape)
        self.mlp = GatedMlp(dim, shape.mlp) if shape.gated else Mlp(dim, shape.mlp, shape.act)
        self.ls2 = LayerScale(dim) if shape.layer_scale else nn.Identity()

    def forward(self, x: Float[Tensor, "n l d"], rope: Rope | None = None) -> Float[Tensor, "n l d"]:
        """Apply the block to a sequence."""
        x = x + self.ls1(self.attn(self.norm1(x), rope))
        y: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return y


class AttentionPool(nn.Module):
    """Attention pooling with the mean token as the query (the clip projector of InternVideo2).

    Queries, keys and values have separate norms; there is no residual connection and no MLP.
    """

    def __init__(self, dim: int, heads: int, out: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1_q, self.norm1_k, self.norm1_v = (nn.LayerNorm(dim, eps=1e-5) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(dim, dim) for _ in range(3))
        self.proj = nn.Linear(dim, out)

    def forward(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n c"]:
        """Pool a sequence into one vector."""
        q = self.q(self.norm1_q(x.mean(1, keepdim=True)))
        k, v = self.k(self.norm1_k(x)), self.v(self.norm1_v(x))
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        pooled: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))
        return pooled
