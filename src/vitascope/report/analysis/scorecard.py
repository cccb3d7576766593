"""Scorecard: one encoder against the encoders of its size, task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log
from typing import NamedTuple

from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.published import Paper, PublishedScore, Spoke, scores
from vitascope.report.analysis.published_comparison import of_kind
from vitascope.report.analysis.result_settings import params_of

FEWEST = 3
"""Number of tasks from which a scorecard has a shape."""
MOST = 16
"""Number of tasks up to which their names find room."""
SCALE = 2.0
"""Ratio of the numbers of parameters within which encoders are of one scale: ViT-L's 304 M, not ViT-H's 632 M."""
NEAREST = 3
"""Competitors without any of the same scale: so many of the nearest size."""


class Value(NamedTuple):
    """A score as it is shown."""

    score: Score
    text: str
    dagger: bool = False


class Contender(NamedTuple):
    """An encoder with its scores by task."""

    row: int
    name: str
    params: int
    """Number of parameters; 0 if unknown."""
    values: Mapping[str, Value]
    here: bool = False
    """Whether it was evaluated here, among published ones."""


def same_scale(front: Contender, others: Sequence[Contender]) -> list[Contender]:
    """The encoders within `SCALE` of the size of `front`; if there are none, the nearest; of unknown size, all."""
    if not front.params:
        return list(others)
    distance = {one.row: abs(log(one.params / front.params)) for one in others if one.params}
    near = [one for one in others if one.row in distance and distance[one.row] <= log(SCALE)]
    return near or sorted((one for one in others if one.row in distance), key=lambda o: distance[o.row])[:NEAREST]


def leader(contenders: Sequence[Contender]) -> Contender:
    """The encoder of most tasks and, of these, of the highest mean share of the best score."""
    names = dict.fromkeys(name for one in contenders for name in one.values)
    best = {name: max(c.values[name].score.value for c in contenders if name in c.values) or 1.0 for name in names}

    def rank(one: Contender) -> tuple[int, float]:
        shares = [value.score.value / best[name] for name, value in one.values.items()]
        return len(shares), sum(shares) / max(len(shares), 1)

    return max(contenders, key=rank)


def of_board(board: Leaderboard) -> tuple[dict[str, Column], list[Contender]]:
    """The tasks of a run by name, of its most frequent probe if there are enough, and its encoders on them."""
    main = board.main()
    probe = next(iter(Counter(c.first.probe for c in main).most_common(1)), ("", 0))[0]
    own = [c for c in main if c.first.probe == probe]
    chosen = own if len(own) >= FEWEST else main if FEWEST <= len(main) <= MOST else []
    titles = board.titles()
    labels = _short([c.first.dataset if chosen is own else titles[c.task] for c in chosen])
    names = dict(zip(labels, chosen[:MOST], strict=False))
    rows = []
    for row in board.rows:
        values = {name: _own(c.cells[row.index]) for name, c in names.items() if row.index in c.cells}
        if values:
            rows.append(Contender(row.index, row.label, _params(row.card), values))
    return names, rows


def _short(names: Sequence[str]) -> list[str]:
    """Names without the dataset that all are variants of."""
    families = {name.partition("/")[0] for name in names}
    same = len(families) == 1 and all("/" in name for name in names)
    return [name.partition("/")[2] if same else name for name in names]


def _params(card: Mapping[str, object]) -> int:
    size = card.get("params")
    return size if isinstance(size, int) else 0


def _own(result: Result, score: str = "") -> Value:
    value = result.scores[score] if score else result.headline
    return Value(value, f"{value.value:.1f}", result.in_pretraining_data)


def of_paper(paper: Paper, recorded: Sequence[Result] = ()) -> tuple[list[str], list[Contender]]:
    """The tasks of a paper's scorecard, and its encoders on them, then those of one's own results."""
    axes = paper.scorecard.axes if paper.scorecard else ()
    every = [one for one in scores(paper) if not one.of]
    found: dict[str, dict[str, Value]] = {}
    models: dict[str, str] = {}
    for axis in axes:
        for one in every:
            if on_axis(one, axis):
                found.setdefault(plain_name(one.encoder), {})[axis.label] = Value(
                    Score(one.value), one.text, one.dagger
                )
                models.setdefault(plain_name(one.encoder), one.model)
    rows = [Contender(i, name, params_of(models[name]), of) for i, (name, of) in enumerate(found.items())]
    for name in dict.fromkeys(result.encoder for result in recorded):
        own = [result for result in recorded if result.encoder == name]
        values = {axis.label: value for axis in axes if (value := _on(axis, every, own))}
        if values:
            rows.append(Contender(len(rows), name, params_of(name), values, here=True))
    return [axis.label for axis in axes], rows


def plain_name(encoder: str) -> str:
    """The name of an encoder without the star of numbers taken from elsewhere, and without the stage of stage 2."""
    return encoder.replace("*", "")


def on_axis(one: PublishedScore, axis: Spoke) -> bool:
    """Whether a published number is on an axis; of several columns that differ by settings, the first one's."""
    return (one.table, one.score) == (axis.table, axis.score) and axis.dataset in one.datasets and not _later(one)


def _later(one: PublishedScore) -> bool:
    return "external" in one.probe


def _on(axis: Spoke, every: Sequence[PublishedScore], own: Sequence[Result]) -> Value | None:
    """One's own score on an axis, by the paper's probe if there is one, else by any of its kind."""
    like = next(one for one in every if on_axis(one, axis))
    same = [r for r in own if of_kind(r, like) and axis.score in r.scores and not r.variant and not r.limited]
    same.sort(key=lambda r: r.probe != like.probe)
    return _own(same[0], axis.score) if same else None
