"""Similarity of two videos as sets or sequences of clip vectors, of unit length: Chamfer and dynamic time warping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from jaxtyping import Float, Int

from vitascope.core.device import torch
from vitascope.features.aggregation import Sequences
from vitascope.probes.classification.nearest_neighbors import Neighbors

Measure: TypeAlias = Literal["chamfer", "dtw"]
SEES_ORDER = {"chamfer": False, "dtw": True}
"""Whether another order of the clips gives another similarity."""
PAIRS = 1 << 22
"""Cosines of pairs of clips at a time: 16 MB, of which dynamic time warping reads one row after another."""
QUERIES = 64
"""Videos looked up at a time."""
DECIMALS = 6
"""Similarities are rounded to so many decimals, so that equal videos tie however work is split."""


class _Tile(NamedTuple):
    """Videos of similar length, padded by repeating their last clip."""

    places: Int[torch.Tensor, "v"]
    clips: Float[torch.Tensor, "v n d"]
    counts: Int[torch.Tensor, "v"]


def set_neighbors(queries: Sequences, bank: Sequences, k: int, measure: Measure) -> Neighbors:
    """Return the min(k, b) videos of `bank` that are most similar to each query; ties in order of index.

    Chamfer: the mean cosine of every clip with the most similar clip of the other video, averaged over both
    directions. DTW: one minus the least sum of (1 - cosine) over a monotonic alignment of all clips (steps of one clip
    in either video or both), divided by the number of clips of the longer video, the least steps there are. Two videos
    of one clip each have their cosine. Memory beyond the input: one block of pairs and the similarities of `QUERIES`.
    """
    k, videos = min(k, len(bank.counts)), len(queries.counts)
    similarities = queries.values.new_empty(videos, k)
    indices = torch.empty(videos, k, dtype=torch.int64, device=queries.values.device)
    widest = int(queries.counts.max())
    for tile in _tiles(queries, QUERIES):
        found = tile.clips.new_empty(len(tile.places), len(bank.counts))
        for part in _tiles(bank, max(1, PAIRS // (QUERIES * widest * int(bank.counts.max())))):
            found[:, part.places] = _similarities(tile, part, measure)
        best = found.round(decimals=DECIMALS).sort(dim=1, descending=True, stable=True)
        similarities[tile.places], indices[tile.places] = best.values[:, :k], best.indices[:, :k]
    return Neighbors(similarities.cpu().numpy(), indices.cpu().numpy())


def _tiles(sets: Sequences, size: int) -> Iterator[_Tile]:
    """Yield videos in order of length, so that little is padded."""
    first = sets.first
    for places in torch.split(sets.counts.argsort(stable=True), size):
        counts = sets.counts[places]
        column = torch.arange(int(counts.max()), device=counts.device)
        rows = first[places, None] + torch.minimum(column[None], counts[:, None] - 1)
        yield _Tile(places, sets.values[rows], counts)


def _similarities(one: _Tile, other: _Tile, measure: Measure) -> Float[torch.Tensor, "q b"]:
    """Return the similarity of each video of `one` with each of `other`."""
    (q, n, d), (b, m, _) = one.clips.shape, other.clips.shape
    cosines = (one.clips.reshape(q * n, d) @ other.clips.reshape(b * m, d).T).view(q, n, b, m)
    if measure == "chamfer":
        forth = _mean_of_first(cosines.amax(dim=3).transpose(1, 2), one.counts[:, None])
        back = _mean_of_first(cosines.amax(dim=1), other.counts[None])
        return (forth + back) / 2
    costs = (1 - cosines).permute(1, 3, 0, 2).reshape(n, m, q * b)
    lengths = [counts.reshape(-1) for counts in torch.broadcast_tensors(one.counts[:, None], other.counts[None])]
    total = aligned_cost(costs, *lengths)
    return (1 - total / torch.maximum(*lengths)).view(q, b)


def _mean_of_first(
    values: Float[torch.Tensor, "q b n"], counts: Int[torch.Tensor, "_ _"]
) -> Float[torch.Tensor, "q b"]:
    """Return the mean of the first `counts` values of each row."""
    kept = torch.arange(values.shape[2], device=values.device) < counts[..., None]
    return (values * kept).sum(dim=2) / counts


def aligned_cost(
    costs: Float[torch.Tensor, "n m p"], rows: Int[torch.Tensor, "p"], columns: Int[torch.Tensor, "p"]
) -> Float[torch.Tensor, "p"]:
    """Return the least sum of costs on a monotonic path from the first cell to (`rows` - 1, `columns` - 1), per pair.

    A path goes on by one row, one column or both. All pairs advance together, a cell at a time.
    """
    n, m, pairs = costs.shape
    total = costs.new_empty(pairs)
    above = costs.new_full((m + 1, pairs), torch.inf)
    above[0] = 0.0
    for i in range(n):
        best = torch.minimum(above[1:], above[:-1])
        row = torch.full_like(above, torch.inf)
        for j in range(m):
            torch.minimum(best[j], row[j], out=row[j + 1])
            row[j + 1] += costs[i, j]
        ends = (rows == i + 1).nonzero()[:, 0]
        total[ends] = row[columns[ends], ends]
        above = row
    return total
