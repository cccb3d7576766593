"""Attention to a neighborhood, in blocks: batched products, no time x time matrix."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def blocked_attention(
    q: Float[Tensor, "b t c"], k: Float[Tensor, "b t c"], v: Float[Tensor, "b t c"], hidden: Float[Tensor, "1 _ twice"]
) -> Float[Tensor, "b t c"]:
    """Attend in blocks of d queries to 2 d keys, to which `hidden` (1, d or 1, 2 d) is added; scaled by 1 / sqrt(c).

    Block i has queries i d to (i + 1) d - 1 and the keys of two chunks of d that begin d / 2 earlier: chunks i and
    i + 1 once keys are padded by d / 2 in front. d is even. Every query must have a key.
    """
    y: Tensor = _Blocked.apply(q, k, v, hidden)  # type: ignore[no-untyped-call]
    return y


class _Blocked(torch.autograd.Function):
    """Overlapping keys and values are views of one padded copy of all sequences, and so are their gradients.

    The sequences stand one after another, so that one batched product computes all blocks; a block between two of them
    is computed in vain.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
        (count, t, width), d = q.shape, hidden.shape[-1] // 2
        blocks = -(-t // d)
        padded = q.new_empty(3, count, (blocks + 1) * d, width)
        padded[:, :, : d // 2], padded[:, :, d // 2 + t :] = 0.0, 0.0
        for rows, x in zip(padded, (q, k, v), strict=True):
            rows[:, d // 2 : d // 2 + t] = x
        queries, keys, values = _blocks(padded, d)
        scores = torch.baddbmm(hidden, queries, keys.mT, alpha=width**-0.5)
        _hide_ends(scores, t, blocks)
        weights = scores.softmax(-1)
        ctx.save_for_backward(padded, weights)
        return _sequences(torch.bmm(weights, values), count, t)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        padded, weights = ctx.saved_tensors
        (count, t, width), d = gradient.shape, weights.shape[1]
        queries, keys, values = _blocks(padded, d)
        rows = padded.shape[2]
        gradient = F.pad(gradient, (0, 0, 0, rows - t)).view(-1, d, width)[: len(weights)]
        of_weights = torch.bmm(gradient, values.mT)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(width**-0.5)
        of_q = _sequences(torch.bmm(of_scores, keys), count, t)
        pairs = ((of_scores, queries), (weights, gradient))
        of_k, of_v = (
            _fold_blocks(torch.bmm(a.mT, b)).view(count, rows, width)[:, d // 2 : d // 2 + t] for a, b in pairs
        )
        return of_q, of_k, of_v, None


def _blocks(padded: Float[Tensor, "3 b u c"], d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return views: queries (block, d, c), keys and values (block, 2 d, c)."""
    q, k, v = padded.flatten(1, 2)
    return q[d // 2 : len(q) - d + d // 2].view(-1, d, q.shape[1]), k.unfold(0, 2 * d, d).mT, v.unfold(0, 2 * d, d).mT


def _sequences(x: Float[Tensor, "blocks d c"], count: int, t: int) -> Float[Tensor, "b t c"]:
    """Return `count` sequences, between which one block is dropped."""
    if count > 1:
        x = F.pad(x, (0, 0, 0, 0, 0, 1))
    return x.view(count, -1, x.shape[2])[:, :t]


def _fold_blocks(x: Float[Tensor, "blocks twice c"]) -> Float[Tensor, "u c"]:
    """Sum overlapping blocks."""
    d = x.shape[1] // 2
    y = x.new_empty(len(x) + 1, d, x.shape[2])
    y[0], y[-1] = x[0, :d], x[-1, d:]
    torch.add(x[1:, :d], x[:-1, d:], out=y[1:-1])
    return y.flatten(0, 1)


def _hide_ends(scores: Float[Tensor, "all d twice"], t: int, blocks: int) -> None:
    """Mask keys before the first and after the last position of every sequence, in place.

    By the lowest finite number, so that the softmax is defined for padded queries, which have no other keys.
    """
    d, lowest = scores.shape[1], torch.finfo(scores.dtype).min
    end, step = t - (blocks - 1) * d + d // 2, blocks + 1
    scores[::step, :, : d // 2] = lowest
    scores[blocks - 1 :: step, :, end:] = lowest
    if blocks > 1:
        scores[blocks - 2 :: step, :, end + d :] = lowest
