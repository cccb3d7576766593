"""Masking strategies: draw which tokens of a clip are visible to the encoder and which are to be predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.fields import ABOVE_ZERO, AT_LEAST_ONE, BELOW_ONE, PART, POSITIVE, check_fields
from vitascope.nn.configs.video_vit import Grid

MAX_DRAWS = 100
"""Maximum number of times that `Blocks` redraws the blocks of clips that hide too much."""


class Masked(NamedTuple):
    """Token indices (t * height + y) * width + x, ascending per clip; all clips of a batch have the same counts."""

    keep: Int[Tensor, "n k"]
    """Indices of the visible tokens, which the encoder processes."""
    hide: Int[Tensor, "n m"]
    """Indices of the hidden tokens, which are to be predicted."""


Hidden: TypeAlias = tuple[Bool[Tensor, "n l"], int]
"""Which tokens are hidden, and how many of each clip."""


@runtime_checkable
class Mask(Protocol):
    """A masking strategy. Implementations are frozen dataclasses; all randomness comes from the generator passed in."""

    @property
    def needs_saliency(self) -> bool:
        """Whether the call needs `saliency`, a teacher's weight for every token."""
        ...

    @property
    def reads(self) -> bool:
        """Whether the call reads values that it drew, for which it waits for the generator's device."""
        ...

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """Draw independent masks for `n` clips on the generator's device.

        Raises UserError if the grid is so small that no token would be visible, or none hidden.
        """
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Hides nothing: all tokens are visible, for distillation and supervised training."""

    needs_saliency: ClassVar[bool] = False
    reads: ClassVar[bool] = False

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """Return all tokens as visible and none as hidden."""
        steps, positions = _size(n, grid)
        return _masked(torch.zeros(n, steps * positions, dtype=torch.bool, device=rng.device), 0)


@dataclass(frozen=True, slots=True)
class _Share(ABC):
    """Base class of masks that hide a fixed share of each clip, rounded to whole tokens, positions or time steps."""

    ratio: Annotated[float, PART] = 0.9
    """Share that is hidden, between 0 and 1."""
    needs_saliency: ClassVar[bool] = False
    reads: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """Draw masks for `n` clips; see `Mask`."""
        return _masked(*self._hidden(n, grid, rng, saliency))

    @abstractmethod
    def _hidden(self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None) -> Hidden:
        """Draw which tokens are hidden; also returns how many of each clip."""


@dataclass(frozen=True, slots=True)
class Tube(_Share):
    """Hides the same positions in every time step, so that nothing can be copied over time (VideoMAE, section 3.3)."""

    def _hidden(self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None) -> Hidden:
        """Hide `ratio` of the positions, rounded."""
        steps, positions = _size(n, grid)
        count = _count(self, self.ratio, positions, "positions")
        return _lowest(_uniform((n, positions), rng), count).repeat(1, steps), count * steps


@dataclass(frozen=True, slots=True)
class Random(_Share):
    """Hides tokens drawn uniformly from the whole clip (Masked Autoencoders As Spatiotemporal Learners)."""

    def _hidden(self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None) -> Hidden:
        """Hide `ratio` of the tokens, rounded."""
        steps, positions = _size(n, grid)
        count = _count(self, self.ratio, steps * positions, "tokens")
        return _lowest(_uniform((n, steps * positions), rng), count), count


@dataclass(frozen=True, slots=True)
class Steps(_Share):
    """Hides whole time steps, so that frames between, before or after the visible ones are predicted."""

    ratio: Annotated[float, PART] = 0.5

    def _hidden(self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None) -> Hidden:
        """Hide `ratio` of the time steps, rounded."""
        steps, positions = _size(n, grid)
        if steps == 1:
            raise UserError(
                f"{self}: an image has one time step, and hiding it leaves nothing visible; use another mask for images"
            )
        count = _count(self, self.ratio, steps, "steps")
        return _lowest(_uniform((n, steps), rng), count).repeat_interleave(positions, dim=1), count * positions


@dataclass(frozen=True, slots=True)
class Attended(_Share):
    """Keeps the tokens that a teacher attends to: drawn per time step without replacement, by its weights (UMT).

    Tokens of zero weight are drawn uniformly once all others of the step are drawn.
    """

    ratio: Annotated[float, PART] = 0.8
    needs_saliency: ClassVar[bool] = True

    def _hidden(self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None) -> Hidden:
        """Hide `ratio` of the tokens of every time step, rounded."""
        steps, positions = _size(n, grid)
        hidden = _count(self, self.ratio, positions, "positions")
        weights = _weights(self, saliency, n, grid).to(rng.device)
        # the shortest of exponential waiting times with these rates are a weighted draw without replacement
        # (Efraimidis and Spirakis); in logarithms, zero weights can be replaced by very small ones
        waits = torch.empty_like(weights).exponential_(generator=rng).log() - weights.clamp(min=1e-30).log()
        visible = _lowest(waits, positions - hidden)
        return ~visible.view(n, steps * positions), hidden * steps


@dataclass(frozen=True, slots=True)
class RunningCell(_Share):
    """Hides a pattern in each 2 x 2 cell that advances from step to step (VideoMAE V2, section 3.2; MAR).

    All positions are visible equally often and all steps show equally many tokens (each within one); with ratios that
    are multiples of a quarter, so does every complete cell. Each cell starts at a random phase.
    """

    ratio: Annotated[float, PART] = 0.5

    def _hidden(self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None) -> Hidden:
        """Hide `ratio` of the tokens, rounded."""
        steps, positions = _size(n, grid)
        tokens = steps * positions
        visible = tokens - _count(self, self.ratio, tokens, "tokens")
        return _running_ranks(n, grid, visible, rng) < tokens - visible, tokens - visible


@dataclass(frozen=True, slots=True)
class DualMask:
    """Predicts only a part of the tokens that `inner` hides, which saves decoder cost (dual masking, VideoMAE V2).

    The part is selected by a running-cell pattern over the hidden tokens; to predict equally many in every clip, the
    pattern's share varies between clips.
    """

    inner: Mask
    """Mask that selects the visible tokens."""
    ratio: Annotated[float, PART] = 0.5
    """Share of the hidden tokens that is not predicted, between 0 and 1."""

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)

    @property
    def needs_saliency(self) -> bool:
        """Whether the inner mask needs saliency."""
        return self.inner.needs_saliency

    @property
    def reads(self) -> bool:
        """Whether the inner mask does."""
        return self.inner.reads

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """Drop `ratio` of the hidden tokens, rounded: they are neither visible nor predicted."""
        keep, hide = self.inner(n, grid, rng, saliency=saliency)
        if not hide.shape[1]:
            raise UserError(f"{self}: {self.inner} hides no tokens; use an inner mask that does")
        steps, positions = _size(n, grid)
        tokens = steps * positions
        predicted = hide.shape[1] - _count(self, self.ratio, hide.shape[1], "hidden tokens")
        ranks = _running_ranks(n, grid, tokens - round(self.ratio * tokens), rng).gather(1, hide)
        return Masked(keep, hide.gather(1, _indices(_lowest(-ranks, predicted), predicted)))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Hides the union of `count` random blocks, each a `scale` share of the frame over all time (V-JEPA, section 3.2).

    Aspect ratios are uniform in `aspect`, positions uniform over all that fit. Because unions differ in size, the
    visible and the hidden tokens of a batch are randomly subsampled to the smallest counts among its clips: the larger
    the batch, the more tokens are dropped. Clips with less than `least` of their tokens visible are redrawn, so that a
    single clip cannot blind the whole batch. V-JEPA uses 8 blocks of 0.15 and, as a second mask, 2 of 0.7.
    """

    count: Annotated[int, AT_LEAST_ONE] = 8
    """Number of blocks per clip."""
    scale: Annotated[float, PART] = 0.15
    """Share of the frame that one block covers, between 0 and 1."""
    aspect: Annotated[tuple[float, float], POSITIVE] = (0.75, 1.5)
    """Smallest and largest ratio of a block's height to its width."""
    time: Annotated[float, ABOVE_ZERO] = 1.0
    """Share of the time steps that a block covers, up to 1."""
    least: Annotated[float, BELOW_ONE] = 0.05
    """Smallest share of a clip's tokens that stays visible; 0: one token is enough."""
    needs_saliency: ClassVar[bool] = False
    reads: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)
        if self.aspect[0] > self.aspect[1]:
            raise UserError(f"{type(self).__name__}: aspect = {self.aspect!r} must have the smaller number first")

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """Hide the unions and keep the complements, each subsampled to the smallest count in the batch."""
        steps, positions = _size(n, grid)
        max_hidden = steps * positions - max(1, round(self.least * steps * positions))
        hidden = self._unions(n, grid, rng)
        for _ in range(MAX_DRAWS):
            excessive = hidden.sum(dim=1) > max_hidden
            if not bool(excessive.any()):
                return Masked(_cut(~hidden, rng), _cut(hidden, rng))
            hidden[excessive] = self._unions(int(excessive.sum()), grid, rng)
        raise UserError(
            f"{self}: {MAX_DRAWS} draws on a grid of {grid} left too few visible tokens; use fewer or smaller blocks"
        )

    def _unions(self, n: int, grid: Grid, rng: torch.Generator) -> Bool[Tensor, "n l"]:
        """Draw blocks and mark the tokens in any of them."""
        steps, rows, columns = grid
        area = max(1, round(self.scale * rows * columns))
        low, high = self.aspect
        aspect = _uniform((n, self.count), rng) * (high - low) + low
        # blocks fit into the frame, and the width compensates for the rounding of the height
        height = (area * aspect).sqrt().round().clamp(min=-(-area // columns), max=rows)
        width = (area / height).round().clamp(min=1, max=columns)
        duration = torch.full_like(height, max(1, round(self.time * steps)))
        frame = _spans(height, rows, rng)[..., None] * _spans(width, columns, rng)[..., None, :]
        # one matrix product sums over the blocks for all steps and positions of a clip
        return (_spans(duration, steps, rng).mT @ frame.flatten(2)).flatten(1) > 0


def _spans(length: Float[Tensor, "n c"], size: int, rng: torch.Generator) -> Float[Tensor, "n c {size}"]:
    """Draw spans of given lengths, placed uniformly on a line of `size` tokens; 1 inside a span, 0 outside."""
    start = (_uniform(tuple(length.shape), rng) * (size - length + 1)).floor().clamp(max=size - length)
    position = torch.arange(size, device=length.device)
    return ((position >= start[..., None]) & (position < (start + length)[..., None])).float()


def _running_ranks(n: int, grid: Grid, visible: int, rng: torch.Generator) -> Int[Tensor, "n l"]:
    """Rank of every token in the running-cell pattern, 0 to tokens - 1; the `visible` highest ranks are visible.

    Position r of p starts at phase r / p of its cycle and advances by visible / tokens per step; it is visible when the
    next step would complete the cycle. Integer arithmetic makes the counts exact: the sum over r of
    floor((visible + r) / p) is `visible` (Hermite's identity). A common random offset of all phases preserves this and
    makes all tokens equally likely to be visible.
    """
    steps, rows, columns = grid
    row, column = torch.arange(rows, device=rng.device)[:, None], torch.arange(columns, device=rng.device)
    across = -(-columns // 2)
    cell = (row // 2) * across + column // 2
    clockwise = torch.where(row % 2 == 0, column % 2, 3 - column % 2).flatten()
    cells = -(-rows // 2) * across
    start_phase = torch.rand(n, cells, generator=rng, device=rng.device, dtype=torch.float64)
    phase = (start_phase.index_select(1, cell.flatten()) + clockwise / 4) % 1
    order = phase.argsort(dim=1).argsort(dim=1)
    step = torch.arange(steps, device=rng.device)[:, None]
    tokens = steps * rows * columns
    start = torch.randint(tokens, (n, 1, 1), generator=rng, device=rng.device)
    return ((step * visible + order[:, None] * steps + start) % tokens).flatten(1)


def _weights(mask: object, saliency: Float[Tensor, "n l"] | None, n: int, grid: Grid) -> Float[Tensor, "nt p"]:
    """Weights of each step scaled to a maximum of 1; steps whose weights are all zero get equal ones."""
    steps, positions = _size(n, grid)
    if saliency is None:
        raise UserError(f"{mask} needs a teacher's weights; pass saliency=, or use Tube or Random")
    if saliency.shape != (n, steps * positions):
        shape = tuple(saliency.shape)
        raise UserError(
            f"{mask}: {n} clips on a grid of {grid} need saliency of shape {(n, steps * positions)}, not {shape}"
        )
    weights = saliency.detach().float().reshape(n * steps, positions)
    largest = weights.amax(dim=1, keepdim=True)
    return torch.where(largest > 0, weights / largest, 1.0)


def _masked(hidden: Bool[Tensor, "n l"], count: int) -> Masked:
    """Convert a boolean mask, with `count` hidden tokens in each row, to indices."""
    return Masked(_indices(~hidden, hidden.shape[1] - count), _indices(hidden, count))


def _indices(chosen: Bool[Tensor, "n l"], count: int) -> Int[Tensor, "n {count}"]:
    """Ascending indices of the true entries, of which every row must have `count`.

    Sorted, because the host would have to wait for the device to learn how many `nonzero` finds.
    """
    return (~chosen).byte().argsort(dim=1, stable=True)[:, :count]


def _cut(chosen: Bool[Tensor, "n l"], rng: torch.Generator) -> Int[Tensor, "n k"]:
    """Subsample each row at random to the number of true entries of the row with the fewest; returns their indices."""
    fewest = int(chosen.sum(dim=1).min())
    keys = _uniform(tuple(chosen.shape), rng).masked_fill(~chosen, 2.0)
    return _indices(_lowest(keys, fewest), fewest)


def _lowest(keys: Tensor, k: int) -> Bool[Tensor, "n l"]:
    """Mark exactly the `k` lowest entries of each row."""
    chosen = keys.topk(k, dim=1, largest=False, sorted=False).indices
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, chosen, True)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Float[Tensor, "..."]:
    """Draw uniform numbers in [0, 1)."""
    return torch.rand(shape, generator=rng, device=rng.device)


def _size(n: int, grid: Grid) -> tuple[int, int]:
    """Number of time steps, and of positions per step."""
    steps, rows, columns = grid
    if n < 1 or min(grid) < 1:
        raise UserError(f"masks need at least one clip and one token, not {n} clips on a grid of {grid}")
    return steps, rows * columns


def _count(mask: object, ratio: float, total: int, unit: str) -> int:
    """Number of `total` that are hidden. Raises UserError unless some are and some are not."""
    hidden = round(ratio * total)
    if hidden == total:
        raise UserError(
            f"{mask}: hiding {ratio:g} of {total} {unit} leaves none visible; "
            f"use a ratio of at most {(total - 1) / total:.3g}"
        )
    if not hidden:
        raise UserError(
            f"{mask}: hiding {ratio:g} of {total} {unit} hides none; use a ratio of at least {1 / total:.3g}"
        )
    return hidden
