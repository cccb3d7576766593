"""k nearest neighbors of frozen features: no training, every training vector in the bank; one k and tau or a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Example
from vitascope.features.base import Features, Rows, alike, means, rows, truths
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.base import Classification
from vitascope.probes.classification.model_selection import Select, check_select, chosen, sample, top_1
from vitascope.probes.classification.nearest_neighbors import TILE, Neighbors, neighbors
from vitascope.sampling.names import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))


@dataclass(frozen=True, kw_only=True)
class KNNProbe(Classification):
    """Each of the k nearest training vectors votes for its class with weight exp(cosine / tau).

    Columns of the report's table 6. Clip (`mean=False` on several vectors): the bank holds every clip of a training
    example, and the scores of a test example's clips are summed. Video (`mean=True`): one vector an example, the mean
    of its clips before normalization. The report gives neither k nor tau; these are the published repository's.
    """

    name: str = "knn"
    version: int = 1
    train: View = _WHOLE
    test: View = _WHOLE
    k: int = 200
    """Or the whole bank, where that is smaller."""
    tau: float = 0.1
    mean: bool = False
    ks: tuple[int, ...] = ()
    """Several, each with each of `taus`: all from one search; `select` chooses."""
    taus: tuple[float, ...] = ()
    select: Select = "held-out"
    """By what one of several is chosen: each training example asked of the bank without its own group, or the test."""
    queries: int = 10_000
    """Training examples asked to choose by, at most, classes in proportion; the bank holds all of them."""

    def __post_init__(self) -> None:
        check_select(self.name, self.select)
        wrong = [f"k = {k}" for k in (self.k, *self.ks) if k < 1]
        wrong += [f"tau = {tau}" for tau in (self.tau, *self.taus) if not tau > 0]
        wrong += [f"queries = {self.queries}"] if self.queries < 1 else []
        if wrong:
            raise UserError(
                f"{self.name}: {', '.join(wrong)}; k must be at least 1 and tau positive, queries at least 1"
            )

    @property
    def random(self) -> bool:
        """Whether the seed can change anything: it draws whom to choose by, where training examples are many."""
        return len(self.grid) > 1 and self.select == "held-out"

    @property
    def grid(self) -> list[dict[str, float]]:
        """The settings that are tried."""
        return [{"k": k, "tau": tau} for k, tau in product(self.ks or (self.k,), self.taus or (self.tau,))]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Of the search, and of the one to choose by."""
        ours, theirs = (1, 1) if self.mean else (load.train_clips, load.test_clips)
        asked = load.test * theirs + (min(self.queries, load.train) * ours if self.random else 0)
        return float(load.train * ours * asked * load.dim)

    def predict(self, train: Features[int], test: Features[int], *, seed: int = 0) -> PredictionList[Float[Array, "c"]]:
        """The share of the votes that each class gets, for each test example; `seed` draws whom to choose by."""
        read = means if self.mean else rows
        bank, queries = alike(read(train), read(test))
        labels, answers, grid = truths(train), truths(test), self.grid
        most = max(int(point["k"]) for point in grid)
        found = neighbors(queries.values, bank.values, most)
        theirs = _Asked(found, queries.owner, labels.to(bank.owner.device)[bank.owner], len(train.classes))
        if len(grid) == 1:
            return PredictionList(theirs.vote(grid[0]))
        judged = theirs
        if self.select == "held-out":
            asked = sample(labels, self.queries, seed)
            judged = _Asked(*_left_out(train.examples, bank, asked, most), theirs.labels, theirs.classes)
            answers = labels[asked]
        scores = [top_1(torch.from_numpy(judged.vote(point)), answers) for point in grid]
        best, told = chosen(grid, self.select, scores)
        return PredictionList(theirs.vote(grid[best]), **told)


_CLIP = KNNProbe(name="knn/clip", train=_CLIPS, test=_CLIPS)
_VIDEO = KNNProbe(name="knn/video", train=_CLIPS, test=_CLIPS, mean=True)
SWEEP: Mapping[str, Any] = {"ks": (1, 5, 10, 20, 50, 100, 200), "taus": (0.02, 0.05, 0.07, 0.1, 0.2)}
"""Around what is in use: DINO's k of 10 to 200 and tau of 0.07, MoCo's 200 and 0.1."""
PRESETS: Mapping[str, KNNProbe] = {
    "": KNNProbe(),
    "clip": _CLIP,
    "video": _VIDEO,
    "sweep": KNNProbe(name="knn/sweep", **SWEEP),
    "clip-sweep": replace(_CLIP, name="knn/clip-sweep", **SWEEP),
    "video-sweep": replace(_VIDEO, name="knn/video-sweep", **SWEEP),
}
VARIANTS: Mapping[str, str] = {
    "": "one clip over the whole video (the Uniform column of the TWLV-I report); also `knn/uniform`",
    "clip": "2 s clips; every training clip in the bank, the scores of a test video's clips summed",
    "video": "2 s clips; the mean vector of each video",
    "sweep": "as `knn` with seven k times five tau from one search, chosen by leaving training examples out one by one",
    "clip-sweep": "the same as `knn/clip`; a left-out example takes all its clips, and its group, out of the bank",
    "video-sweep": "the same as `knn/video`",
}
"""What follows `knn/`, and what it is."""


def build(variant: str = "") -> KNNProbe:
    """The probe called `knn/variant`; `knn` alone is the Uniform column."""
    known = PRESETS.get("" if variant == "uniform" else variant)
    if known is None:
        raise unknown_variant("probes", "knn", variant, VARIANTS)
    return known


class _Asked(NamedTuple):
    """Queries with their neighbors and the labels of the bank: what every k and tau counts anew."""

    found: Neighbors
    owner: Int[Tensor, "q"]
    labels: Int[Tensor, "b"]
    classes: int

    def vote(self, point: Mapping[str, float]) -> Float[Array, "e c"]:
        """With the k and the tau of one point of a grid."""
        nearest = Neighbors(*(part[:, : int(point["k"])] for part in self.found))
        return vote(nearest, self.labels, self.owner, classes=self.classes, tau=point["tau"])


def _left_out(
    examples: Sequence[Example[int]], bank: Rows, asked: Int[Tensor, "m"], k: int
) -> tuple[Neighbors, Tensor]:
    """The k nearest of each vector of the examples `asked` outside its example and its group, and whose query it is.

    Where fewer are left, the rest is infinitely far away: it has no vote. Where every class is of one group, groups
    stay in: leaving them out would leave nothing to find. ValueError where none is left.
    """
    units: dict[tuple[str | int, bool], int] = {}
    whole = not _bound(examples)
    keys = [(e.group, True) if whole and e.group is not None else (i, False) for i, e in enumerate(examples)]
    unit = torch.tensor([units.setdefault(key, len(units)) for key in keys], device=bank.owner.device)[bank.owner]
    if len(units) < 2:
        raise UserError(
            f"all {len(examples)} training examples are of one group: none is left to choose k and tau by; use a probe "
            "without a sweep"
        )
    place = torch.full((len(examples),), -1, device=bank.owner.device)
    place[asked] = torch.arange(len(asked), device=place.device)
    which = (place[bank.owner] >= 0).nonzero()[:, 0]
    sizes = torch.bincount(unit)
    found = []
    for part in torch.split(which, TILE):
        near = neighbors(bank.values[part], bank.values, k + int(sizes[unit[part]].max()))
        own = unit[near.indices] == unit[part, None]
        kept = own.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        far = near.similarities.masked_fill(own, -torch.inf)
        found.append(Neighbors(far.gather(1, kept), near.indices.gather(1, kept)))
    joined = Neighbors(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    return joined, place[bank.owner[which]]


def _bound(examples: Sequence[Example[int]]) -> bool:
    """Whether every class is of one group only."""
    groups: dict[int, set[str | int]] = {}
    for i, e in enumerate(examples):
        groups.setdefault(e.truth, set()).add(i if e.group is None else e.group)
    return len(set.union(*groups.values())) > 1 and all(len(of) == 1 for of in groups.values())


def vote(
    found: Neighbors, labels: Int[Tensor, "b"], owner: Int[Tensor, "q"], *, classes: int, tau: float
) -> Float[Array, "e c"]:
    """Class shares of each example from the neighbors of its queries; the first k columns of `found` are a smaller k.

    The votes of an example's queries are summed raw. `owner` (ascending, each example at least once) says whose query
    is whose. Shares keep the order of the sums, and fit a float32 whatever tau.
    """
    similarities, owners = found.similarities.cpu().double().numpy(), owner.cpu().numpy()
    voted = labels.to(found.indices.device)[found.indices].cpu().numpy()
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    peak = np.maximum.reduceat(similarities[:, 0], first)
    scores = np.zeros((len(first), classes))
    for start in range(0, len(owners), TILE):
        part = slice(start, start + TILE)
        low, high = owners[part][0], owners[part][-1] + 1
        weights = np.exp((similarities[part] - peak[owners[part], None]) / tau)
        cells = (owners[part, None] - low) * classes + voted[part]
        counted = np.bincount(cells.ravel(), weights.ravel(), minlength=(high - low) * classes)
        scores[low:high] += counted.reshape(-1, classes)
    shares: Float[Array, "e c"] = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
