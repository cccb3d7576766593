"""Attentive heads of V-JEPA's form, many at once on the same frozen tokens.

One learned query asks, every token answers: y = q0 + XAttn(q0, LN1(x)), y = y + MLP(LN2(y)), logits = W y + b (Bardes et
al. 2024, arXiv 2404.08471). Of depth 4 there are three self-attention blocks before it (V-JEPA 2, arXiv 2506.09985).

With a single query, keys and values need not be formed for any token. Let z be x normalized without weight and bias
(g and c below), q_h head h's part of Wq q0 + bq, and a the softmax over tokens:

    score_hn = q_h . (Wk_h (g z_n + c) + bk_h) / sqrt(D / H) = u_h . z_n + a constant,  u_h = g Wk_h' q_h / sqrt(D / H)
    value_h  = sum_n a_hn (Wv_h (g z_n + c) + bv_h) = Wv_h (g sum_n a_hn z_n + c) + bv_h

The constant leaves the softmax as it is, and z is the same for all P classifiers: a token costs 2 P H D multiply-adds
instead of 2 P D^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

EPS = 1e-5
"""Of every norm."""
STD = 0.02
"""Of the weights at the start, before they are cut off at twice that."""


class _Linear(torch.autograd.Function):
    """P products at once whose gradients are laid out as the weights are; torch's own are transposed, then copied."""

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


def linear(
    x: Float[Tensor, "p m d"], weight: Float[Tensor, "p e d"], bias: Float[Tensor, "p e"]
) -> Float[Tensor, "p m e"]:
    """W x + b, each of P with its own W and b; follows autocast."""
    if torch.is_autocast_enabled(x.device.type):
        lower = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(lower), weight.to(lower), bias.to(lower)
    y: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class Linears(nn.Module):
    """P linear layers; the input may differ from one to the next."""

    def __init__(self, count: int, dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, out, dim))
        self.bias = nn.Parameter(torch.empty(count, out))

    def forward(self, x: Float[Tensor, "p *s d"]) -> Float[Tensor, "p *s e"]:
        """Layer i on x[i]."""
        return linear(x.flatten(1, -2), self.weight, self.bias).view(*x.shape[:-1], -1)


class Norms(nn.Module):
    """P layer norms; the statistics of an input that all share are taken once."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, dim))
        self.bias = nn.Parameter(torch.empty(count, dim))

    def forward(self, x: Float[Tensor, "g *s d"]) -> Float[Tensor, "p *s d"]:
        """Norm i on x[i], or on x[0] where there is no other."""
        return self.scaled(F.layer_norm(x, x.shape[-1:], eps=EPS))

    def scaled(self, z: Float[Tensor, "g *s d"]) -> Float[Tensor, "p *s d"]:
        """Weight and bias, on what is normalized already."""
        between = (slice(None), *[None] * (z.ndim - 2))
        return z * self.weight[between] + self.bias[between]


class Mlps(nn.Module):
    """P times two linear layers around the exact GELU."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.fc1 = Linears(count, dim, 4 * dim)
        self.fc2 = Linears(count, 4 * dim, dim)

    def forward(self, x: Float[Tensor, "p *s d"]) -> Float[Tensor, "p *s d"]:
        """Vector by vector."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class SelfAttention(nn.Module):
    """P self-attentions; scale head_dim ** -0.5."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linears(count, dim, 3 * dim)
        self.proj = Linears(count, dim, dim)

    def forward(self, x: Float[Tensor, "p b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "p b n d"]:
        """Every token looks at every token that `mask` shows."""
        q, k, v = self.qkv(x).flatten(0, 1).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        shown = None if mask is None else mask.repeat(len(x), 1)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=shown).transpose(1, 2).flatten(2)
        y: Tensor = self.proj(mixed.unflatten(0, x.shape[:2]))
        return y


class SelfBlock(nn.Module):
    """P pre-norm transformer blocks."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = Norms(count, dim)
        self.attn = SelfAttention(count, dim, heads)
        self.norm2 = Norms(count, dim)
        self.mlp = Mlps(count, dim)

    def forward(self, x: Float[Tensor, "g b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "p b n d"]:
        """Tokens that all share (g = 1), or each block's own."""
        x = x + self.attn(self.norm1(x), mask)
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class CrossAttention(nn.Module):
    """P attentions of one query to all tokens, without output projection, folded as the head of this file says."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (Linears(count, dim, dim) for _ in range(3))
        # adds the same to every score, so that nothing depends on it: it waits for the export
        self.k.bias.requires_grad_(False)

    def forward(
        self,
        query: Float[Tensor, "p d"],
        x: Float[Tensor, "g b n d"],
        norm: Norms,
        mask: Bool[Tensor, "b n"] | None,
    ) -> Float[Tensor, "p b d"]:
        """What the queries get of tokens that all share (g = 1), or of their own; `norm` is that of the tokens."""
        z = F.layer_norm(x, x.shape[-1:], eps=EPS)
        scores = self.asked(query, norm).reshape(len(x), 1, -1, x.shape[-1]) @ z.mT
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        mixed = (scores.softmax(-1) @ z).unflatten(2, (-1, self.heads)).transpose(1, 2).flatten(0, 1)
        seen = norm.scaled(mixed).transpose(1, 2).flatten(0, 1)
        rows = (len(seen), -1)
        parts = linear(seen, self.v.weight.view(*rows, seen.shape[-1]), self.v.bias.view(rows))
        heard: Tensor = parts.unflatten(0, (-1, self.heads))
        return heard.transpose(1, 2).flatten(2)

    def asked(self, query: Float[Tensor, "p d"], norm: Norms) -> Float[Tensor, "p h d"]:
        """u of every head: its scores are products of it with the normalized tokens."""
        q = self.q(query[:, None]) * (query.shape[-1] // self.heads) ** -0.5
        q, keys = q.unflatten(-1, (self.heads, -1)).transpose(1, 2), self.k.weight.unflatten(1, (self.heads, -1))
        u: Tensor = (q @ keys).squeeze(2) * norm.weight[:, None]
        return u


class CrossBlock(nn.Module):
    """P queries, what they get of the tokens, and an MLP, each added to what came in."""

    def __init__(self, count: int, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = Norms(count, dim)
        self.xattn = CrossAttention(count, dim, heads)
        self.norm2 = Norms(count, dim)
        self.mlp = Mlps(count, dim)

    def forward(
        self, query: Float[Tensor, "p d"], x: Float[Tensor, "g b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> Float[Tensor, "p b d"]:
        """One vector for each clip and classifier."""
        y = query[:, None] + self.xattn(query, x, self.norm1, mask)
        pooled: Tensor = y + self.mlp(self.norm2(y))
        return pooled


class Pooler(nn.Module):
    """P learned queries, after `depth` - 1 self-attention blocks; parameters have the official names."""

    def __init__(self, count: int, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(count, 1, 1, dim))
        self.cross_attention_block = CrossBlock(count, dim, heads)
        self.blocks = nn.ModuleList(SelfBlock(count, dim, heads) for _ in range(depth - 1))

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "p b d"]:
        """One vector for each clip and classifier; only the self-attention blocks follow autocast."""
        x = x.to(self.query_tokens.dtype)
        tokens = x[None] if mask is None else x.masked_fill(~mask[..., None], 0)[None]
        for block in self.blocks:
            tokens = block(tokens, mask)
        # what is left costs next to nothing, and reading weights once is cheaper than to round them first
        with torch.autocast(x.device.type, enabled=False):
            pooled: Tensor = self.cross_attention_block(self.query_tokens.flatten(1), tokens, mask)
        return pooled


class AttentiveHeads(nn.Module):
    """P attentive classifiers; each parameter is the official one with an axis for the P before its own.

    Memory is set aside and not filled: see `random_heads` and `load_official`.
    """

    def __init__(self, dim: int, classes: int, *, heads: int, depth: int = 1, count: int = 1) -> None:
        super().__init__()
        if min(dim, classes, heads, depth, count) < 1 or dim % heads:
            raise UserError(
                f"attentive heads: dim {dim}, classes {classes}, heads {heads}, depth {depth}, count {count}: all must "
                "be positive, and dim a multiple of heads"
            )
        self.pooler = Pooler(count, dim, heads, depth)
        self.linear = Linears(count, dim, classes)

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None) -> Float[Tensor, "p b c"]:
        """Logits of every classifier, in the parameters' precision; tokens that `mask` hides have no say.

        At least one token of each clip must be shown.
        """
        pooled = self.pooler(x, mask)
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.linear(pooled)
        return logits


def random_heads(
    generator: torch.Generator, dim: int, classes: int, *, heads: int, depth: int = 1, count: int = 1
) -> AttentiveHeads:
    """Heads drawn from `generator`, all `count` of them alike: a grid then compares its settings and not its starts.

    Weights and queries: normal, standard deviation 0.02, cut off at 0.04; biases 0, norms 1. The matrices that end a
    residual branch are divided by sqrt(2 l); l is 1 in the cross-attention block, 2 in the first block before it.
    """
    model = AttentiveHeads(dim, classes, heads=heads, depth=depth, count=count)
    for name, parameter in model.named_parameters():
        one = parameter.detach()[0]
        if one.ndim > 1:
            nn.init.trunc_normal_(one, std=STD, a=-2 * STD, b=2 * STD, generator=generator)
            one /= math.sqrt(2 * _layer(name)) if name.endswith(("proj.weight", "fc2.weight")) else 1
        else:
            one.fill_(float("norm" in name and name.endswith("weight")))
        parameter.detach()[1:] = one
    return model


def _layer(name: str) -> int:
    _, block, rest = name.partition("blocks.")
    return int(rest.partition(".")[0]) + 2 if block else 1


KV = "pooler.cross_attention_block.xattn.kv."
"""Official name of what is `k` and `v` here."""
UNUSED = "pooler.cross_attention_block.xattn.proj."
"""In the files of V-JEPA, and never applied there."""


def load_official(state: Mapping[str, Tensor], *, heads: int) -> AttentiveHeads:
    """One classifier with the weights of V-JEPA or V-JEPA 2, by their names; `heads` shows in no tensor.

    ValueError for a tensor that is missing, is left over or has another shape.
    """
    given = {name.removeprefix("module."): tensor for name, tensor in state.items()}  # as distributed training saves
    given = {name: tensor for name, tensor in given.items() if not name.startswith(UNUSED)}
    if missing := [name for name in ("linear.weight", f"{KV}weight", f"{KV}bias") if name not in given]:
        raise UserError(f"attentive head: no tensor {missing[0]}{nearest(missing[0], given)}")
    if given["linear.weight"].ndim != 2:
        raise UserError(f"attentive head: linear.weight is {list(given['linear.weight'].shape)}, not a matrix")
    classes, dim = given["linear.weight"].shape
    depth = 1 + len({name.split(".")[2] for name in given if name.startswith("pooler.blocks.")})
    for end in ("weight", "bias"):
        keys, values = given.pop(KV + end).chunk(2)
        given |= {f"{KV[:-3]}k.{end}": keys, f"{KV[:-3]}v.{end}": values}
    with torch.device("meta"):
        model = AttentiveHeads(dim, classes, heads=heads, depth=depth)
    expected = {name: list(tensor.shape[1:]) for name, tensor in model.state_dict().items()}
    for name in [*expected, *given]:
        if name not in expected or name not in given:
            which, known = ("unused", expected) if name in given else ("no", given)
            raise UserError(f"attentive head: {which} tensor {name}{nearest(name, known)}")
        if list(given[name].shape) != expected[name]:
            raise UserError(f"attentive head: {name} is {list(given[name].shape)}, not {expected[name]}")
    stacked = {name: tensor.detach().clone()[None] for name, tensor in given.items()}
    model.load_state_dict(stacked, assign=True)
    return model


def state_of(model: AttentiveHeads, i: int) -> dict[str, Tensor]:
    """Classifier `i` by the official names, as `load_official` reads it."""
    own = {name: tensor[i].clone() for name, tensor in model.state_dict().items()}
    for end in ("weight", "bias"):
        own[KV + end] = torch.cat([own.pop(f"{KV[:-3]}{part}.{end}") for part in "kv"])
    return own
