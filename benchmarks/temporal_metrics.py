"""Scores of localization and segmentation against the published way of counting them: tables and loops.

THUMOS14's size: 212 videos of 200 predictions, 3,358 true segments, 20 classes, five thresholds. Breakfast's: 1,712
videos, 3.6 million frames, 48 classes, three overlaps. The published evaluators' flow is written here from its
description, with plain dicts and lists where they have data frames, which are slower. Inputs are made before the
clock starts, arrays for ours and rows or names for the other, and both sides have to agree on every number. Both run
in one thread and what is counted is the processor's time, so that a busy machine does not change the ratio.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import re
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from plain.localization import Row, published_map
from plain.segmentation import published_segmentation
from vitascope.metrics import segmental, temporal_ap
from vitascope.metrics.temporal_ap import Segments

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
VIDEOS, TRUE, EACH, CLASSES = 212, 3_358, 200, 20
TIMELINES, ACTIONS = 1_712, 48
TARGETS = {"mAP": 20, "segmentation": 10}
"""Times faster."""

Numbers: TypeAlias = list[float]
Pair: TypeAlias = tuple[np.ndarray, np.ndarray]


def localized() -> tuple[Segments, Segments]:
    """Predictions around true segments, and the truth; a video has one or two classes, as there."""
    rng = np.random.default_rng(0)
    video = rng.integers(VIDEOS, size=TRUE)
    start, length = rng.uniform(0, 200, TRUE), rng.lognormal(1.2, 0.7, TRUE)
    label = np.where(rng.random(TRUE) < 0.9, video % CLASSES, (video + 1) % CLASSES)
    truth = Segments(video, start, start + length, label, np.ones(TRUE))
    own = [np.flatnonzero(video == v) for v in range(VIDEOS)]
    near = np.concatenate([rng.choice(rows, EACH) for rows in own])
    n = len(near)
    ends = [column[near] + 0.35 * length[near] * rng.normal(size=n) for column in (truth.start, truth.end)]
    guess = np.where(rng.random(n) < 0.6, truth.label[near], rng.integers(CLASSES, size=n))
    return Segments(truth.video[near], np.minimum(*ends), np.maximum(*ends) + 0.1, guess, rng.random(n)), truth


def timelines() -> list[Pair]:
    """Predicted and true labels of every frame: runs cut, shifted and sprinkled with mistakes."""
    rng = np.random.default_rng(0)
    pairs = []
    for frames in rng.lognormal(7.4, 0.75, TIMELINES).clip(130, 9_741).astype(int):
        runs = int(rng.integers(3, 12))
        cuts = np.sort(rng.choice(np.arange(1, frames), runs - 1, replace=False))
        truth = rng.integers(ACTIONS, size=runs)[np.searchsorted(cuts, np.arange(frames), side="right")]
        found = np.roll(truth, int(rng.integers(0, frames // 20)))
        for at in rng.integers(frames, size=rng.integers(0, 12)):
            found[at : at + int(rng.integers(1, 60))] = rng.integers(ACTIONS)
        pairs.append((found, truth))
    return pairs


# ------------------------------------------------------------------------------------------------ the published way


def listed(segments: Segments) -> list[Row]:
    """Rows with names, as they come out of the files."""
    columns = [column.tolist() for column in segments]
    return [(f"video_{v:07}", a, b, f"class_{c}", s) for v, a, b, c, s in zip(*columns, strict=True)]


# -------------------------------------------------------------------------------------------------------------- ours


def our_map(given: tuple[Segments, Segments]) -> Numbers:
    """From columns."""
    values: Numbers = temporal_ap.mean_ap(*given, LEVELS).tolist()
    return values


def our_segmentation(given: tuple[list[np.ndarray], list[np.ndarray]]) -> Numbers:
    """From the labels of every frame."""
    return list(segmental.scores(segmental.counts(*given, style="published")).values())


def made(name: str) -> object:
    """What a way is given, in its own form."""
    if name.endswith("mAP"):
        sides = localized()
        return sides if name.startswith("our") else tuple(map(listed, sides))
    pairs = timelines()
    if name.startswith("our"):
        return [p for p, _ in pairs], [y for _, y in pairs]
    names = [f"action_{i}" for i in range(ACTIONS)]
    return [tuple([names[i] for i in side.tolist()] for side in pair) for pair in pairs]


WAYS: dict[str, Callable[..., Numbers]] = {
    "our mAP": our_map,
    "published mAP": published_map,
    "our segmentation": our_segmentation,
    "published segmentation": published_segmentation,
}


class Run(NamedTuple):
    """One way in a fresh process; the faster of two runs."""

    seconds: float
    numbers: Numbers
    peak: float
    """MB the process held at most while it scored."""
    more: float
    """MB by which that is more than before: what scoring itself needs."""


def memory(what: str) -> float:
    """MB of this process by the system's account: `VmRSS` now, `VmHWM` at most."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def measured(name: str, answers: Queue[Run]) -> None:
    """What `run` runs."""
    given = made(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, times = memory("VmRSS"), []
    for _ in range(2):
        start = time.process_time()
        numbers = WAYS[name](given)
        times.append(time.process_time() - start)
    peak = memory("VmHWM")
    answers.put(Run(min(times), numbers, peak, peak - before))


def run(name: str) -> Run:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers: Queue[Run] = context.Queue()
    process = context.Process(target=measured, args=(name, answers))
    process.start()
    result = answers.get()
    process.join()
    return result


def main() -> None:
    """Compare both."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, target in TARGETS.items():
        before, slow, after = (run(f"{who} {name}") for who in ("our", "published", "our"))
        np.testing.assert_allclose(before.numbers, slow.numbers, rtol=1e-9)
        fast = min(before.seconds, after.seconds)
        print(f"{name}, load {os.getloadavg()[0]:.1f}: {', '.join(f'{n:.2f}' for n in before.numbers)}")
        print(f"  ours:      {1000 * before.seconds:8.1f} ms, again {1000 * after.seconds:.1f} ms")
        print(f"  published: {1000 * slow.seconds:8.1f} ms")
        print(f"  {slow.seconds / fast:.1f} times faster (target {target})")
        print(f"  peak {before.peak:.0f} MB against {slow.peak:.0f} MB: {before.peak / slow.peak:.2f} of it", end="; ")
        print(f"for scoring {before.more:.1f} MB against {slow.more:.1f} MB")


if __name__ == "__main__":
    main()
