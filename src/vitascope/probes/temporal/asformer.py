"""ASFormer: an encoder and decoders that label every frame of a video, each refining what the one before it said.

A layer (Yi et al. 2021, arXiv 2110.08568) at dilation d = 2^i, on one video as rows of channels:

    f = relu(conv3(x, d));  z = norm(f) over time;  a = Wo relu(attention(Wq z, Wk z, Wv z)) + bo
    x <- x + dropout(W (alpha a + f) + b), at one half

Decoders take values of the stage before instead of z. Attention of a layer is cut into blocks of d frames, whose keys
are those of the block and of half a block on either side: batched products, no table of time by time. Hidden keys get
no weight at all; the public code leaves each about a millionth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vitascope.nn.fast_linear import linear, times

Reach: TypeAlias = Literal["window", "block", "full"]
"""What a frame attends to in a layer of dilation d. `window`: the d frames around it, from d / 2 before to d / 2 - 1
after, as the paper has it. `block`: all frames of its block of d and d / 2 before, d / 2 - 1 after that, as the public
code has it, whose mask is filled for every row alike. `full`: the whole video."""
REDUCED = 2
"""Channels over those of queries, keys and values."""
MOST = 16.0
"""Largest squared difference of log probabilities that smoothing punishes."""


class _Dilated(torch.autograd.Function):
    """relu(conv3), one product; the three shifted copies of x are made again for the gradient, not kept.

    oneDNN's own convolution is up to a quarter faster and needs no copies, but it is prepared for each length and each
    dilation anew, which takes as long as is won where a data set has more lengths than oneDNN remembers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        y = times(_shifted(x, dilation), weight.flatten(1), bias).relu_()
        ctx.save_for_backward(x, weight, y)
        ctx.dilation = dilation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, y = ctx.saved_tensors
        slope = torch.ops.aten.threshold_backward(slope, y, 0.0)
        of_weight = times(slope.T, _shifted(x, ctx.dilation).T).view_as(weight)
        around = _shifted(slope, ctx.dilation)  # what came of x, and of x as the earlier and the later frame
        of_x = times(around, weight.flip(1).transpose(0, 1).flatten(0, 1).T)
        return of_x, of_weight, slope.sum(0), None


def _shifted(x: Float[Tensor, "t c"], d: int) -> Float[Tensor, "t 3*c"]:
    """Each row beside those `d` before and after; zeros beyond the ends."""
    around = F.pad(x, (0, 0, d, d))
    return torch.cat([around[: len(x)], x, around[2 * d :]], 1)


class Dilated(nn.Module):
    """A convolution over three frames, `dilation` apart, and relu."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(width, 3, width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Float[Tensor, "t c"]) -> Float[Tensor, "t c"]:
        """Of as many frames."""
        y: Tensor = _Dilated.apply(x, self.weight, self.bias, self.dilation)  # type: ignore[no-untyped-call]
        return y


class FrameLinear(nn.Module):
    """Frame by frame; see `nn.product`."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, dim))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t e"]:
        """W x + b."""
        return linear(x, self.weight, self.bias)


def full(q: Float[Tensor, "t c"], k: Float[Tensor, "t c"], v: Float[Tensor, "t c"]) -> Float[Tensor, "t c"]:
    """Attention to every frame, without a table of time by time."""
    q, k, v = (x[None, None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[0, 0]


def local(
    q: Float[Tensor, "t c"], k: Float[Tensor, "t c"], v: Float[Tensor, "t c"], d: int, *, reach: Reach
) -> Float[Tensor, "t c"]:
    """Attention within reach, `d` even or 1.

    Block i has queries i d to (i + 1) d - 1 and the keys of two chunks of d frames that begin d / 2 earlier: chunks i
    and i + 1 when keys are padded by d / 2 in front.
    """
    t = len(q)
    if d == 1:
        return v  # a frame that attends to itself alone
    if reach == "full" or t <= (d // 2 if reach == "window" else d):
        return full(q, k, v)
    y: Tensor = _Local.apply(q, k, v, _hidden(d, reach, q.device).to(q.dtype))  # type: ignore[no-untyped-call]
    return y


class _Local(torch.autograd.Function):
    """Attention in blocks: keys and values of blocks overlap and are views of one copy, and so are their gradients."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
        t, d = len(q), hidden.shape[-1] // 2
        blocks = -(-t // d)
        held = q.new_empty(3, (blocks + 1) * d, q.shape[1])
        held[:, : d // 2], held[:, d // 2 + t :] = 0.0, 0.0
        for rows, x in zip(held, (q, k, v), strict=True):
            rows[d // 2 : d // 2 + t] = x
        queries, keys, values = _blocks(held, d)
        scores = torch.baddbmm(hidden, queries, keys.mT, alpha=q.shape[1] ** -0.5)
        _hide_ends(scores, t)
        weights = scores.softmax(-1)
        ctx.save_for_backward(held, weights)
        return torch.bmm(weights, values).flatten(0, 1)[:t]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        held, weights = ctx.saved_tensors
        t, (blocks, d, _) = len(slope), weights.shape
        queries, keys, values = _blocks(held, d)
        slope = F.pad(slope, (0, 0, 0, blocks * d - t)).view(blocks, d, -1)
        of_weights = torch.bmm(slope, values.mT)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(held.shape[2] ** -0.5)
        of_q = torch.bmm(of_scores, keys).flatten(0, 1)[:t]
        of_k, of_v = (_folded(torch.bmm(a.mT, b), t) for a, b in ((of_scores, queries), (weights, slope)))
        return of_q, of_k, of_v, None


def _blocks(held: Float[Tensor, "3 u c"], d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (block, d, c), keys and values (block, 2 d, c); views."""
    q, k, v = held
    return q[d // 2 : len(q) - d + d // 2].view(-1, d, q.shape[1]), k.unfold(0, 2 * d, d).mT, v.unfold(0, 2 * d, d).mT


def _folded(x: Float[Tensor, "blocks twice c"], t: int) -> Float[Tensor, "t c"]:
    """What overlapping blocks add up to, without the padding."""
    d = x.shape[1] // 2
    y = x.new_empty(len(x) + 1, d, x.shape[2])
    y[0], y[-1] = x[0, :d], x[-1, d:]
    torch.add(x[1:, :d], x[:-1, d:], out=y[1:-1])
    return y.flatten(0, 1)[d // 2 : d // 2 + t]


def _hidden(d: int, reach: Reach, device: torch.device) -> Float[Tensor, "1 _ twice"]:
    """What is added to the scores of a block: minus infinity where a query, or all queries alike, do not see a key."""
    column = torch.arange(2 * d, device=device)
    if reach == "block":
        seen = (column < 2 * d - 1)[None]
    else:
        query = torch.arange(d, device=device)[:, None]
        seen = (column >= query) & (column < query + d)
    return torch.zeros(seen.shape, device=device).masked_fill(~seen, -math.inf)[None]


def _hide_ends(scores: Float[Tensor, "blocks d twice"], t: int) -> None:
    """Give the keys before the first and behind the last frame no weight, in place.

    The least finite number leaves rows of queries behind the end, which see nothing else and nobody reads, a softmax.
    """
    blocks, d, _ = scores.shape
    least, behind = torch.finfo(scores.dtype).min, t - (blocks - 1) * d + d // 2
    scores[0, :, : d // 2] = least
    scores[-1, :, behind:] = least
    scores[-2:-1, :, behind + d :] = least


class _Halved(torch.autograd.Function):
    """Each number doubled or 0, by a bit; bits are what is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, draws: Tensor) -> Tensor:
        ctx.save_for_backward(draws)
        return y * _factors(draws, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope * _factors(ctx.saved_tensors[0], slope), None


def _factors(draws: Int[Tensor, "b"], like: Float[Tensor, "t c"]) -> Float[Tensor, "t c"]:
    """2 or 0 for each number, eight by each byte."""
    table = ((torch.arange(256)[:, None] >> torch.arange(8)) & 1).to(like) * 2
    return table.index_select(0, draws).flatten()[: like.numel()].view_as(like)


def halved(y: Float[Tensor, "t c"], generator: torch.Generator | None) -> Float[Tensor, "t c"]:
    """Dropout at one half; nothing is dropped without a generator.

    One bit a number, as drawing them is what costs: 0.1 ms instead of 3.3 ms for 1,300 frames of 256.
    """
    if generator is None:
        return y
    words = torch.empty(-(-y.numel() // 32), dtype=torch.int32, device=y.device)
    draws = words.random_(-(2**31), 2**31, generator=generator).view(torch.uint8).int()
    kept: Tensor = _Halved.apply(y, draws)  # type: ignore[no-untyped-call]
    return kept


class ASFormerLayer(nn.Module):
    """Convolution, attention and what they add."""

    def __init__(self, width: int, dilation: int, reach: Reach, alpha: float) -> None:
        super().__init__()
        self.reach, self.alpha, self.inner = reach, alpha, width // REDUCED
        self.conv = Dilated(width, dilation)
        self.qkv = FrameLinear(width, 3 * self.inner)
        self.mix = FrameLinear(self.inner, width)
        self.last = FrameLinear(width, width)

    def forward(
        self, x: Float[Tensor, "t c"], values: Float[Tensor, "t e"] | None, generator: torch.Generator | None
    ) -> Float[Tensor, "t c"]:
        """One step on; `values` are of the stage before, of a decoder."""
        f = self.conv(x)
        a = self.mix(self._attended(f, values).relu())
        return x + halved(self.last(torch.add(f, a, alpha=self.alpha)), generator)

    def parts(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Weight and bias of queries and keys, and those of values."""
        sizes = [2 * self.inner, self.inner]
        (of_qk, of_v), (plus_qk, plus_v) = self.qkv.weight.split(sizes), self.qkv.bias.split(sizes)
        return (of_qk, plus_qk), (of_v, plus_v)

    def _attended(self, f: Float[Tensor, "t c"], values: Float[Tensor, "t e"] | None) -> Float[Tensor, "t e"]:
        n, d = self.inner, 0 if self.reach == "full" else self.conv.dilation
        if d == 1 and values is not None:
            return values  # queries and keys have no say
        z = F.batch_norm(f, None, None, training=True)  # of one video: each channel over time
        if d == 1:
            return linear(z, *self.parts()[1])
        if values is None:
            q, k, values = self.qkv(z).split(n, 1)
        else:
            q, k = linear(z, *self.parts()[0]).split(n, 1)
        return local(q, k, values, d, reach=self.reach)


class Stage(nn.Module):
    """The encoder, or a decoder."""

    def __init__(self, dim: int, classes: int, layers: list[ASFormerLayer], width: int) -> None:
        super().__init__()
        self.first = FrameLinear(dim, width)
        self.layers = nn.ModuleList(layers)
        self.out = FrameLinear(width, classes)

    def forward(
        self,
        x: Float[Tensor, "t c"],
        before: Float[Tensor, "t c"] | None,
        generator: torch.Generator | None,
    ) -> tuple[Float[Tensor, "t k"], Float[Tensor, "t c"]]:
        """Logits, and the features that the next stage attends to; x has passed `first`."""
        for layer, values in zip(self.layers, self._values(before), strict=True):
            x = layer(x, values, generator)
        logits: Tensor = self.out(x)
        return logits, x

    def _values(self, before: Float[Tensor, "t c"] | None) -> Sequence[Float[Tensor, "t e"] | None]:
        """What each layer attends to, by one product for all."""
        if before is None:
            return [None] * len(self.layers)
        weights, biases = zip(
            *(layer.parts()[1] for layer in self.layers if isinstance(layer, ASFormerLayer)), strict=True
        )
        return linear(before, torch.cat(weights), torch.cat(biases)).chunk(len(self.layers), 1)


class ASFormer(nn.Module):
    """Logits of every stage for every frame of one video.

    Memory is set aside and not filled: see `random_asformer`.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        layers: int = 8,
        width: int = 256,
        decoders: int = 3,
        reach: Reach = "window",
        mask: float = 0.3,
    ) -> None:
        super().__init__()
        self.mask = mask
        alphas = [1.0, *(math.exp(-3 * s) for s in range(decoders))]
        self.stages = nn.ModuleList(
            Stage(
                dim if not s else classes,
                classes,
                [ASFormerLayer(width, 2**i, reach, alpha) for i in range(layers)],
                width,
            )
            for s, alpha in enumerate(alphas)
        )

    def forward(self, x: Float[Tensor, "t d"], generator: torch.Generator | None = None) -> Float[Tensor, "stages t k"]:
        """At least two frames. With a generator, on the device of x, channels and activations are dropped."""
        features: Tensor | None = None
        said: list[Tensor] = []
        for stage in self.stages:
            assert isinstance(stage, Stage)
            start = stage.first(said[-1].softmax(1)) if said else self._masked(stage.first, x, generator)
            logits, features = stage(start, features, generator)
            said.append(logits)
        return torch.stack(said)

    def _masked(self, layer: FrameLinear, x: Float[Tensor, "t d"], generator: torch.Generator | None) -> Tensor:
        """Whole channels of x dropped, which is columns of the weights: those are fewer numbers."""
        if generator is None or not self.mask:
            return linear(x, layer.weight, layer.bias)
        gone = torch.rand(x.shape[1], generator=generator, device=x.device) < self.mask
        return linear(x, layer.weight.masked_fill(gone, 0.0) / (1 - self.mask), layer.bias)


def random_asformer(generator: torch.Generator, model: ASFormer) -> ASFormer:
    """The model filled from `generator`: uniform within 1 / sqrt(numbers that are summed), biases too."""
    for module in model.modules():
        if isinstance(module, (FrameLinear, Dilated)):
            bound = module.weight[0].numel() ** -0.5
            for p in (module.weight, module.bias):
                nn.init.uniform_(p, -bound, bound, generator=generator)
    return model


def loss(
    stages: Float[Tensor, "stages t k"], labels: Int[Tensor, "t"], *, smoothing: float = 0.15
) -> Float[Tensor, ""]:
    """Sum over the stages of cross-entropy and of how much log probabilities change from frame to frame.

    Of the second: the mean over frames and classes of squared differences, cut off at 16, times `smoothing`; the
    earlier of two frames takes no gradient.
    """
    logs = stages.log_softmax(-1)
    own = logs.gather(2, labels[None, :, None].expand(len(stages), -1, 1))
    rough = (logs[:, 1:] - logs[:, :-1].detach()).square().clamp(max=MOST)
    return (smoothing * rough.mean((1, 2)) - own.mean((1, 2))).sum()
