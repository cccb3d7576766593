"""k nearest neighbours of frozen features: exact, no training, every training vector in the bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.catalogue import unknown
from vitascope.features import Features, alike, means, rows, truths
from vitascope.metrics import accuracy
from vitascope.probe import Load, View
from vitascope.sampling import MultiClip, Uniform

Array: TypeAlias = NDArray[Any]

EPSILON = 1e-12
"""Norm below which a vector counts as that long: a zero vector stays zero, near nothing."""
TILE = 2048
"""Queries and bank vectors multiplied at once: 16 MB of similarities, which the last-level cache holds."""
MARGINS = (16, 128, 1024)
"""Neighbours that float32 keeps beyond k for float64 to choose from; the next when the last was not surely enough."""

_WHOLE = View(Uniform())
_CLIPS = View(MultiClip(2.0))


@dataclass(frozen=True, kw_only=True)
class KNN:
    """Each of the k nearest training vectors votes for its class with weight exp(cosine / tau).

    Columns of the report's table 6. Clip (`mean=False` on several vectors): the bank holds every clip of a training
    example, and the scores of a test example's clips are summed. Video (`mean=True`): one vector an example, the mean
    of its clips before normalisation. The report gives neither k nor tau; these are the published repository's.
    """

    name: str = "knn"
    version: int = 1
    train: View = _WHOLE
    test: View = _WHOLE
    k: int = 200
    """Or the whole bank, where that is smaller."""
    tau: float = 0.1
    mean: bool = False
    random: ClassVar[bool] = False
    """Nothing is drawn from the seed."""

    def __post_init__(self) -> None:
        if self.k < 1 or not self.tau > 0:
            raise ValueError(f"{self.name}: k = {self.k}, tau = {self.tau}; k must be at least 1 and tau positive")

    def multiply_adds(self, load: Load) -> float:
        """Of the search."""
        clips = 1 if self.mean else load.train_clips * load.test_clips
        return float(load.train * load.test * clips * load.dim)

    def predict(self, train: Features[int], test: Features[int], *, seed: int = 0) -> list[Float[Array, "c"]]:
        """The share of the votes that each class gets, for each test example; nothing is drawn from `seed`."""
        read = means if self.mean else rows
        bank, queries = alike(read(train), read(test))
        found = neighbours(queries.values, bank.values, self.k)
        labels = truths(train).to(bank.owner.device)[bank.owner]
        return list(vote(found, labels, queries.owner, classes=len(train.classes), tau=self.tau))

    def score(self, predictions: Sequence[Array] | Array, truth: Sequence[int]) -> dict[str, float]:
        """Top-1 and, of more than five classes, top-5, percent."""
        return accuracy.top_1_and_5(predictions, truth)

    def outcomes(self, predictions: Sequence[Array] | Array, truth: Sequence[int]) -> list[float]:
        """100 for each example whose class is predicted, else 0."""
        return accuracy.outcomes(predictions, truth)


PRESETS = {
    "": KNN(),
    "clip": KNN(name="knn/clip", train=_CLIPS, test=_CLIPS),
    "video": KNN(name="knn/video", train=_CLIPS, test=_CLIPS, mean=True),
}
VARIANTS: Mapping[str, str] = {
    "": "one clip over the whole video (the Uniform column of the TWLV-I report); also `knn/uniform`",
    "clip": "2 s clips; every training clip in the bank, the scores of a test video's clips summed",
    "video": "2 s clips; the mean vector of each video",
}
"""What follows `knn/`, and what it is."""


def build(variant: str = "") -> KNN:
    """The probe called `knn/variant`; `knn` alone is the Uniform column."""
    known = PRESETS.get("" if variant == "uniform" else variant)
    if known is None:
        raise unknown("probes", f"knn/{variant}")
    return known


class Neighbours(NamedTuple):
    """The nearest bank vectors of each query, nearest first; of equally near ones the lower index first."""

    similarities: Float[Tensor, "q k"]
    indices: Int[Tensor, "q k"]


def vote(
    found: Neighbours, labels: Int[Tensor, "b"], owner: Int[Tensor, "q"], *, classes: int, tau: float
) -> Float[Array, "e c"]:
    """Class shares of each example from the neighbours of its queries; the first k columns of `found` are a smaller k.

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


def neighbours(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "b d"], k: int, *, device: torch.device | str | None = None
) -> Neighbours:
    """The min(k, b) nearest vectors of `bank` to each query by cosine, on `device` (where the bank is when None).

    Exact: float32 products choose k and some candidates, whose cosines are then taken in float64 and rounded to
    float32, so that neither order nor ties depend on how the work was divided or on who multiplies matrices here.
    Memory beyond the input: one tile of similarities and what it keeps.
    """
    bank = bank if device is None else bank.to(device)
    lengths = torch.cat([_lengths(part) for part in _tiles(bank)])
    found = [_nearest(part.to(bank.device), bank, min(k, len(bank)), lengths=lengths) for part in _tiles(queries)]
    return Neighbours(torch.cat([s for s, _ in found]), torch.cat([i for _, i in found]))


def _nearest(
    queries: Float[Tensor, "q d"],
    bank: Float[Tensor, "b d"],
    k: int,
    *,
    lengths: Float[Tensor, "b"],
    margins: Sequence[int] = MARGINS,
) -> Neighbours:
    keep = min(k + margins[0], len(bank))
    candidates, least = _search(queries, bank, keep, lengths=lengths)
    found = _settle(queries, bank, candidates, lengths=lengths, k=k)
    # four times the usual error of a float32 product of unit vectors: within it, one that was left out may belong in
    doubt = found.similarities[:, -1] - least < 4 * bank.shape[1] ** 0.5 * 2**-24
    if keep < len(bank) and len(margins) > 1 and doubt.any():
        again = _nearest(queries[doubt], bank, k, lengths=lengths, margins=margins[1:])
        found.similarities[doubt], found.indices[doubt] = again
    return found


def _tiles(values: Float[Tensor, "n d"]) -> Iterator[Float[Tensor, "m d"]]:
    """Parts of nearly equal size: kernels for a thin remainder round differently, even from row to row."""
    yield from torch.tensor_split(values, max(1, -(-len(values) // TILE)))


def _lengths(values: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norms.clamp_(min=EPSILON)


def _search(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "b d"], k: int, *, lengths: Float[Tensor, "b"]
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q"]]:
    """Bank indices of the k largest float32 cosines of each query, in no order, and the least of these cosines."""
    # a matrix-vector kernel gives equal vectors unequal products, depending on their place
    rows = torch.nn.functional.pad(queries, (0, 0, 0, max(0, 8 - len(queries))))
    unit = (rows.double() / _lengths(rows)[:, None]).float()
    best = _Best(len(rows), k, queries.device)
    start = 0
    for part in _tiles(bank):
        stop = start + len(part)
        best.add(unit @ (part / lengths[start:stop, None].float()).T, start)
        start = stop
    best.drop()
    return best.indices()[: len(queries)], best.least[: len(queries), 0]


class _Best:
    """The k largest similarities of each query so far, as one integer each: similarity above, index below.

    Integers are never equal, so the k largest are well defined: of equal similarities the lower indices. Whatever
    cannot be among them is dropped by one comparison; the rest waits in `keys` until a row is full.
    """

    EMPTY = torch.iinfo(torch.int64).min

    def __init__(self, queries: int, k: int, device: torch.device) -> None:
        self.k = k
        self.keys = torch.full((queries, k + TILE), self.EMPTY, device=device)
        self.filled = torch.zeros(queries, dtype=torch.int64, device=device)
        self.least = torch.full((queries, 1), -torch.inf, device=device)

    def add(self, similarities: Float[Tensor, "q b"], start: int) -> None:
        """Take in the similarities to the bank vectors from `start` on; starts must ascend."""
        if start == 0 and similarities.shape[1] >= self.k:
            kth = similarities.topk(self.k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
            self.least = kth.nextafter(kth.new_tensor(-torch.inf))
        row, column = (similarities > self.least).nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=len(self.keys))
        if int((self.filled + counts).max()) > self.keys.shape[1]:
            self.drop()
            return self.add(similarities, start)
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row] + self.filled[row]
        self.keys[row, place] = _pack(similarities[row, column], column + start)
        self.filled += counts
        if int(self.filled.sum()) > 2 * self.k * len(self.keys):
            self.drop()
        return None

    def drop(self) -> None:
        """Keep only the k largest."""
        kept = self.keys[:, : int(self.filled.max())].topk(self.k, dim=1, sorted=False).values
        self.keys.fill_(self.EMPTY)
        self.keys[:, : self.k] = kept
        self.filled.fill_(self.k)
        self.least = _similarity(kept.amin(dim=1, keepdim=True))

    def indices(self) -> Int[Tensor, "q k"]:
        """Of the k largest, once `drop` was called."""
        return 0xFFFFFFFF - (self.keys[:, : self.k] & 0xFFFFFFFF)


def _pack(similarity: Float[Tensor, "n"], index: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    bits = (similarity + 0.0).view(torch.int32)  # + 0: minus zero equals zero
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(torch.int64) << 32) | (0xFFFFFFFF - index)


def _similarity(key: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    bits = (key >> 32).to(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(torch.float32)


def _settle(
    queries: Float[Tensor, "q d"],
    bank: Float[Tensor, "b d"],
    candidates: Int[Tensor, "q c"],
    *,
    lengths: Float[Tensor, "b"],
    k: int,
) -> Neighbours:
    """The k best candidates by cosines computed in float64 and rounded to float32, sorted."""
    candidates = candidates.sort(dim=1).values
    own = _lengths(queries)[:, None]
    cosines = torch.empty(candidates.shape, device=bank.device)
    count, dim = candidates.shape[1], bank.shape[1]
    at_once = max(1, 2**20 // (count * dim))  # what the cache holds
    near = bank.new_empty(at_once, count, dim)
    wide = near.double()
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        query, index = queries[part].double(), candidates[part]
        here, products = near[: len(query)], wide[: len(query)]
        torch.index_select(bank, 0, index.flatten(), out=here.view(-1, dim))
        # a sum along rows treats all rows alike; a matrix product need not
        dots = products.copy_(here).mul_(query[:, None]).sum(dim=2)
        cosines[part] = dots / lengths[index] / own[part]
    similarities, order = cosines.sort(dim=1, descending=True, stable=True)
    return Neighbours(similarities[:, :k], candidates.gather(1, order)[:, :k])
