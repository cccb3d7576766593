"""Parameter-free aggregators: from the clip vectors of a video, in order of time, to one vector.

A video of n clips of d dimensions becomes one or several blocks. Two or more are scaled to unit length each, so that
every block weighs alike in a cosine, and joined. What an aggregator makes of one clip is, to a cosine, that clip: its
other blocks repeat it or are zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, TypeAlias

from jaxtyping import Float

from vitascope.core import option_text
from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, check_fields
from vitascope.core.text import nearest

# strings, as torch is imported when it is first used
Clips: TypeAlias = "Float[torch.Tensor, 'm n d']"
Projected: TypeAlias = "Float[torch.Tensor, 'm n p']"
Blocks: TypeAlias = "list[Float[torch.Tensor, 'm _']]"
MOST_LEVELS = 8
"""Levels of a pyramid: 255 blocks."""


class Aggregator(ABC):
    """Base class of aggregators, which are frozen dataclasses."""

    __slots__ = ()
    sees_order: ClassVar[bool] = False
    """Whether another order of the clips gives another vector."""

    @property
    def projects(self) -> int:
        """Number of principal components of the training clips that it takes products of; 0 for none."""
        return 0

    @abstractmethod
    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """The blocks of m videos of n clips each at equal steps of time; `projected` are the components of `clips`."""


@dataclass(frozen=True, slots=True)
class Mean(Aggregator):
    """The mean."""

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """One block."""
        return [clips.mean(dim=1)]


@dataclass(frozen=True, slots=True)
class Max(Aggregator):
    """The maximum of every dimension."""

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """One block."""
        return [clips.amax(dim=1)]


@dataclass(frozen=True, slots=True)
class MeanStd(Aggregator):
    """Mean and standard deviation (divided by n)."""

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """Two blocks."""
        return [clips.mean(dim=1), clips.std(dim=1, correction=0)]


@dataclass(frozen=True, slots=True)
class Pyramid(Aggregator):
    """Means of the whole, its halves, its quarters ...: 2**levels - 1 blocks."""

    levels: Annotated[int, AT_LEAST_ONE] = 3
    """Levels: 2 for whole and halves, 3 for quarters as well."""
    sees_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, "pyramid")
        if self.levels > MOST_LEVELS:
            raise UserError(f"pyramid: levels = {self.levels} must be at most {MOST_LEVELS}")

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """A part without the middle of a clip has the nearest clip."""
        middles = _middles(clips.shape[1], clips)
        weights = torch.cat([_part_weights(middles, 2**level) for level in range(self.levels)])
        return list((weights @ clips).unbind(dim=1))


def _part_weights(middles: Float[torch.Tensor, "n"], parts: int) -> Float[torch.Tensor, "parts n"]:
    """Weights of the clips in the means of equal parts."""
    place = torch.arange(parts, device=middles.device)[:, None]
    within = (middles * parts).floor()[None] == place
    closest = (middles[None] - (place + 0.5) / parts).abs().argmin(dim=1)
    alone = torch.nn.functional.one_hot(closest, len(middles)).bool()
    weights = torch.where(within.any(dim=1, keepdim=True), within, alone).to(middles)
    return weights / weights.sum(dim=1, keepdim=True)


@dataclass(frozen=True, slots=True)
class DCT(Aggregator):
    """The first coefficients of the discrete cosine transform (type II, orthonormal, over sqrt(n)); the first is the
    mean."""

    terms: Annotated[int, AT_LEAST_ONE] = 5
    """Number of coefficients; n clips have n, and the others are zero."""
    sees_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, "dct")

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """One block per coefficient."""
        n = clips.shape[1]
        order = torch.arange(self.terms, device=clips.device, dtype=clips.dtype)[:, None]
        waves = torch.cos(math.pi * order * _middles(n, clips)) / n
        waves[1:] *= math.sqrt(2)
        return list((waves.masked_fill(order >= n, 0.0) @ clips).unbind(dim=1))


@dataclass(frozen=True, slots=True)
class Slope(Aggregator):
    """The mean and the slope of the least-squares line over time."""

    sees_order: ClassVar[bool] = True

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """Two blocks; the slope of one clip is zero. Time goes from 0 to 1."""
        time = _middles(clips.shape[1], clips) - 0.5
        slope = (time / time.square().sum().clamp(min=1e-12)) @ clips
        return [clips.mean(dim=1), slope]


@dataclass(frozen=True, slots=True)
class Order(Aggregator):
    """The clips one after another, interpolated linearly at so many equal steps of time."""

    vectors: Annotated[int, AT_LEAST_ONE] = 16
    """Number of vectors."""
    sees_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, "order")

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """One block per vector; as many vectors as clips are the clips."""
        n = clips.shape[1]
        place = (_middles(self.vectors, clips) * n - 0.5).clamp(0, n - 1)
        return list((interpolation(place, n) @ clips).unbind(dim=1))


@dataclass(frozen=True, slots=True)
class Covariance(Aggregator):
    """The mean, and the covariance over the clips of the leading principal components, with signed square roots."""

    dims: Annotated[int, AT_LEAST_ONE] = 64
    """Principal components of the training clips; all dimensions if there are no more."""

    def __post_init__(self) -> None:
        check_fields(self, "cov")

    @property
    def projects(self) -> int:
        """`dims`."""
        return self.dims

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """Two blocks; the second has the upper triangle of the covariance (divided by n)."""
        around = projected - projected.mean(dim=1, keepdim=True)
        covariance = around.transpose(1, 2) @ around / clips.shape[1]
        return [clips.mean(dim=1), _signed_root(_upper(covariance, diagonal=True))]


@dataclass(frozen=True, slots=True)
class Levy(Aggregator):
    """The mean, and the Lévy areas of the path through the leading principal components, with signed square roots.

    The area of dimensions i and j is that between their path and its chord: the antisymmetric part of the signature of
    level 2. It changes its sign when time runs backwards, and does not depend on speed.
    """

    dims: Annotated[int, AT_LEAST_ONE] = 64
    """Principal components of the training clips; all dimensions if there are no more."""
    sees_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, "levy")

    @property
    def projects(self) -> int:
        """`dims`."""
        return self.dims

    def blocks(self, clips: Clips, projected: Projected) -> Blocks:
        """Two blocks; the second has the areas of all pairs i < j. That of fewer than three clips is zero."""
        path = projected - projected[:, :1]
        products = path[:, :-1].transpose(1, 2) @ path.diff(dim=1)
        return [clips.mean(dim=1), _signed_root(_upper(products - products.transpose(1, 2), diagonal=False) / 2)]


AGGREGATORS: dict[str, type[Aggregator]] = {
    "mean": Mean,
    "max": Max,
    "meanstd": MeanStd,
    "pyramid": Pyramid,
    "dct": DCT,
    "slope": Slope,
    "levy": Levy,
    "order": Order,
    "cov": Covariance,
}
"""The aggregators by their name on the command line."""


def parse(text: str) -> Aggregator:
    """The aggregator that `text` names, `dct` or `dct:5`; UserError with the nearest match if there is none."""
    name, colon, number = text.strip().lower().partition(":")
    kind = AGGREGATORS.get(name)
    if kind is None:
        raise UserError(f"no aggregator {name!r}{nearest(name, AGGREGATORS)}; there are {', '.join(AGGREGATORS)}")
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # all are dataclasses
    if not colon:
        return kind()
    if not names:
        raise UserError(f"aggregator {text!r}: {name} takes no number")
    return kind(**{names[0]: option_text.read(int, number, f"{name}: {names[0]}")})


def describe(aggregator: Aggregator | None) -> str:
    """The text that `parse` makes an equal aggregator of; `none` for none."""
    if aggregator is None:
        return "none"
    name = next(name for name, kind in AGGREGATORS.items() if kind is type(aggregator))
    values = [str(getattr(aggregator, f.name)) for f in fields(aggregator)]  # type: ignore[arg-type]
    return ":".join([name, *values])


def interpolation(places: Float[torch.Tensor, "k"], n: int) -> Float[torch.Tensor, "k n"]:
    """Weights that interpolate linearly between n vectors at `places` from 0 to n - 1."""
    index = torch.arange(n, device=places.device)
    weights: torch.Tensor = (1 - (places[:, None] - index).abs()).clamp(min=0)
    return weights


def _middles(n: int, like: torch.Tensor) -> Float[torch.Tensor, "n"]:
    """The middles of n equal parts of 0 to 1."""
    return (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n


def _upper(matrices: Float[torch.Tensor, "m p p"], *, diagonal: bool) -> Float[torch.Tensor, "m _"]:
    """The upper triangles, row by row."""
    side = matrices.shape[1]
    rows, columns = torch.triu_indices(side, side, offset=0 if diagonal else 1, device=matrices.device)
    return matrices[:, rows, columns]


def _signed_root(values: Float[torch.Tensor, "m p"]) -> Float[torch.Tensor, "m p"]:
    """Square roots that keep the sign, so that no single product dominates."""
    return values.sign() * values.abs().sqrt()
