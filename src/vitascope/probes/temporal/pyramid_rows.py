"""Levels of a feature pyramid of several videos as rows of one matrix, which the heads of ActionFormer read at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

KERNEL = 3
"""Kernel of the convolutions."""
ROUND = 128
"""Rows of all levels are a multiple, as products of every other size have to be compiled (`nn.fast_linear`)."""


class Level(NamedTuple):
    """One level of videos of one length."""

    values: Float[Tensor, "b t c"]
    length: int
    """Rows of the videos; the others are not read."""
    after: Float[Tensor, "c"] | None
    """What the padding of the published code has right behind the end; None if it has none there."""

    def of(self, video: int) -> Level:
        """Select a video."""
        return self._replace(values=self.values[video : video + 1])


class Levels(NamedTuple):
    """Input of the heads: a zero row, then all levels of all videos, finest first, with two more rows after each.

    The first of the two stands for the padding of the published code, the second is zero.
    """

    values: Float[Tensor, "q c"]
    rows: Int[Tensor, "m"]
    """Row of every point inside the videos, by video and level."""
    points: Int[Tensor, "m"]
    """Its index among the b p points of padded videos."""
    level: Int[Tensor, "m"]
    empty: Int[Tensor, "n"]
    """Rows outside the videos: zero before every norm."""
    gaps: Int[Tensor, "l"]
    """Those of them that are zero behind every norm, too."""
    mask: Bool[Tensor, "b p"]
    """Points inside the videos."""
    sizes: tuple[int, ...]
    """Points per level of a padded video."""

    def at_points(self, values: Float[Tensor, "m d"]) -> Float[Tensor, "b p d"]:
        """Return values of the points inside the videos at all points; zeros at the others."""
        full = values.new_zeros(self.mask.numel(), values.shape[1])
        return full.index_copy(0, self.points, values).view(*self.mask.shape, -1)

    def inside(self, points: Bool[Tensor, "b p"]) -> Bool[Tensor, "m"]:
        """Return the same choice among the points inside the videos."""
        return points.flatten()[self.points]


def packed(videos: Sequence[Sequence[Level]], after: Sequence[Tensor], padded: int) -> Levels:
    """Concatenate the levels of `videos`; `after` is what follows each level in videos padded to `padded` positions."""
    first = videos[0][0].values
    zero = first.new_zeros(1, first.shape[2])
    sizes = tuple(padded >> i for i in range(len(after)))
    parts, rows, points, level, empty, gaps = [zero], [], [], [], [0], [0]
    row = 1
    for video, levels in enumerate(videos):
        point = video * sum(sizes)
        for i, (values, length, _) in enumerate(levels):
            spare = sizes[i] > length
            parts += [values[0, :length], after[i][None] if spare else zero, zero]
            rows.append(torch.arange(row, row + length))
            points.append(torch.arange(point, point + length))
            level.append(torch.full((length,), i))
            empty += [row + length, row + length + 1]
            gaps += [row + length + 1] if spare else [row + length, row + length + 1]
            row, point = row + length + 2, point + sizes[i]
    fill = -row % ROUND
    parts.append(zero.expand(fill, -1))
    empty, gaps = ([*x, *range(row, row + fill)] for x in (empty, gaps))
    where = torch.cat(points).to(zero.device)
    mask = torch.zeros(len(videos) * sum(sizes), dtype=torch.bool, device=zero.device)
    mask[where] = True
    return Levels(
        torch.cat(parts),
        torch.cat(rows).to(zero.device),
        where,
        torch.cat(level).to(zero.device),
        torch.tensor(empty, device=zero.device),
        torch.tensor(gaps, device=zero.device),
        mask.view(len(videos), -1),
        sizes,
    )


def needed_rows(levels: Levels, rows: Int[Tensor, "m"], radius: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the rows at most `radius` from any of `rows`, where those are among them, and which are empty and gaps.

    Convolved one after another, rows next to a missing one become wrong, and so do their neighbors with every further
    convolution; `radius` convolutions leave `rows` as they are.
    """
    count, device = len(levels.values), rows.device
    needed = torch.zeros(count, dtype=torch.bool, device=device)
    needed[(rows[:, None] + torch.arange(-radius, radius + 1, device=device)).clamp(0, count - 1)] = True
    kind = torch.zeros(count, dtype=torch.int8, device=device)
    kind[levels.empty] = 1
    kind[levels.gaps] = 2
    found = needed.nonzero()[:, 0]
    found = torch.cat([found, levels.gaps[:1].expand(ROUND - len(found) % ROUND)])
    kind = kind[found]
    return found, (needed.cumsum(0) - 1)[rows], (kind > 0).nonzero()[:, 0], (kind == 2).nonzero()[:, 0]
