"""ASFormer: an encoder and decoders that label every frame of a video, each refining the previous prediction.

A layer (Yi et al. 2021, arXiv 2110.08568) at dilation d = 2^i, on one video as rows of channels:

    f = relu(conv3(x, d));  z = norm(f) over time;  a = Wo relu(attention(Wq z, Wk z, Wv z)) + bo
    x <- x + dropout(W (alpha a + f) + b), at one half

Decoders take values from the previous stage instead of z. Attention is computed in blocks of d frames, with keys of the
block and of half a block on either side: batched products, no time x time matrix. Masked keys get no weight at all; in
the public code each keeps about a millionth.
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

from vitascope.nn.blocked_attention import blocked_attention
from vitascope.nn.fast_linear import linear, matmul

AttentionSpan: TypeAlias = Literal["window", "block", "full"]
"""What a frame attends to in a layer of dilation d. `window`: the d frames around it, from d / 2 before to d / 2 - 1
after, as in the paper. `block`: all frames of its block of d frames, d / 2 before and d / 2 - 1 after, as in the public
code, whose mask is the same for every row. `full`: the whole video."""
CHANNEL_REDUCTION = 2
"""Ratio of channels to those of queries, keys and values."""
MAX_SQUARED_DIFFERENCE = 16.0
"""Upper bound of the squared difference of log probabilities in the smoothing loss."""


class _Dilated(torch.autograd.Function):
    """relu(conv3) as one matrix product; the three shifted copies of x are recomputed for the gradient, not kept.

    oneDNN's convolution is up to a quarter faster and needs no copies, but is compiled for each length and dilation,
    which costs as much as it saves on datasets with more lengths than oneDNN caches.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        y = matmul(_shifted(x, dilation), weight.flatten(1), bias).relu_()
        ctx.save_for_backward(x, weight, y)
        ctx.dilation = dilation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, y = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0.0)
        of_weight = matmul(gradient.T, _shifted(x, ctx.dilation).T).view_as(weight)
        shifted = _shifted(
            gradient, ctx.dilation
        )  # gradients through x as the current, the earlier and the later frame
        of_x = matmul(shifted, weight.flip(1).transpose(0, 1).flatten(0, 1).T)
        return of_x, of_weight, gradient.sum(0), None


def _shifted(x: Float[Tensor, "t c"], d: int) -> Float[Tensor, "t 3*c"]:
    """Concatenate each row with those `d` before and after; zeros beyond the ends."""
    around = F.pad(x, (0, 0, d, d))
    return torch.cat([around[: len(x)], x, around[2 * d :]], 1)


class DilatedConv(nn.Module):
    """A convolution over three frames, `dilation` apart, with ReLU."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(width, 3, width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Float[Tensor, "t c"]) -> Float[Tensor, "t c"]:
        """Return as many frames."""
        y: Tensor = _Dilated.apply(x, self.weight, self.bias, self.dilation)  # type: ignore[no-untyped-call]
        return y


class FrameLinear(nn.Module):
    """A linear layer per frame; see `nn.fast_linear`."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, dim))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "t e"]:
        """Return W x + b."""
        return linear(x, self.weight, self.bias)


def full_attention(q: Float[Tensor, "t c"], k: Float[Tensor, "t c"], v: Float[Tensor, "t c"]) -> Float[Tensor, "t c"]:
    """Attend to every frame, without a time x time matrix."""
    q, k, v = (x[None, None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v)[0, 0]


def windowed_attention(
    q: Float[Tensor, "t c"], k: Float[Tensor, "t c"], v: Float[Tensor, "t c"], d: int, *, span: AttentionSpan
) -> Float[Tensor, "t c"]:
    """Attend within the span given by `span` and dilation `d` (even, or 1).

    Blocks as in `nn.blocked_attention`.
    """
    t = len(q)
    if d == 1:
        return v  # a frame attends to itself only
    if span == "full" or t <= (d // 2 if span == "window" else d):
        return full_attention(q, k, v)
    return blocked_attention(q[None], k[None], v[None], _window_mask(d, span, q.device).to(q.dtype))[0]


def _window_mask(d: int, span: AttentionSpan, device: torch.device) -> Float[Tensor, "1 _ twice"]:
    """Return the additive mask of the scores of a block: minus infinity where a key is out of reach of a query."""
    column = torch.arange(2 * d, device=device)
    if span == "block":
        visible = (column < 2 * d - 1)[None]
    else:
        query = torch.arange(d, device=device)[:, None]
        visible = (column >= query) & (column < query + d)
    return torch.zeros(visible.shape, device=device).masked_fill(~visible, -math.inf)[None]


class _DropoutHalf(torch.autograd.Function):
    """Dropout at one half by random bits, which are all that is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, draws: Tensor) -> Tensor:
        ctx.save_for_backward(draws)
        return y * _factors(draws, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * _factors(ctx.saved_tensors[0], gradient), None


def _factors(draws: Int[Tensor, "b"], like: Float[Tensor, "t c"]) -> Float[Tensor, "t c"]:
    """Expand each byte to eight factors, 2 or 0."""
    table = ((torch.arange(256)[:, None] >> torch.arange(8)) & 1).to(like) * 2
    return table.index_select(0, draws).flatten()[: like.numel()].view_as(like)


def dropout_half(y: Float[Tensor, "t c"], generator: torch.Generator | None) -> Float[Tensor, "t c"]:
    """Apply dropout at one half; without a generator, drop nothing.

    Draws one bit per number, as drawing dominates the cost: 0.1 ms instead of 3.3 ms for 1,300 frames of 256.
    """
    if generator is None:
        return y
    words = torch.empty(-(-y.numel() // 32), dtype=torch.int32, device=y.device)
    draws = words.random_(-(2**31), 2**31, generator=generator).view(torch.uint8).int()
    output: Tensor = _DropoutHalf.apply(y, draws)  # type: ignore[no-untyped-call]
    return output


class ASFormerLayer(nn.Module):
    """A residual layer of dilated convolution and attention."""

    def __init__(self, width: int, dilation: int, span: AttentionSpan, alpha: float) -> None:
        super().__init__()
        self.span, self.alpha, self.inner = span, alpha, width // CHANNEL_REDUCTION
        self.conv = DilatedConv(width, dilation)
        self.qkv = FrameLinear(width, 3 * self.inner)
        self.mix = FrameLinear(self.inner, width)
        self.last = FrameLinear(width, width)

    def forward(
        self, x: Float[Tensor, "t c"], values: Float[Tensor, "t e"] | None, generator: torch.Generator | None
    ) -> Float[Tensor, "t c"]:
        """Apply the layer; in a decoder, `values` come from the previous stage."""
        f = self.conv(x)
        a = self.mix(self._attended(f, values).relu())
        return x + dropout_half(self.last(torch.add(f, a, alpha=self.alpha)), generator)

    def parts(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return weight and bias of queries and keys, and those of values."""
        sizes = [2 * self.inner, self.inner]
        (of_qk, of_v), (plus_qk, plus_v) = self.qkv.weight.split(sizes), self.qkv.bias.split(sizes)
        return (of_qk, plus_qk), (of_v, plus_v)

    def _attended(self, f: Float[Tensor, "t c"], values: Float[Tensor, "t e"] | None) -> Float[Tensor, "t e"]:
        n, d = self.inner, 0 if self.span == "full" else self.conv.dilation
        if d == 1 and values is not None:
            return values  # attention to itself: queries and keys have no effect
        z = F.batch_norm(f, None, None, training=True)  # normalizes each channel over the time of one video
        if d == 1:
            return linear(z, *self.parts()[1])
        if values is None:
            q, k, values = self.qkv(z).split(n, 1)
        else:
            q, k = linear(z, *self.parts()[0]).split(n, 1)
        return windowed_attention(q, k, values, d, span=self.span)


class ASFormerStage(nn.Module):
    """The encoder or a decoder."""

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
        """Return logits and the features that the next stage attends to; x is the output of `first`."""
        for layer, values in zip(self.layers, self._values(before), strict=True):
            x = layer(x, values, generator)
        logits: Tensor = self.out(x)
        return logits, x

    def _values(self, before: Float[Tensor, "t c"] | None) -> Sequence[Float[Tensor, "t e"] | None]:
        """Return the values that each layer attends to, by one product for all layers."""
        if before is None:
            return [None] * len(self.layers)
        weights, biases = zip(
            *(layer.parts()[1] for layer in self.layers if isinstance(layer, ASFormerLayer)), strict=True
        )
        return linear(before, torch.cat(weights), torch.cat(biases)).chunk(len(self.layers), 1)


class ASFormer(nn.Module):
    """Logits of every stage for every frame of one video.

    Parameters are allocated but not initialized: see `random_asformer`.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        layers: int = 8,
        width: int = 256,
        decoders: int = 3,
        span: AttentionSpan = "window",
        mask: float = 0.3,
    ) -> None:
        super().__init__()
        self.mask = mask
        alphas = [1.0, *(math.exp(-3 * s) for s in range(decoders))]
        self.stages = nn.ModuleList(
            ASFormerStage(
                dim if not s else classes,
                classes,
                [ASFormerLayer(width, 2**i, span, alpha) for i in range(layers)],
                width,
            )
            for s, alpha in enumerate(alphas)
        )

    def forward(self, x: Float[Tensor, "t d"], generator: torch.Generator | None = None) -> Float[Tensor, "stages t k"]:
        """Return logits; x has at least two frames. With a generator, on the device of x, apply dropout."""
        features: Tensor | None = None
        logits_by_stage: list[Tensor] = []
        for stage in self.stages:
            assert isinstance(stage, ASFormerStage)
            start = (
                stage.first(logits_by_stage[-1].softmax(1))
                if logits_by_stage
                else self._masked(stage.first, x, generator)
            )
            logits, features = stage(start, features, generator)
            logits_by_stage.append(logits)
        return torch.stack(logits_by_stage)

    def _masked(self, layer: FrameLinear, x: Float[Tensor, "t d"], generator: torch.Generator | None) -> Tensor:
        """Apply `layer` with channel dropout, on the columns of its weight instead of x, as these are fewer numbers."""
        if generator is None or not self.mask:
            return linear(x, layer.weight, layer.bias)
        dropped = torch.rand(x.shape[1], generator=generator, device=x.device) < self.mask
        return linear(x, layer.weight.masked_fill(dropped, 0.0) / (1 - self.mask), layer.bias)


def random_asformer(generator: torch.Generator, model: ASFormer) -> ASFormer:
    """Initialize weights and biases uniformly within 1 / sqrt(fan-in)."""
    for module in model.modules():
        if isinstance(module, (FrameLinear, DilatedConv)):
            bound = module.weight[0].numel() ** -0.5
            for p in (module.weight, module.bias):
                nn.init.uniform_(p, -bound, bound, generator=generator)
    return model


def asformer_loss(
    stages: Float[Tensor, "stages t k"], labels: Int[Tensor, "t"], *, smoothing: float = 0.15
) -> Float[Tensor, ""]:
    """Return the sum over stages of cross-entropy and a smoothing loss.

    The latter is `smoothing` times the mean squared difference of log probabilities between consecutive frames,
    truncated at 16, without gradient to the earlier frame.
    """
    log_probabilities = stages.log_softmax(-1)
    target = log_probabilities.gather(2, labels[None, :, None].expand(len(stages), -1, 1))
    changes = (log_probabilities[:, 1:] - log_probabilities[:, :-1].detach()).square().clamp(max=MAX_SQUARED_DIFFERENCE)
    return (smoothing * changes.mean((1, 2)) - target.mean((1, 2))).sum()
