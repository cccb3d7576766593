"""Segmentation scores as MS-TCN's script counts them, frame by frame; TRUTH and FOUND are folders of label files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np

OVERLAPS = (0.10, 0.25, 0.50)
Numbers: TypeAlias = list[float]


def runs(labels: list[str]) -> tuple[list[str], list[int], list[int]]:
    """Names, starts and ends of the segments; the last ends one frame early."""
    names, starts, ends, last = [labels[0]], [0], [], labels[0]
    for i in range(len(labels)):
        if labels[i] != last:
            names.append(labels[i])
            starts.append(i)
            ends.append(i)
            last = labels[i]
    ends.append(len(labels) - 1)
    return names, starts, ends


def edit(found: list[str], true: list[str]) -> float:
    """Edit score of one video."""
    a, b = runs(found)[0], runs(true)[0]
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for j in range(1, len(b) + 1):
        for i in range(1, len(a) + 1):
            if a[i - 1] == b[j - 1]:
                table[i, j] = table[i - 1, j - 1]
            else:
                table[i, j] = min(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1]) + 1
    return float((1 - table[-1, -1] / max(len(a), len(b))) * 100)


def hits(found: list[str], true: list[str], level: float) -> tuple[int, int, int]:
    """True positives, false positives and misses of one video."""
    (names, starts, ends), (real, begins, stops) = runs(found), runs(true)
    hit, right, wrong = np.zeros(len(real)), 0, 0
    for j in range(len(names)):
        shared = np.minimum(ends[j], stops) - np.maximum(starts[j], begins)
        either = np.maximum(ends[j], stops) - np.minimum(starts[j], begins)
        with np.errstate(invalid="ignore"):  # a segment without length, and itself
            overlap = (1.0 * shared / either) * np.array([names[j] == name for name in real])
        best = int(overlap.argmax())
        if overlap[best] >= level and not hit[best]:
            right += 1
            hit[best] = 1
        else:
            wrong += 1
    return right, wrong, int(len(real) - hit.sum())


def published_segmentation(given: list[tuple[list[str], list[str]]]) -> Numbers:
    """Accuracy, edit, F1 at each overlap and their mean: frame by frame, and every video anew for every number."""
    correct, frames, edits = 0, 0, 0.0
    counts = np.zeros((len(OVERLAPS), 3))
    for found, true in given:
        for i in range(len(true)):
            frames += 1
            if found[i] == true[i]:
                correct += 1
        edits += edit(found, true)
        for k, level in enumerate(OVERLAPS):
            counts[k] += hits(found, true, level)
    precision, recall = (counts[:, 0] / (counts[:, 0] + counts[:, other]) for other in (1, 2))
    f1 = 2 * precision * recall / (precision + recall) * 100
    return [100 * correct / frames, edits / len(given), *f1.tolist(), float(f1.mean())]


def main(truth: str, found: str) -> None:
    """Print accuracy, edit score, F1 at each overlap and their mean, in percent."""
    files = sorted(Path(truth).glob("*.txt"))
    print(published_segmentation([((Path(found) / f.name).read_text().split(), f.read_text().split()) for f in files]))


if __name__ == "__main__":
    main(*sys.argv[1:])
