"""Masks: which tokens of a clip the encoder sees and which are to be predicted, drawn from a grid and a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.nn.configs.video_vit import Grid

DRAWS = 100
"""Times that a clip's blocks are drawn anew where they hide too much, before `Blocks` gives up."""


class Masked(NamedTuple):
    """Token numbers (t * height + y) * width + x, ascending in each row; every clip of a batch has the same counts."""

    keep: Int[Tensor, "n k"]
    """What the encoder sees."""
    hide: Int[Tensor, "n m"]
    """What is to be predicted."""


@runtime_checkable
class Mask(Protocol):
    """A rule that hides tokens. Implementations are frozen dataclasses; all that they draw comes from the generator."""

    @property
    def needs_saliency(self) -> bool:
        """Whether the call wants a teacher's weight for every token."""
        ...

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """Masks of `n` clips, each drawn for itself, on the generator's device.

        ValueError where the grid is too small for the rule: nothing would be left to see or to predict.
        """
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything is seen and nothing hidden: distillation and training with labels."""

    needs_saliency: ClassVar[bool] = False

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """All tokens, and none."""
        steps, places = _size(n, grid)
        return _masked(torch.zeros(n, steps * places, dtype=torch.bool, device=rng.device))


@dataclass(frozen=True, slots=True)
class _Share(ABC):
    """A mask that hides a share of something in every clip, as near to `ratio` as whole numbers go."""

    ratio: float = 0.9
    needs_saliency: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_share(self, "ratio")

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """See `Mask`."""
        return _masked(self._hidden(n, grid, rng, saliency))

    @abstractmethod
    def _hidden(
        self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None
    ) -> Bool[Tensor, "n l"]:
        """Whether a token is hidden."""


@dataclass(frozen=True, slots=True)
class Tube(_Share):
    """Hides the same places in every step, so that nothing can be copied over time (VideoMAE, section 3.3)."""

    def _hidden(
        self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None
    ) -> Bool[Tensor, "n l"]:
        """The nearest whole number of places to `ratio` of them is hidden."""
        steps, places = _size(n, grid)
        hidden = _lowest(_uniform((n, places), rng), _count(self, self.ratio, places, "places"))
        return hidden.repeat(1, steps)


@dataclass(frozen=True, slots=True)
class Random(_Share):
    """Hides any tokens of the clip, each as likely as the other (MAE as spatiotemporal learner)."""

    def _hidden(
        self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None
    ) -> Bool[Tensor, "n l"]:
        """The nearest whole number of tokens to `ratio` of them is hidden."""
        steps, places = _size(n, grid)
        return _lowest(_uniform((n, steps * places), rng), _count(self, self.ratio, steps * places, "tokens"))


@dataclass(frozen=True, slots=True)
class Steps(_Share):
    """Hides whole time steps: what happens between, before or after those that are seen is to be predicted."""

    ratio: float = 0.5

    def _hidden(
        self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None
    ) -> Bool[Tensor, "n l"]:
        """The nearest whole number of steps to `ratio` of them is hidden."""
        steps, places = _size(n, grid)
        if steps == 1:
            raise UserError(f"{self}: hiding the one step of an image leaves nothing to see; give images another mask")
        hidden = _lowest(_uniform((n, steps), rng), _count(self, self.ratio, steps, "steps"))
        return hidden.repeat_interleave(places, dim=1)


@dataclass(frozen=True, slots=True)
class Attended(_Share):
    """Keeps in every step the tokens a teacher attends to, drawn without replacement by its weights (UMT).

    The next token of a step is drawn with the weights of those left. Tokens without weight follow when none with weight
    is left, each as likely as the other.
    """

    ratio: float = 0.8
    needs_saliency: ClassVar[bool] = True

    def _hidden(
        self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None
    ) -> Bool[Tensor, "n l"]:
        """The nearest whole number of tokens to `ratio` of them is hidden in every step."""
        steps, places = _size(n, grid)
        hidden = _count(self, self.ratio, places, "places")
        weights = _weights(self, saliency, n, grid).to(rng.device)
        # the first of exponential waiting times with these rates are a draw without replacement (Efraimidis and
        # Spirakis); in logarithms, weights of zero can be very small ones
        waits = torch.empty_like(weights).exponential_(generator=rng).log() - weights.clamp(min=1e-30).log()
        kept = _lowest(waits, places - hidden)
        return ~kept.view(n, steps * places)


@dataclass(frozen=True, slots=True)
class RunningCell(_Share):
    """Hides a pattern in each cell of 2 x 2 that runs on from step to step (VideoMAE V2, section 3.2; MAR).

    Every place is seen as often as any other (to one step), every step shows as many tokens (to one), and with halves
    and quarters so does every whole cell. Each cell begins its round elsewhere.
    """

    ratio: float = 0.5

    def _hidden(
        self, n: int, grid: Grid, rng: torch.Generator, saliency: Float[Tensor, "n l"] | None
    ) -> Bool[Tensor, "n l"]:
        """The nearest whole number of tokens to `ratio` of them is hidden."""
        steps, places = _size(n, grid)
        tokens = steps * places
        kept = tokens - _count(self, self.ratio, tokens, "tokens")
        return _running(n, grid, kept, rng) < tokens - kept


@dataclass(frozen=True, slots=True)
class DualMask:
    """Of what `inner` hides, only a part is to be predicted (dual masking, VideoMAE V2): a decoder at less cost.

    The part is a running cell's over the hidden tokens; so that every clip has as many, the share of the running cell
    is not the same in every clip.
    """

    inner: Mask
    ratio: float = 0.5

    def __post_init__(self) -> None:
        _check_share(self, "ratio")

    @property
    def needs_saliency(self) -> bool:
        """As the inner mask."""
        return self.inner.needs_saliency

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """`ratio` of the hidden tokens, to the nearest whole number, are neither seen nor predicted."""
        keep, hide = self.inner(n, grid, rng, saliency=saliency)
        if not hide.shape[1]:
            raise UserError(f"{self}: {self.inner} hides nothing that could be thinned; give a mask that hides tokens")
        steps, places = _size(n, grid)
        tokens = steps * places
        left = hide.shape[1] - _count(self, self.ratio, hide.shape[1], "hidden tokens")
        runs = _running(n, grid, tokens - round(self.ratio * tokens), rng).gather(1, hide)
        return Masked(keep, hide[_lowest(-runs, left)].view(n, left))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Hides the union of `count` blocks, each `scale` of the frame and all of the time (V-JEPA, section 3.2).

    A block's height over its width is drawn from `aspect`, its place from all where it fits; `time` is the share of the
    steps it lasts. Unions differ in size, so the seen and the hidden tokens of a batch are cut, at random, to the
    smallest count of its clips: the larger the batch, the more is cut. A clip of which less than `least` would be seen
    is drawn anew, so that one clip cannot blind the batch (0: one token is enough). V-JEPA takes 8 blocks
    of 0.15 and, as a second mask of the same clips, 2 of 0.7.
    """

    count: int = 8
    scale: float = 0.15
    aspect: tuple[float, float] = (0.75, 1.5)
    time: float = 1.0
    least: float = 0.05
    needs_saliency: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_share(self, "scale")
        _check_share(self, "time", upto=True)
        if not isinstance(self.count, int) or self.count < 1:
            raise UserError(f"{self}: the count is a whole number from 1, not {self.count!r}")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UserError(f"{self}: the aspect is two numbers above 0, the smaller first, not {self.aspect!r}")
        if not 0 <= self.least < 1:
            raise UserError(f"{self}: least is a share from 0 to below 1, not {self.least!r}")

    def __call__(
        self, n: int, grid: Grid, rng: torch.Generator, *, saliency: Float[Tensor, "n l"] | None = None
    ) -> Masked:
        """The union is hidden and its complement kept, both cut to the smallest of the batch."""
        steps, places = _size(n, grid)
        most = steps * places - max(1, round(self.least * steps * places))
        hidden = self._unions(n, grid, rng)
        for _ in range(DRAWS):
            again = hidden.sum(dim=1) > most
            if not bool(again.any()):
                return Masked(_cut(~hidden, rng), _cut(hidden, rng))
            hidden[again] = self._unions(int(again.sum()), grid, rng)
        raise UserError(
            f"{self}: on a grid of {grid} {DRAWS} draws left too little to see; give fewer or smaller blocks"
        )

    def _unions(self, n: int, grid: Grid, rng: torch.Generator) -> Bool[Tensor, "n l"]:
        """Whether a token is in any block."""
        steps, rows, columns = grid
        area = max(1, round(self.scale * rows * columns))
        low, high = self.aspect
        aspect = _uniform((n, self.count), rng) * (high - low) + low
        # no block is higher or wider than the frame, and the width makes up for the rounding of the height
        height = (area * aspect).sqrt().round().clamp(min=-(-area // columns), max=rows)
        width = (area / height).round().clamp(min=1, max=columns)
        lasts = torch.full_like(height, max(1, round(self.time * steps)))
        frame = _spans(height, rows, rng)[..., None] * _spans(width, columns, rng)[..., None, :]
        # sums over the blocks, all steps and places of a clip in one product of matrices
        return (_spans(lasts, steps, rng).mT @ frame.flatten(2)).flatten(1) > 0


def _spans(length: Float[Tensor, "n c"], of: int, rng: torch.Generator) -> Float[Tensor, "n c {of}"]:
    """One where a span of this length, put anywhere it fits on a line of `of` tokens, lies."""
    start = (_uniform(tuple(length.shape), rng) * (of - length + 1)).floor().clamp(max=of - length)
    place = torch.arange(of, device=length.device)
    return ((place >= start[..., None]) & (place < (start + length)[..., None])).float()


def _running(n: int, grid: Grid, kept: int, rng: torch.Generator) -> Int[Tensor, "n l"]:
    """The round of every token, from 0 to tokens - 1: the pattern that keeps `kept` tokens keeps the latest rounds.

    Place number r of p stands r / p into its round at the first step and goes on by kept / tokens a step; it is seen
    when the next step ends the round. In whole numbers the counts come out exactly: the sum over r of
    floor((kept + r) / p) is kept (Hermite's identity), also when all start later by the same part of a round, which
    makes every token as likely as the other.
    """
    steps, rows, columns = grid
    row, column = torch.arange(rows)[:, None], torch.arange(columns)
    cell = (row // 2) * -(-columns // 2) + column // 2
    clockwise = torch.where(row % 2 == 0, column % 2, 3 - column % 2).flatten().to(rng.device)
    begins = torch.rand(n, int(cell.max()) + 1, generator=rng, device=rng.device, dtype=torch.float64)
    phase = (begins[:, cell.flatten().to(rng.device)] + clockwise / 4) % 1
    number = phase.argsort(dim=1).argsort(dim=1)
    step = torch.arange(steps, device=rng.device)[:, None]
    tokens = steps * rows * columns
    start = torch.randint(tokens, (n, 1, 1), generator=rng, device=rng.device)
    return ((step * kept + number[:, None] * steps + start) % tokens).flatten(1)


def _weights(mask: object, saliency: Float[Tensor, "n l"] | None, n: int, grid: Grid) -> Float[Tensor, "nt p"]:
    """The teacher's weights of each step, the largest 1; a step without any has equal ones."""
    steps, places = _size(n, grid)
    if saliency is None:
        raise UserError(f"{mask} draws by a teacher's weights and got none; pass saliency=, or take Tube or Random")
    if saliency.shape != (n, steps * places):
        shape = tuple(saliency.shape)
        raise UserError(f"{mask}: {n} clips on a grid of {grid} need a saliency of {(n, steps * places)}, not {shape}")
    weights = saliency.detach().float().reshape(n * steps, places)
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise UserError(f"{mask}: a saliency is a finite number from 0; look at the teacher, its attention is not")
    largest = weights.amax(dim=1, keepdim=True)
    return torch.where(largest > 0, weights / largest, 1.0)


def _masked(hidden: Bool[Tensor, "n l"]) -> Masked:
    """Numbers of the tokens; every row hides as many."""
    return Masked(_numbers(~hidden), _numbers(hidden))


def _numbers(chosen: Bool[Tensor, "n l"]) -> Int[Tensor, "n k"]:
    """Where a row is true, ascending; every row is so as often."""
    return chosen.nonzero()[:, 1].view(len(chosen), -1)


def _cut(chosen: Bool[Tensor, "n l"], rng: torch.Generator) -> Int[Tensor, "n k"]:
    """As many of each row's as the row with the fewest has, drawn evenly."""
    fewest = int(chosen.sum(dim=1).min())
    keys = _uniform(tuple(chosen.shape), rng).masked_fill(~chosen, 2.0)
    return _numbers(_lowest(keys, fewest))


def _lowest(keys: Tensor, k: int) -> Bool[Tensor, "n l"]:
    """True for the `k` lowest of each row, exactly."""
    chosen = keys.topk(k, dim=1, largest=False, sorted=False).indices
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, chosen, True)


def _uniform(shape: tuple[int, ...], rng: torch.Generator) -> Float[Tensor, "..."]:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=rng, device=rng.device)


def _size(n: int, grid: Grid) -> tuple[int, int]:
    """Steps, and places of a step."""
    steps, rows, columns = grid
    if n < 1 or min(grid) < 1:
        raise UserError(f"masks are drawn for at least one clip of at least one token, not {n} on a grid of {grid}")
    return steps, rows * columns


def _count(mask: object, ratio: float, of: int, what: str) -> int:
    """How many of `of` are hidden: some, and not all."""
    hidden = round(ratio * of)
    if hidden == of:
        raise UserError(f"{mask}: {ratio:g} of {of} {what} leaves none; give a ratio of at most {(of - 1) / of:.3g}")
    if not hidden:
        raise UserError(f"{mask}: {ratio:g} of {of} {what} is not one; give a ratio of at least {1 / of:.3g}")
    return hidden


def _check_share(mask: object, name: str, *, upto: bool = False) -> None:
    """A share of something is above 0 and below 1, or 1 too."""
    value = getattr(mask, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1 + upto * 1e-12:
        kind = "above 0 and up to 1" if upto else "between 0 and 1"
        raise UserError(f"{type(mask).__name__}: the {name} is a number {kind}, not {value!r}")
