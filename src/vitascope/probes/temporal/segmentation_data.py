"""Videos as a segmenter reads them: a vector and a label for every frame, the vectors from between clips in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Timeline
from vitascope.features.base import Features, spans_of
from vitascope.features.sequences import Dense, dense

Align: TypeAlias = Literal["time", "stretch"]
"""`time`: a frame's vector lies between the clips before and after it, by the seconds of their middles. `stretch`: all
clips are stretched over all frames, whatever their times, as published: up to half a clip off at both ends."""
SHORT, LONG = 0.05, 0.5
"""Of the labeled time: how much of its end may be without clips, and how far clips may go on behind it."""


class Frames(NamedTuple):
    """A video as a segmenter reads it."""

    values: Float[Tensor, "t d"]
    labels: Int[Tensor, "t"]


def frames(features: Features[Timeline], order: Sequence[int], *, every: int, align: Align) -> Iterator[Frames]:
    """The examples of these numbers, one by one, at each frame that is a multiple of `every`.

    ValueError: fewer than two such frames, a label that there is not, clips that do not cover the labels or go on far
    behind them; and what `dense` refuses.
    """
    for i, found in zip(order, dense(features, order), strict=True):
        example = features.examples[i]
        labels, fps = example.truth.labels, example.truth.fps
        kept = labels[::every]
        outside = (kept < 0) | (kept >= len(features.classes))
        if outside.any():
            raise UserError(
                f"{example.id}: label {kept[outside][0]} at frame {int(outside.argmax()) * every}: there are "
                f"{len(features.classes)} classes, 0 to {len(features.classes) - 1}; correct the labels or add the "
                "classes"
            )
        if len(kept) < 2:
            raise UserError(
                f"{example.id}: {len(labels)} labeled frames, of which {len(kept)} counts; at least two are needed, "
                "so leave it out"
            )
        if align == "time":
            _check(example.id, found, len(labels), fps)
            places = timed(found.spans, len(labels), fps)
        else:
            places = stretched(len(found.values), len(labels))
        values = between(found.values, places[::every])
        yield Frames(values, torch.from_numpy(kept).to(values.device))


def timed(spans: Float64[np.ndarray, "n 2"], count: int, fps: float) -> Float64[np.ndarray, "t"]:
    """Where each of `count` frames lies among clips, as a fraction of their rows, by the middles of both in seconds.

    Before the first and behind the last clip it is that clip.
    """
    places: Float64[np.ndarray, "t"] = np.interp((np.arange(count) + 0.5) / fps, spans.mean(1), np.arange(len(spans)))
    return places


def stretched(rows: int, count: int) -> Float64[np.ndarray, "t"]:
    """The same where rows and frames are cells that fill the same length."""
    return ((np.arange(count) + 0.5) * rows / count - 0.5).clip(0.0, rows - 1.0)


def between(values: Float[Tensor, "n d"], places: Float64[np.ndarray, "t"]) -> Float[Tensor, "t d"]:
    """Rows at fractional places, linear from one row to the next."""
    low = torch.from_numpy(np.floor(places).astype(np.int64)).to(values.device)
    share = torch.from_numpy(places - np.floor(places)).to(values)[:, None]
    return torch.lerp(values[low], values[(low + 1).clamp(max=len(values) - 1)], share)


def repeated(labels: Int[Tensor, "t"], every: int, count: int) -> Int64[np.ndarray, "_"]:
    """The labels of all `count` frames, each said for `every`."""
    return np.repeat(labels.cpu().numpy().astype(np.int64), every)[:count]


def readable(features: Features[Timeline]) -> list[int]:
    """The examples that could be encoded; ValueError where one of them has no vectors."""
    there = [i for i, e in enumerate(features.examples) if e.id not in features.failures]
    each = spans_of(features)
    bare = [features.examples[i].id for i in there if len(each) and not len(each[i])]
    if bare:
        raise UserError(
            f"no vector for {len(bare)} of {len(features.examples)} videos ({', '.join(bare[:3])}"
            f"{', ...' if len(bare) > 3 else ''}); embed them or leave them out of the split"
        )
    return there


def _check(name: str, found: Dense, count: int, fps: float) -> None:
    """ValueError where labels and clips cannot be of the same stretch of video."""
    labeled, end, clip = count / fps, float(found.spans[-1, 1]), float(np.diff(found.spans[-1])[0])
    if labeled - end > max(SHORT * labeled, 2 * clip) or end - labeled > max(LONG * labeled, 2 * clip):
        raise UserError(
            f"{name}: {count} labeled frames at {fps:g} a second last {labeled:.1f} s, its {len(found.values)} clips "
            f"end at {end:.1f} s; embed the whole video, or correct the frames per second of the labels"
        )
