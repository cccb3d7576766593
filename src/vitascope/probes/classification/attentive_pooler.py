"""V-JEPA's attentive heads, many at once on the same frozen tokens.

One learned query attends to all tokens: y = q0 + XAttn(q0, LN1(x)), y = y + MLP(LN2(y)), logits = W y + b (Bardes et
al. 2024, arXiv 2404.08471). With depth 4, three self-attention blocks precede it (V-JEPA 2, arXiv 2506.09985).

With a single query, keys and values need not be computed for any token. Let z be x normalized without weight and bias
(g and c below), q_h head h's part of Wq q0 + bq, and a the softmax over tokens:

    score_hn = q_h . (Wk_h (g z_n + c) + bk_h) / sqrt(D / H) = u_h . z_n + a constant,  u_h = g Wk_h' q_h / sqrt(D / H)
    value_h  = sum_n a_hn (Wv_h (g z_n + c) + bv_h) = Wv_h (g sum_n a_hn z_n + c) + bv_h

The constant does not affect the softmax, and z is the same for all P classifiers: a token costs 2 P H D multiply-adds
instead of 2 P D^2.

A time code e (`time_code`) is added to the normalized tokens, g z_n + c + e_n, and folds the same way. Its vectors are
weighted rows of a table E: e_n = E' m_n. Scores gain q_h . Wk_h E' m_n and values Wv_h E' (sum_n a_hn m_n), so z_n
followed by m_n takes the place of z_n in both sums. With depth 4 the code enters the first self-attention block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.probes.classification.time_code import TimeCode, TimeTable

NORM_EPS = 1e-5
"""Epsilon of every layer norm."""
INIT_STD = 0.02
"""Standard deviation of the initial weights. The official code truncates them at -2 and 2, which nothing reaches."""


class _Linear(torch.autograd.Function):
    """P linear maps at once, with gradients in the memory layout of the weights (torch transposes and copies them)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_weight = slope.mT * x if x.shape[1] == 1 else slope.mT @ x
        return slope @ weight if ctx.needs_input_grad[0] else None, of_weight, slope.sum(1)


def stacked_linear(
    x: Float[Tensor, "p m d"], weight: Float[Tensor, "p e d"], bias: Float[Tensor, "p e"]
) -> Float[Tensor, "p m e"]:
    """Return W x + b for each of P weights and biases; follows autocast."""
    if torch.is_autocast_enabled(x.device.type):
        lower = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(lower), weight.to(lower), bias.to(lower)
    y: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class StackedLinear(nn.Module):
    """P linear layers, each with its own input."""

    def __init__(self, count: int, dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, out, dim))
        self.bias = nn.Parameter(torch.empty(count, out))

    def forward(self, x: Float[Tensor, "p *s d"]) -> Float[Tensor, "p *s e"]:
        """Apply layer i to x[i]."""
        return stacked_linear(x.flatten(1, -2), self.weight, self.bias).view(*x.shape[:-1], -1)


class StackedLayerNorm(nn.Module):
    """P layer norms; the statistics of a shared input are computed once."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim))
        self.bias = nn.Parameter(torch.empty(count, dim))

    def forward(self, x: Float[Tensor, "g *s d"]) -> Float[Tensor, "p *s d"]:
        """Apply norm i to x[i], or to x[0] if the input is shared."""
        return self.scaled(F.layer_norm(x, x.shape[-1:], eps=NORM_EPS))

    def scaled(self, z: Float[Tensor, "g *s d"]) -> Float[Tensor, "p *s d"]:
        """Apply weight and bias to normalized input."""
        between = (slice(None), *[None] * (z.ndim - 2))
        return z * self.weight[between] + self.bias[between]


class StackedMLP(nn.Module):
    """P MLPs: two linear layers with the exact GELU between them."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.fc1 = StackedLinear(count, dim, 4 * dim)
        self.fc2 = StackedLinear(count, 4 * dim, dim)

    def forward(self, x: Float[Tensor, "p *s d"]) -> Float[Tensor, "p *s d"]:
        """Apply the MLPs to each vector."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class SelfAttention(nn.Module):
    """P self-attention layers, scaled by head_dim ** -0.5."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = StackedLinear(count, dim, 3 * dim)
        self.proj = StackedLinear(count, dim, dim)

    def forward(self, x: Float[Tensor, "p b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "p b n d"]:
        """Let every token attend to the tokens in `mask`."""
        q, k, v = self.qkv(x).flatten(0, 1).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attn_mask = None if mask is None else mask.repeat(len(x), 1)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask).transpose(1, 2).flatten(2)
        y: Tensor = self.proj(mixed.unflatten(0, x.shape[:2]))
        return y


class SelfBlock(nn.Module):
    """P pre-norm transformer blocks."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = StackedLayerNorm(count, dim)
        self.attn = SelfAttention(count, dim, heads)
        self.norm2 = StackedLayerNorm(count, dim)
        self.mlp = StackedMLP(count, dim)

    def forward(
        self, x: Float[Tensor, "g b n d"], mask: Bool[Tensor, "b n"] | None, code: Float[Tensor, "#p #b n d"] | None
    ) -> Float[Tensor, "p b n d"]:
        """Apply the blocks to shared tokens (g = 1) or to the tokens of each, which attention reads with their code."""
        read = self.norm1(x)
        x = x + self.attn(read if code is None else read + code, mask)
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Code(NamedTuple):
    """Time codes of tokens, as weights of the rows of a table for each of P heads (or one for all)."""

    weights: Float[Tensor, "#b n r"]
    table: Float[Tensor, "#p r d"]

    @property
    def vectors(self) -> Float[Tensor, "#p #b n d"]:
        """The code of every token."""
        return self.weights @ self.table[:, None]


class CrossAttention(nn.Module):
    """P cross-attentions of one query to all tokens, without output projection, folded as in the module docstring."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (StackedLinear(count, dim, dim) for _ in range(3))
        # shifts all scores equally, so it has no effect: kept for export only
        self.k.bias.requires_grad_(False)

    def forward(
        self,
        query: Float[Tensor, "p d"],
        x: Float[Tensor, "g b n d"],
        norm: StackedLayerNorm,
        mask: Bool[Tensor, "b n"] | None,
        code: Code | None,
    ) -> Float[Tensor, "p b d"]:
        """Attend to shared tokens (g = 1) or to those of each query; `norm` is the layer norm of the tokens."""
        z, u = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS), self.query_keys(query)
        folded = u * norm.weight[:, None]
        if code is not None:
            z = torch.cat([z, code.weights.expand(*z.shape[:-1], -1)], -1)
            folded = torch.cat([folded, u @ code.table.mT], -1)
        scores = folded.reshape(len(x), 1, -1, z.shape[-1]) @ z.mT
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        mixed = (scores.softmax(-1) @ z).unflatten(2, (-1, self.heads)).transpose(1, 2).flatten(0, 1)
        attended = norm.scaled(mixed[..., : x.shape[-1]])
        if code is not None:
            attended = attended + mixed[..., x.shape[-1] :] @ code.table[:, None]
        attended = attended.transpose(1, 2).flatten(0, 1)
        rows = (len(attended), -1)
        parts = stacked_linear(attended, self.v.weight.view(*rows, attended.shape[-1]), self.v.bias.view(rows))
        values: Tensor = parts.unflatten(0, (-1, self.heads))
        return values.transpose(1, 2).flatten(2)

    def query_keys(self, query: Float[Tensor, "p d"]) -> Float[Tensor, "p h d"]:
        """Return Wk_h' q_h / sqrt(D / H) of every head: attention scores are its products with what keys are of."""
        q = self.q(query[:, None]) * (query.shape[-1] // self.heads) ** -0.5
        q, keys = q.unflatten(-1, (self.heads, -1)).transpose(1, 2), self.k.weight.unflatten(1, (self.heads, -1))
        u: Tensor = (q @ keys).squeeze(2)
        return u


class CrossBlock(nn.Module):
    """P cross-attention blocks: a query, cross-attention and an MLP with residual connections."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = StackedLayerNorm(count, dim)
        self.xattn = CrossAttention(count, dim, heads)
        self.norm2 = StackedLayerNorm(count, dim)
        self.mlp = StackedMLP(count, dim)

    def forward(
        self,
        query: Float[Tensor, "p d"],
        x: Float[Tensor, "g b n d"],
        mask: Bool[Tensor, "b n"] | None,
        code: Code | None,
    ) -> Float[Tensor, "p b d"]:
        """Return one pooled vector per clip and classifier."""
        y = query[:, None] + self.xattn(query, x, self.norm1, mask, code)
        pooled: Tensor = y + self.mlp(self.norm2(y))
        return pooled


class Pooler(nn.Module):
    """P attentive poolers with `depth` - 1 self-attention blocks; parameters have the official names."""

    def __init__(self, count: int, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(count, 1, 1, dim))
        self.cross_attention_block = CrossBlock(count, dim, heads)
        self.blocks = nn.ModuleList(SelfBlock(count, dim, heads) for _ in range(depth - 1))

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None, code: Code | None = None
    ) -> Float[Tensor, "p b d"]:
        """Return one pooled vector per clip and classifier; only the self-attention blocks follow autocast.

        Time codes are added to the tokens that the first attention reads.
        """
        x = x.to(self.query_tokens.dtype)
        tokens = x[None] if mask is None else x.masked_fill(~mask[..., None], 0)[None]
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, mask, code.vectors if code and i == 0 else None)
        # the rest costs almost nothing, and reading the weights once is cheaper than rounding them first
        with torch.autocast(x.device.type, enabled=False):
            last = None if self.blocks else code
            pooled: Tensor = self.cross_attention_block(self.query_tokens.flatten(1), tokens, mask, last)
        return pooled


class AttentiveHeads(nn.Module):
    """P attentive classifiers; each parameter is the official one with a leading axis of size P.

    Parameters are allocated but not initialized: see `random_heads` and `load_official`. A time code has one row for
    each of `steps` time steps; clips of other numbers of steps interpolate.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        heads: int,
        depth: int = 1,
        count: int = 1,
        time: TimeCode = "none",
        steps: int = 1,
    ) -> None:
        super().__init__()
        if min(dim, classes, heads, depth, count) < 1 or dim % heads:
            raise UserError(
                f"attentive heads: dim {dim}, classes {classes}, heads {heads}, depth {depth}, count {count}: all must "
                "be positive, and dim divisible by heads"
            )
        self.pooler = Pooler(count, dim, heads, depth)
        self.linear = StackedLinear(count, dim, classes)
        self.time = None if time == "none" else TimeTable(count, steps, dim, fixed=time == "sine")

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None, steps: int = 1
    ) -> Float[Tensor, "p b c"]:
        """Return the logits of every classifier in the precision of its parameters; tokens outside `mask` are ignored.

        `mask` must keep at least one token of each clip. The tokens are those of `steps` time steps, in order of time,
        equally many each.
        """
        code = None
        if self.time is not None:
            code = Code(self.time.weights(x, mask, steps), self.time.codes)
        pooled = self.pooler(x, mask, code)
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.linear(pooled)
        return logits


def random_heads(
    generator: torch.Generator,
    dim: int,
    classes: int,
    *,
    heads: int,
    depth: int = 1,
    count: int = 1,
    time: TimeCode = "none",
    steps: int = 1,
) -> AttentiveHeads:
    """Return `count` identical heads drawn from `generator`, so that candidates differ in their settings only.

    Weights and queries: normal with standard deviation 0.02; biases 0, norms 1. As in V-JEPA 2, the matrices that end a
    residual branch are divided by sqrt(2 l); l counts the self-attention blocks from 1, and the cross-attention block
    has that of the last, which leaves 1 for a head without others, as in V-JEPA. A time code starts from sines.
    """
    model = AttentiveHeads(dim, classes, heads=heads, depth=depth, count=count, time=time, steps=steps)
    drawn = ((name, p) for name, p in model.named_parameters() if not name.startswith("time."))
    for name, parameter in drawn:
        one = parameter.detach()[0]
        if one.ndim > 1:
            one.normal_(std=INIT_STD, generator=generator)
            one /= math.sqrt(2 * _layer(name, depth)) if name.endswith(("proj.weight", "fc2.weight")) else 1
        else:
            one.fill_(float("norm" in name and name.endswith("weight")))
        parameter.detach()[1:] = one
    return model


def _layer(name: str, depth: int) -> int:
    _, block, rest = name.partition("blocks.")
    return int(rest.partition(".")[0]) + 1 if block else max(depth - 1, 1)


KV = "pooler.cross_attention_block.xattn.kv."
"""Official name of the joint layer that is `k` and `v` here."""
UNUSED = "pooler.cross_attention_block.xattn.proj."
"""In the weight files of V-JEPA, but never used by its code."""


def load_official(state: Mapping[str, Tensor], *, heads: int) -> AttentiveHeads:
    """Load one classifier from the state dict of V-JEPA or V-JEPA 2; `heads` cannot be derived from the tensors.

    Raises UserError if a tensor is missing, unused or of another shape.
    """
    tensors = {
        name.removeprefix("module."): tensor for name, tensor in state.items()
    }  # prefix added by distributed training
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(UNUSED)}
    if missing := [name for name in ("linear.weight", f"{KV}weight", f"{KV}bias") if name not in tensors]:
        raise UserError(f"attentive head: no tensor {missing[0]}{nearest(missing[0], tensors)}")
    if tensors["linear.weight"].ndim != 2:
        raise UserError(f"attentive head: linear.weight is {list(tensors['linear.weight'].shape)}, not a matrix")
    classes, dim = tensors["linear.weight"].shape
    depth = 1 + len({name.split(".")[2] for name in tensors if name.startswith("pooler.blocks.")})
    for end in ("weight", "bias"):
        keys, values = tensors.pop(KV + end).chunk(2)
        tensors |= {f"{KV[:-3]}k.{end}": keys, f"{KV[:-3]}v.{end}": values}
    with torch.device("meta"):
        model = AttentiveHeads(dim, classes, heads=heads, depth=depth)
    expected = {name: list(tensor.shape[1:]) for name, tensor in model.state_dict().items()}
    for name in [*expected, *tensors]:
        if name not in expected or name not in tensors:
            which, known = ("unused", expected) if name in tensors else ("no", tensors)
            raise UserError(f"attentive head: {which} tensor {name}{nearest(name, known)}")
        if list(tensors[name].shape) != expected[name]:
            raise UserError(f"attentive head: {name} is {list(tensors[name].shape)}, not {expected[name]}")
    stacked = {name: tensor.detach().clone()[None] for name, tensor in tensors.items()}
    model.load_state_dict(stacked, assign=True)
    return model


def official_state(model: AttentiveHeads, i: int) -> dict[str, Tensor]:
    """Return the state dict of classifier `i` with the official names, as `load_official` reads it."""
    state = {name: tensor[i].clone() for name, tensor in model.state_dict().items()}
    for end in ("weight", "bias"):
        state[KV + end] = torch.cat([state.pop(f"{KV[:-3]}{part}.{end}") for part in "kv"])
    return state
