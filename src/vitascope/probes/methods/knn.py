"""k-nearest-neighbor classification on frozen features, with one k and tau or a search over several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.registry import unknown_variant
from vitascope.core.types import Example
from vitascope.features.base import Features, FlatVectors, all_vectors, check_same_shape, mean_vectors
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.base import Classification
from vitascope.probes.classification.model_selection import Select, choose, selection_score, stratified_sample
from vitascope.probes.classification.multilabel import Targets, class_targets, is_multilabel, labels_of
from vitascope.probes.classification.nearest_neighbors import TILE, Neighbors, neighbors
from vitascope.sampling.names import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))
MOST_NEIGHBORS = 20
"""Largest default k: that of DINO, the best of 10 to 200 on ImageNet."""


@dataclass(frozen=True, kw_only=True)
class KNNProbe(Classification):
    """Each of the k nearest training vectors votes for its class with weight exp(cosine / tau).

    Columns of table 6 of the TWLV-I report. Clip (`mean=False`, several vectors): the bank holds every clip of a
    training example, and the votes of the clips of a test example are summed. Video (`mean=True`): one vector per
    example, the mean of its clips before normalization. k and tau are those of the authors' repository; the report
    states neither.
    """

    name: str = "knn"
    """Name as typed by users, with variant and options."""
    version: int = 2
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _WHOLE
    """View of the training videos."""
    test: View = _WHOLE
    """View of the test videos."""
    k: Annotated[int, NOT_NEGATIVE] = 0
    """Number of neighbors, at most the size of the bank; 0: 20, but at most half the bank vectors of a median class."""
    tau: Annotated[float, POSITIVE] = 0.1
    """Temperature: a neighbor votes with weight exp(cosine / tau)."""
    center: bool = True
    """Subtract the mean of the bank from all vectors."""
    mean: bool = False
    """Use the mean of the vectors of an example. Else every vector is in the bank, and votes are summed over those of
    a test example."""
    ks: Annotated[tuple[int, ...], AT_LEAST_ONE] = ()
    """Numbers of neighbors to search, combined with all `taus`; `select` chooses one. Empty: `k`."""
    taus: Annotated[tuple[float, ...], POSITIVE] = ()
    """Temperatures to search, combined with all `ks`. Empty: `tau`."""
    select: Select = "held-out"
    """Selection of k and tau: by leave-one-group-out on the training examples, or on the test set."""
    queries: Annotated[int, AT_LEAST_ONE] = 10_000
    """Maximum number of training examples used as queries for the selection, stratified; the bank holds all."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)

    @property
    def random(self) -> bool:
        """Whether results depend on the seed, which draws the queries of the search."""
        return len(self.candidates) > 1 and self.select == "held-out"

    @property
    def candidates(self) -> list[dict[str, float]]:
        """Hyper-parameter candidates."""
        return [{"k": k, "tau": tau} for k, tau in product(self.ks or (self.k,), self.taus or (self.tau,))]

    @property
    def _bounded(self) -> bool:
        """Whether k follows from the size of the classes."""
        return not (self.ks or self.k)

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds of the search, and of that for selection."""
        train_vectors, test_vectors = (1, 1) if self.mean else (load.train_clips, load.test_clips)
        queries = load.test * test_vectors + (min(self.queries, load.train) * train_vectors if self.random else 0)
        return float(load.train * train_vectors * queries * load.dim)

    def predict(self, train: Features[Any], test: Features[Any], *, seed: int = 0) -> PredictionList[Float[Array, "c"]]:
        """Return the share of votes of each class for each test example; `seed` draws the queries of the search."""
        read = mean_vectors if self.mean else all_vectors
        bank, queries = check_same_shape(read(train), read(test))
        if self.center:
            bank, queries = _center(bank, queries)
        labels, test_labels, candidates = class_targets(train), class_targets(test), self.candidates
        if self._bounded:
            candidates = [{**point, "k": half_a_class(labels[bank.owner.cpu()])} for point in candidates]
        largest = max(int(point["k"]) for point in candidates)
        nearest = neighbors(queries.values, bank.values, largest)
        test_queries = _QueryNeighbors(
            nearest, queries.owner, labels.to(bank.owner.device)[bank.owner], len(train.classes)
        )
        if len(candidates) == 1:
            about = {"k": candidates[0]["k"]} if self._bounded else {}
            return PredictionList(test_queries.vote(candidates[0]), **about)
        selection_queries = test_queries
        if self.select == "held-out":
            chosen = stratified_sample(labels, self.queries, seed)
            selection_queries = _QueryNeighbors(
                *_leave_one_out(train.examples, bank, chosen, largest), test_queries.labels, test_queries.classes
            )
            test_labels = labels[chosen]
        scores = [selection_score(torch.from_numpy(selection_queries.vote(point)), test_labels) for point in candidates]
        best, selection = choose(candidates, self.select, scores)
        return PredictionList(test_queries.vote(candidates[best]), **selection)


def _center(bank: FlatVectors, queries: FlatVectors) -> tuple[FlatVectors, FlatVectors]:
    """Return both without the mean of the bank."""
    total = torch.stack([part.double().sum(dim=0) for part in torch.split(bank.values, TILE)]).sum(dim=0)
    mean = (total / len(bank.values)).float()
    return bank._replace(values=bank.values - mean), queries._replace(values=queries.values - mean)


def half_a_class(labels: Targets) -> int:
    """Return the default k: 20, but at most half the vectors of a median class, so that it can win the vote."""
    sizes = labels.sum(dim=0) if is_multilabel(labels) else torch.bincount(labels)
    return min(MOST_NEIGHBORS, max(1, int(sizes[sizes > 0].median()) // 2))


_CLIP = KNNProbe(name="knn/clip", train=_CLIPS, test=_CLIPS)
_VIDEO = KNNProbe(name="knn/video", train=_CLIPS, test=_CLIPS, mean=True)
_PAPER: Mapping[str, Any] = {"k": 200, "center": False}
SWEEP: Mapping[str, Any] = {"ks": (1, 5, 10, 20, 50, 100, 200), "taus": (0.02, 0.05, 0.07, 0.1, 0.2)}
"""Covers common choices: k of 10 to 200 and tau of 0.07 (DINO), 200 and 0.1 (MoCo)."""
PRESETS: Mapping[str, KNNProbe] = {
    "": KNNProbe(),
    "clip": _CLIP,
    "video": _VIDEO,
    "sweep": KNNProbe(name="knn/sweep", **SWEEP),
    "clip-sweep": replace(_CLIP, name="knn/clip-sweep", **SWEEP),
    "video-sweep": replace(_VIDEO, name="knn/video-sweep", **SWEEP),
    "paper": KNNProbe(name="knn/paper", **_PAPER),
    "paper-clip": replace(_CLIP, name="knn/paper-clip", **_PAPER),
    "paper-video": replace(_VIDEO, name="knn/paper-video", **_PAPER),
}
VARIANTS: Mapping[str, str] = {
    "": "one clip over the whole video, centered vectors, k bounded by the size of the classes; also `knn/uniform`",
    "clip": "2 s clips; every training clip is in the bank, votes are summed over the clips of a test video",
    "video": "2 s clips, averaged to one vector per video",
    "sweep": "`knn` with seven k times five tau, selected by leave-one-out on the training set",
    "clip-sweep": "`knn/clip` with the same search; an example leaves with all its clips and its group",
    "video-sweep": "`knn/video` with the same search",
    "paper": "column Uniform of the TWLV-I report: vectors as they are, k = 200, tau = 0.1",
    "paper-clip": "column Clip of the TWLV-I report: `knn/clip` with the same settings",
    "paper-video": "column Video of the TWLV-I report: `knn/video` with the same settings",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> KNNProbe:
    """Return the probe `knn/variant`, or `knn`."""
    known = PRESETS.get("" if variant == "uniform" else variant)
    if known is None:
        raise unknown_variant("probes", "knn", variant, VARIANTS)
    return known


class _QueryNeighbors(NamedTuple):
    """Queries with their neighbors and the labels of the bank, shared by every k and tau."""

    neighbors: Neighbors
    owner: Int[Tensor, "q"]
    labels: Targets
    classes: int

    def vote(self, point: Mapping[str, float]) -> Float[Array, "e c"]:
        """Return class shares with the k and tau of one candidate."""
        nearest = Neighbors(*(part[:, : int(point["k"])] for part in self.neighbors))
        return vote(nearest, self.labels, self.owner, classes=self.classes, tau=point["tau"])


def _leave_one_out(
    examples: Sequence[Example[Any]], bank: FlatVectors, chosen: Int[Tensor, "m"], k: int
) -> tuple[Neighbors, Tensor]:
    """Return the k nearest neighbors of all vectors of the examples `chosen`, outside example and group, and owners.

    Missing neighbors are infinitely far away and have no vote. If every class has a single group, groups are not left
    out, as no example of the class would remain. Raises UserError if nothing is left.
    """
    units: dict[tuple[str | int, bool], int] = {}
    leave_groups = not _one_group_per_class(examples)
    keys = [(e.group, True) if leave_groups and e.group is not None else (i, False) for i, e in enumerate(examples)]
    unit = torch.tensor([units.setdefault(key, len(units)) for key in keys], device=bank.owner.device)[bank.owner]
    if len(units) < 2:
        raise UserError(
            f"all {len(examples)} training examples belong to one group, so none is left to select k and tau by; use a "
            "probe without sweep"
        )
    place = torch.full((len(examples),), -1, device=bank.owner.device)
    place[chosen] = torch.arange(len(chosen), device=place.device)
    query_rows = (place[bank.owner] >= 0).nonzero()[:, 0]
    sizes = torch.bincount(unit)
    parts = []
    for part in torch.split(query_rows, TILE):
        nearest = neighbors(bank.values[part], bank.values, k + int(sizes[unit[part]].max()))
        excluded = unit[nearest.indices] == unit[part, None]
        columns = excluded.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        similarities = nearest.similarities.masked_fill(excluded, -torch.inf)
        parts.append(Neighbors(similarities.gather(1, columns), nearest.indices.gather(1, columns)))
    joined = Neighbors(*(torch.cat(parts) for parts in zip(*parts, strict=True)))
    return joined, place[bank.owner[query_rows]]


def _one_group_per_class(examples: Sequence[Example[Any]]) -> bool:
    """Return whether every class has a single group, and there are several."""
    groups: dict[int, set[str | int]] = {}
    for i, e in enumerate(examples):
        for label in labels_of(e):
            groups.setdefault(label, set()).add(i if e.group is None else e.group)
    return len(set.union(*groups.values())) > 1 and all(len(members) == 1 for members in groups.values())


def vote(
    neighbors: Neighbors, labels: Targets, owner: Int[Tensor, "q"], *, classes: int, tau: float
) -> Float[Array, "e c"]:
    """Return the share of votes of each class for each example, from the neighbors of its queries.

    Votes are summed over the queries of an example, to which `owner` assigns them (ascending, each example at least
    once). Shares keep the order of the sums, and do not overflow float32 for any tau. A neighbor votes for each of its
    labels, if it may have several: the share of a class is then that of the votes of neighbors that have it.
    """
    similarities, owners = neighbors.similarities.cpu().double().numpy(), owner.cpu().numpy()
    indices, truth = neighbors.indices.cpu().numpy(), labels.cpu().numpy()
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    peak = np.maximum.reduceat(similarities[:, 0], first)
    scores, totals = np.zeros((len(first), classes)), np.zeros(len(first))
    for start in range(0, len(owners), TILE):
        part = slice(start, start + TILE)
        low, high = owners[part][0], owners[part][-1] + 1
        weights = np.exp((similarities[part] - peak[owners[part], None]) / tau)
        rows, count = owners[part] - low, high - low
        if is_multilabel(labels):
            scores[low:high] += _votes_for_sets(weights, indices[part], truth, rows)
            totals[low:high] += np.bincount(rows, weights.sum(axis=1), minlength=count)
        else:
            cells = rows[:, None] * classes + truth[indices[part]]
            counts = np.bincount(cells.ravel(), weights.ravel(), minlength=count * classes)
            scores[low:high] += counts.reshape(-1, classes)
    sums = totals[:, None] if is_multilabel(labels) else scores.sum(axis=1, keepdims=True)
    shares: Float[Array, "e c"] = (scores / sums).astype(np.float32)
    return shares


def _votes_for_sets(
    weights: Float[Array, "q k"], indices: Int[Array, "q k"], truth: Float[Array, "b c"], rows: Int[Array, "q"]
) -> Float[Array, "e c"]:
    """Return the sum of the votes for each class; `rows` is the example of each query, ascending without a gap."""
    votes = np.zeros((len(weights), truth.shape[1]))
    for weight, index in zip(weights.T, indices.T, strict=True):
        votes += weight[:, None] * truth[index]
    summed: Float[Array, "e c"] = np.add.reduceat(votes, np.flatnonzero(np.diff(rows, prepend=-1)), axis=0)
    return summed
