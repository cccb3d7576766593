"""Whether MotionLab orders encoders as sets of real videos do: rank agreement over the encoders that have both scores.

    vitascope evaluate motionlab2/motion-medium -m tiny/twlv1 -m pixels/motion-energy ... -t knn -t linear -o RUN
    vitascope evaluate FOLDER_OF_REAL_VIDEOS -m tiny/twlv1 -m pixels/motion-energy ... -t knn -t linear -o RUN
    python benchmarks/external_validity.py RUN [RUN ...]

Prints a Markdown table: for every probe and suite of MotionLab, and for every real set and the mean of their ranks,
Kendall's tau-b and Spearman's rho with the number of encoders. The interval of tau is of a bootstrap over encoders:
how far agreement depends on which encoders happen to be at hand.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, rankdata, spearmanr

from vitascope.evaluation.results import read

Scores = dict[str, float]
"""Top-1 accuracy by encoder."""
OWN = "motionlab"
RESAMPLES = 2000
LEAST = 4
"""Encoders for which an agreement is stated."""


def scores(runs: Sequence[Path]) -> dict[tuple[str, str], Scores]:
    """Of every probe and data set, the scores of the encoders in all runs."""
    found: dict[tuple[str, str], Scores] = defaultdict(dict)
    for run in runs:
        for result in read(run):
            if "top-1" in result.scores:
                found[result.probe, result.dataset][result.encoder] = result.scores["top-1"].value
    return dict(found)


def mean_rank(sets: Sequence[Scores]) -> Scores:
    """The mean rank, high for good, of the encoders that have a score on all sets."""
    common = sorted(set.intersection(*(set(s) for s in sets)))
    ranks = np.mean([rankdata([s[encoder] for encoder in common]) for s in sets], axis=0)
    return dict(zip(common, ranks.tolist(), strict=True))


def agreement(one: Scores, other: Scores, rng: np.random.Generator) -> str:
    """Tau with its interval, rho and the number of encoders, in words."""
    common = sorted({*one} & {*other})
    if len(common) < LEAST:
        return f"n = {len(common)}"
    a, b = (np.array([s[encoder] for encoder in common]) for s in (one, other))
    signs = [np.sign(v[:, None] - v[None]) for v in (a, b)]
    drawn = rng.integers(len(common), size=(RESAMPLES, len(common)))
    one_way, other_way = (s[drawn[:, :, None], drawn[:, None]] for s in signs)
    ties = np.sqrt((one_way**2).sum((1, 2)) * (other_way**2).sum((1, 2)))
    taus = ((one_way * other_way).sum((1, 2)) / np.where(ties, ties, np.nan))[ties > 0]
    low, high = np.percentile(taus, (2.5, 97.5))
    tau, rho = kendalltau(a, b)[0], spearmanr(a, b)[0]
    return f"{tau:+.2f} [{low:+.2f}, {high:+.2f}], {rho:+.2f}, n = {len(common)}"


def rows(found: Mapping[tuple[str, str], Scores]) -> Iterator[list[str]]:
    """The lines of the table, the header first."""
    real = sorted({name for _, name in found if not name.startswith(OWN)})
    yield ["probe", "suite", *real, "mean rank of these"]
    rng = np.random.default_rng(0)
    suites = sorted({name for _, name in found if name.startswith(OWN)})
    for probe, suite in product(sorted({p for p, _ in found}), suites):
        sets = [found[probe, name] for name in real if (probe, name) in found]
        if (probe, suite) in found and sets:
            cells = [agreement(found[probe, suite], s, rng) for s in (*sets, mean_rank(sets))]
            yield [probe, suite, *cells]


def main() -> None:
    """Read the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of results")
    header, *lines = rows(scores(parser.parse_args().runs))
    for cells in (header, ["---"] * len(header), *lines):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
