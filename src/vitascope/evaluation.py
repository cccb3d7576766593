"""Evaluate: gather the views, fill the store, predict, keep the predictions, score, record."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import vitascope
from vitascope import catalogue, published, results
from vitascope.datasets import folder
from vitascope.encode import PIPELINE, Filled, Options, fill, key_of
from vitascope.encoder import Encoder, load
from vitascope.features import Stored
from vitascope.probe import Probe, View
from vitascope.results import Result, Score
from vitascope.split import limited
from vitascope.stats import bootstrap
from vitascope.store import Store, cache
from vitascope.types import Card, Dataset, Example, Fold, digest, plain

TOP = 20
"""Classes of every prediction that are kept."""
AnyProbe = Probe[int, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What an evaluation is asked to do, beside the dataset, the encoders and the probes."""

    run: Path
    """Folder that gets the results and the predictions."""
    store: Path = field(default_factory=cache)
    """Folder that holds the embeddings; published embeddings bring their own."""
    options: Options = field(default_factory=Options)
    seed: int = 0
    again: bool = False
    """Ask again what is already recorded."""
    limit: int = 0
    """At most so many examples, for a quick look; such a result is marked."""


def open_dataset(data: str | Path) -> Dataset[int]:
    """A folder of videos, a folder of published embeddings, or a dataset by name."""
    path = Path(data)
    if (path / published.DATASET).is_file():
        return published.open_published(path)
    named = str(data).partition("/")[0] in catalogue.families("datasets")
    if path.exists() or not named:
        return folder.build(str(data))
    dataset: Dataset[int] = catalogue.build("datasets", str(data))
    return dataset


def evaluate(
    data: str | Path | Dataset[int],
    encoders: Sequence[str | Encoder | Card],
    probes: Sequence[str | AnyProbe],
    *,
    output: str | Path | None = None,
    setting: Setting | None = None,
) -> list[Result]:
    """Every probe put to every encoder on `data`; one Result each, recorded in the run folder as soon as it is known.

    All names are resolved before any work starts. A Card stands for an encoder whose vectors are already in the store;
    published embeddings need no encoder named. What the run folder already holds under the same protocol is returned,
    not computed. Raises ValueError where a name or the data is wrong.
    """
    setting = setting or Setting(run=Path(output or "runs/latest"))
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    if dataset.cards:
        setting = replace(setting, store=Path(dataset.store))
        encoders = _published(dataset, encoders)
    if setting.limit:
        dataset = limited(dataset, setting.limit)
    asked: list[AnyProbe] = [catalogue.build("probes", p) if isinstance(p, str) else p for p in probes]
    shown: list[Encoder | Card] = [load(e, setting.options.device) if isinstance(e, str) else e for e in encoders]
    recorded = _recorded(setting.run, origin_of(dataset))
    found: list[Result] = []
    if not shown:
        raise ValueError("nothing to do: name at least one encoder with -m, for instance -m vit/tiny-random")
    for encoder in shown:
        found += _one_encoder(dataset, encoder, asked, recorded, setting)
    return found


def _published(dataset: Dataset[int], asked: Sequence[str | Encoder | Card]) -> Sequence[Card]:
    """Of the encoders whose vectors the dataset brings those asked for, all where none is; ValueError for others."""
    names = {e if isinstance(e, str) else e.name if isinstance(e, Card) else e.card.name for e in asked}
    made = [card.name for card in dataset.cards]
    for name in names - set(made):
        raise ValueError(
            f"{dataset.name} holds published embeddings by {', '.join(made)}, none by {name}; leave it out"
        )
    return [card for card in dataset.cards if not names or card.name in names]


def _recorded(run: Path, origin: str) -> dict[tuple[str, str, str], Result]:
    """What the run folder holds about videos of this origin, by `Result.key`."""
    there = results.read(run) if (run / results.RESULTS).is_file() else []
    return {r.key: r for r in there if r.settings.get("dataset", {}).get("origin") == origin}


def origin_of(dataset: Dataset[int]) -> str:
    """Digest of where the videos lie and which are absent: another folder of that name must not pass for this one."""
    return digest([dataset.key, sorted(dataset.absent)])


def _one_encoder(
    dataset: Dataset[int],
    encoder: Encoder | Card,
    probes: Sequence[AnyProbe],
    recorded: Mapping[tuple[str, str, str], Result],
    setting: Setting,
) -> list[Result]:
    card = encoder if isinstance(encoder, Card) else encoder.card
    known = {p.name: recorded.get(key_of_result(dataset, card, p, setting)) for p in probes}
    new = [p for p in probes if setting.again or _open(known[p.name], setting.options)]
    filled = _fill(encoder, dataset, new, setting) if new and not isinstance(encoder, Card) else Filled()
    found: list[Result] = []
    for probe in probes:
        result = known[probe.name]
        if result is None or probe in new:
            result = ask(probe, dataset, card, filled=filled, setting=setting)
            results.append(setting.run, result)
        found.append(result)
    return found


def _open(result: Result | None, options: Options) -> bool:
    """Whether there is something to do: no result yet, or one without videos that are to be tried again."""
    return result is None or (options.retry and bool(result.missing))


def _fill(encoder: Encoder, dataset: Dataset[int], probes: Sequence[AnyProbe], setting: Setting) -> Filled:
    views = list(dict.fromkeys(v for p in probes for v in (p.train, p.test)))
    return fill(encoder, dataset, views, root=setting.store, options=setting.options)


def protocol_of(dataset: Dataset[int], probe: AnyProbe, setting: Setting, options: str = "") -> str:
    """Digest of all that makes two numbers comparable: everything but the encoder.

    `options` are what a user set otherwise than the report does with an encoder; without any, the digest knows none.
    """
    asked = [probe.name, probe.version, plain(probe), dataset.digest, PIPELINE, setting.seed, setting.limit]
    return digest([*asked, options] if options else asked)


def key_of_result(dataset: Dataset[int], card: Card, probe: AnyProbe, setting: Setting) -> tuple[str, str, str]:
    """The `Result.key` that asking would give."""
    protocol = protocol_of(dataset, probe, setting, card.options)
    return (card.name, f"{dataset.name}:{probe.name}", digest([protocol, card.behaviour]))


@dataclass(frozen=True)
class Answers:
    """The predictions of one fold and what they are held against."""

    fold: Fold
    trained: Sequence[Example[int]]
    examples: Sequence[Example[int]]
    predictions: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.float64]
    scores: Mapping[str, float]


def ask(probe: AnyProbe, dataset: Dataset[int], card: Card, *, filled: Filled, setting: Setting) -> Result:
    """Put one probe to stored vectors, fold by fold; keep the predictions and make the Result."""
    started = time.monotonic()
    answers = [_answer(probe, dataset, card, fold, setting) for fold in dataset.folds]
    examples = [e for a in answers for e in a.examples]
    outcomes = np.concatenate([a.outcomes for a in answers])
    truth = np.array([e.truth for e in examples])
    groups = [e.group for e in examples]
    scores = probe.score(list(np.concatenate([a.predictions for a in answers])), truth.tolist())
    protocol = protocol_of(dataset, probe, setting, card.options)
    path = Path("predictions") / f"{protocol}-{digest(card.behaviour)}.parquet"
    results.write_predictions(setting.run / path, _columns(answers, dataset))
    return Result(
        encoder=card.name,
        dataset=dataset.name,
        probe=probe.name,
        version=probe.version,
        scores=_with_interval(scores, outcomes, groups, setting.seed),
        per_class=_per_class(outcomes, truth, groups, dataset.classes, rng=np.random.default_rng(setting.seed)),
        folds=tuple(a.scores for a in answers),
        settings={
            "probe": plain(probe),
            "card": card.behaviour,
            "model": card.knowledge,
            **({"options": card.options} if card.options else {}),
            "dataset": {
                "name": dataset.name,
                "digest": dataset.digest,
                "examples": len(dataset.examples),
                "origin": origin_of(dataset),
            },
            "classes": list(dataset.classes),
            "pipeline": PIPELINE,
        },
        protocol=protocol,
        axis=dataset.axis,
        seen=bool({dataset.name, dataset.name.partition("/")[0]} & card.saw),
        limited=setting.limit > 0,
        n=len(examples),
        expected=sum(len(fold.test) for fold in dataset.folds),
        missing=_missing(answers, {**dataset.absent, **filled.failures}),
        notes=filled.notes,
        seed=setting.seed,
        seconds={**filled.seconds, "probe": time.monotonic() - started},
        code=versions(setting.options.device),
        predictions=path.as_posix(),
    )


def _answer(probe: AnyProbe, dataset: Dataset[int], card: Card, fold: Fold, setting: Setting) -> Answers:
    train = features(dataset, card, probe.train, ids=fold.train, root=setting.store)
    test = features(dataset, card, probe.test, ids=fold.test, root=setting.store)
    for side, found in (("training", train), ("test", test)):
        if not found.examples:
            raise ValueError(
                f"{dataset.name}: not one {side} video of {fold.name} could be embedded; see the failures above"
            )
    predictions = np.asarray(probe.predict(train, test, seed=setting.seed), np.float32)
    truth = [e.truth for e in test.examples]
    outcomes = np.asarray(probe.outcomes(list(predictions), truth), np.float64)
    return Answers(
        fold, train.examples, test.examples, predictions, outcomes, dict(probe.score(list(predictions), truth))
    )


def features(dataset: Dataset[int], card: Card, view: View, *, ids: Sequence[str], root: Path) -> Stored:
    """The stored vectors of those of `ids` that have some, in order, as a probe reads them."""
    if dataset.cards:
        store = Store(root, published.key_of(dataset, published.stands_for(view.sampler)))
    else:
        store = Store(root, key_of(dataset, card, view))
    vectors = store.read(ids)
    counts = np.diff(vectors.first)
    by_id = dataset.by_id()
    examples = [by_id[i] for i, count in zip(ids, counts, strict=True) if count]
    first = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    return Stored(examples, dataset.classes, torch.from_numpy(vectors.values).float(), torch.from_numpy(first))


def _missing(answers: Sequence[Answers], reasons: Mapping[str, str]) -> dict[str, str]:
    """Who was to be trained or tested and could not, and why."""
    without: dict[str, str] = {}
    for a in answers:
        for asked, there in ((a.fold.train, a.trained), (a.fold.test, a.examples)):
            used = {e.id for e in there}
            without |= {i: reasons.get(i, "not in the store") for i in asked if i not in used}
    return without


def _with_interval(
    scores: Mapping[str, float], outcomes: npt.NDArray[np.float64], groups: Sequence[str | None], seed: int
) -> dict[str, Score]:
    headline = next(iter(scores))
    drawn = bootstrap(outcomes, groups, rng=np.random.default_rng(seed))
    return {name: drawn if name == headline else Score(value) for name, value in scores.items()}


def _per_class(
    outcomes: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    groups: Sequence[str | None],
    classes: Sequence[str],
    *,
    rng: np.random.Generator,
) -> dict[str, Score]:
    of = {int(c): np.flatnonzero(truth == c) for c in np.unique(truth)}
    return {classes[c]: bootstrap(outcomes[at], [groups[i] for i in at.tolist()], rng=rng) for c, at in of.items()}


def _columns(answers: Sequence[Answers], dataset: Dataset[int]) -> dict[str, list[Any]]:
    """Every prediction as columns; enough to score again, to pair and to show what was confused."""
    rows: list[dict[str, Any]] = []
    for number, a in enumerate(answers):
        best = np.argsort(-a.predictions, axis=1, kind="stable")[:, :TOP]
        scores = np.take_along_axis(a.predictions, best, axis=1)
        for e, top, score, outcome in zip(a.examples, best.tolist(), scores.tolist(), a.outcomes.tolist(), strict=True):
            row = {
                "id": e.id,
                "fold": number,
                "group": e.group or "",
                "truth": e.truth,
                "label": dataset.classes[e.truth],
            }
            rows.append({**row, "top": top, "score": score, "outcome": outcome})
    return {name: [row[name] for row in rows] for name in rows[0]}


def versions(device: str) -> dict[str, str]:
    """What computed a number."""
    return {
        "vitascope": vitascope.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
    }
