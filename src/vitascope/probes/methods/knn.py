"""k-nearest-neighbor classification on frozen features, with one k and tau or a search over several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Annotated, Any, Literal, TypeAlias

from jaxtyping import Float
from numpy.typing import NDArray

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.registry import unknown_variant
from vitascope.core.types import LATER
from vitascope.features.base import Features, check_same_shape, kept_arrays
from vitascope.features.view import View
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.aggregate_sweep import AggregateSweep
from vitascope.probes.classification.base import Classification
from vitascope.probes.classification.indexed_neighbors import check_index
from vitascope.probes.classification.model_selection import Select, choose, selection_score, stratified_sample
from vitascope.probes.classification.multilabel import target_array
from vitascope.probes.classification.voting import (
    Search,
    VectorSearch,
    half_a_class,
    held_out_neighbors,
    look_up,
    set_search,
)
from vitascope.sampling.names import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))
Similarity: TypeAlias = Literal["cosine", "chamfer", "dtw"]


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

    similarity: Similarity = field(default="cosine", metadata=LATER)
    """Similarity of two videos: cosine of vectors, or of all clips of both: `chamfer`, or `dtw`, which sees order."""
    index: str = field(default="", metadata=LATER)
    """Index of FAISS (extra `faiss`) that proposes neighbors, for large banks: `IVF4096,Flat:nprobe=32`, `HNSW32`,
    `Flat` (all vectors); empty: every vector is compared."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.train.agg and not self.center:
            raise UserError(f"{self.name}: aggregation centers clip vectors, which center=false forbids; use knn/clip")
        if self.index:
            check_index(self.index)
        if self.similarity != "cosine":
            self._check_sets()

    def _check_sets(self) -> None:
        """Raise UserError where there are no sets of clips to compare."""
        if self.index:
            raise UserError(
                f"{self.name}: an index is for vectors; similarity={self.similarity} compares sets of clips"
            )
        for view in (self.train, self.test):
            if view.agg or self.mean:
                raise UserError(
                    f"{self.name}: similarity={self.similarity} compares all clips of two videos; use it without "
                    f"{'agg' if view.agg else 'mean=true, as in knn/clip'}"
                )
            if why := view.not_a_sequence():
                raise UserError(f"{self.name}: similarity={self.similarity}: {why}")

    @property
    def order_aware(self) -> bool | None:
        """Whether predictions can depend on the order of the clips of a video."""
        return self.similarity == "dtw" or self.train.order_aware or self.test.order_aware

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
        search, labels, test_labels = self._search(train, test), target_array(train), target_array(test)
        candidates = self.candidates
        if self._bounded:
            candidates = [{**point, "k": half_a_class(labels[search.owner])} for point in candidates]
        largest = max(int(point["k"]) for point in candidates)
        of_test = look_up(search, labels, len(train.classes), largest)
        if len(candidates) == 1:
            about = {"k": candidates[0]["k"]} if self._bounded else {}
            return PredictionList(of_test.vote(candidates[0]), **about)
        selected_by = of_test
        if self.select == "held-out":
            chosen = stratified_sample(torch.from_numpy(labels), self.queries, seed).numpy()
            selected_by = held_out_neighbors(search, train.examples, chosen, of_test, largest)
            test_labels = labels[chosen]
        truth = torch.from_numpy(test_labels)
        scores = [selection_score(torch.from_numpy(selected_by.vote(point)), truth) for point in candidates]
        best, selection = choose(candidates, self.select, scores)
        return PredictionList(of_test.vote(candidates[best]), **selection)

    def _search(self, train: Features[Any], test: Features[Any]) -> Search:
        """Return the bank and the queries."""
        if self.similarity != "cosine":
            backwards = (self.train.backwards, self.test.backwards)
            return set_search(train, test, self.similarity, center=self.center, backwards=backwards)
        search = VectorSearch(*check_same_shape(*(kept_arrays(side, mean=self.mean) for side in (train, test))))
        search = search.centered() if self.center and self.train.agg is None else search
        return search.indexed(self.index) if self.index else search


_CLIP = KNNProbe(name="knn/clip", train=_CLIPS, test=_CLIPS)
_VIDEO = KNNProbe(name="knn/video", train=_CLIPS, test=_CLIPS, mean=True)
_PAPER: Mapping[str, Any] = {"k": 200, "center": False}
SWEEP: Mapping[str, Any] = {"ks": (1, 5, 10, 20, 50, 100, 200), "taus": (0.02, 0.05, 0.07, 0.1, 0.2)}
"""Covers common choices: k of 10 to 200 and tau of 0.07 (DINO), 200 and 0.1 (MoCo)."""
PRESETS: Mapping[str, KNNProbe | AggregateSweep] = {
    "": KNNProbe(),
    "clip": _CLIP,
    "video": _VIDEO,
    "sweep": KNNProbe(name="knn/sweep", **SWEEP),
    "clip-sweep": replace(_CLIP, name="knn/clip-sweep", **SWEEP),
    "video-sweep": replace(_VIDEO, name="knn/video-sweep", **SWEEP),
    "aggregate": AggregateSweep(),
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
    "aggregate": "2 s clips; thirteen ways to aggregate them against the mean, one selected on the training set",
    "paper": "column Uniform of the TWLV-I report: vectors as they are, k = 200, tau = 0.1",
    "paper-clip": "column Clip of the TWLV-I report: `knn/clip` with the same settings",
    "paper-video": "column Video of the TWLV-I report: `knn/video` with the same settings",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> KNNProbe | AggregateSweep:
    """Return the probe `knn/variant`, or `knn`."""
    known = PRESETS.get("" if variant == "uniform" else variant)
    if known is None:
        raise unknown_variant("probes", "knn", variant, VARIANTS)
    return known
