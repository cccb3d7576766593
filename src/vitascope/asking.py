"""Asking: put probes to features, fold by fold and seed by seed; keep the predictions, score them, make Results."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

import vitascope
from vitascope import results
from vitascope.encode import PIPELINE, Options
from vitascope.features import Features, Relabelled, chained
from vitascope.probe import Predicted, Probe, alteration
from vitascope.results import Result, Score
from vitascope.sources import Source
from vitascope.split import few
from vitascope.stats import bootstrap, over_seeds
from vitascope.store import cache
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
    seeds: int = 1
    """Trainings of a head that draws, with seeds `seed`, `seed + 1` ...; the score is their mean."""
    grids: int = 0
    """Bytes of disk that token grids may take; beyond it they are encoded anew at every pass."""
    again: bool = False
    """Ask again what is already recorded."""
    low_shot: tuple[str, ...] = ()
    """Shares of the training side (`5%`, `8-shot`) with which every probe is asked again."""
    counterfactual: bool = False
    """Ask every probe again with its clips reversed, shuffled, frozen and slowed, in the test and in both."""
    limit: int = 0
    """At most so many examples, for a quick look; such a result is marked."""


def seeds_of(probe: AnyProbe, dataset: Dataset[int], setting: Setting) -> range:
    """The seeds to ask with: one where neither the probe nor the choice of examples draws anything."""
    draws = getattr(probe, "random", True) or dataset.few
    return range(setting.seed, setting.seed + (setting.seeds if draws else 1))


def protocol_of(dataset: Dataset[int], probe: AnyProbe, setting: Setting, options: str = "") -> str:
    """Digest of all that makes two numbers comparable: everything but the encoder.

    `options` are what a user set otherwise than the report does with an encoder; without any, the digest knows none.
    """
    seeds = [*seeds_of(probe, dataset, setting)]
    asked = [probe.name, probe.version, plain(probe), dataset.digest, PIPELINE, seeds, setting.limit]
    return digest([*asked, options] if options else asked)


def key_of_result(dataset: Dataset[int], card: Card, probe: AnyProbe, setting: Setting) -> tuple[str, str, str]:
    """The `Result.key` that asking would give."""
    protocol = protocol_of(dataset, probe, setting, card.options)
    return (card.name, f"{dataset.name}:{probe.name}", digest([protocol, card.behaviour]))


def origin_of(dataset: Dataset[int]) -> str:
    """Digest of where the videos lie and which are absent: another folder of that name must not pass for this one."""
    return digest([dataset.key, sorted(dataset.absent)])


@dataclass(frozen=True)
class Answers:
    """The predictions of one fold and one seed, and what they are held against."""

    fold: Fold
    number: int
    """Of the fold."""
    seed: int
    trained: Sequence[Example[int]]
    examples: Sequence[Example[int]]
    predictions: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.float64]
    scores: Mapping[str, float]
    failures: Mapping[str, str]
    about: Mapping[str, Any]
    """What the probe said of how the predictions came about."""


def ask(probes: Sequence[AnyProbe], source: Source, setting: Setting) -> list[Result]:
    """Put probes that differ in their test view only: they share one training. One Result each, in their order."""
    dataset = source.dataset
    started, encoded = time.monotonic(), dict(source.filled.seconds)
    answers: list[list[Answers]] = [[] for _ in probes]
    for seed in seeds_of(probes[0], dataset, setting):
        for number, fold in enumerate(dataset.folds):
            thin = few(dataset, fold, seed) if dataset.few else fold
            try:
                for mine, answer in zip(answers, _answers(probes, source, thin, setting, (number, seed)), strict=True):
                    mine.append(answer)
            finally:
                source.release()
    seconds = {**encoded, "probe": (time.monotonic() - started) / len(probes)}
    return [_result(p, a, source, setting, seconds) for p, a in zip(probes, answers, strict=True)]


def _answers(
    probes: Sequence[AnyProbe], source: Source, fold: Fold, setting: Setting, which: tuple[int, int]
) -> Iterator[Answers]:
    """One training, and the answers of every probe's test view."""
    number, seed = which
    train = source.features(probes[0].train, fold.train)
    tests = [source.features(view, fold.test) for view in dict.fromkeys(p.test for p in probes)]
    for side, found in (("training", train), *(("test", t) for t in tests)):
        if not found.examples:
            raise ValueError(
                f"{source.dataset.name}: not one {side} video of {fold.name} could be embedded; see the failures above"
            )
    scratch = setting.run / "training" / f"{_digest(probes, source, setting)}-{number}-{seed}"
    said = _predict(probes[0], source.dataset, train, tests, seed=seed, scratch=scratch)
    of_view = dict(zip(dict.fromkeys(p.test for p in probes), zip(tests, said, strict=True), strict=True))
    for probe in probes:
        test, (table, about) = of_view[probe.test]
        keep = [i for i, e in enumerate(test.examples) if e.id not in test.failures]
        if not keep:
            raise ValueError(f"{source.dataset.name}: not one test video of {fold.name} could be encoded")
        examples = [test.examples[i] for i in keep]
        predictions, truth = list(table[keep]), [e.truth for e in examples]
        yield Answers(
            fold=fold,
            number=number,
            seed=seed,
            trained=[e for e in train.examples if e.id not in train.failures],
            examples=examples,
            predictions=table[keep],
            outcomes=np.asarray(probe.outcomes(predictions, truth), np.float64),
            scores=dict(probe.score(predictions, truth)),
            failures={**train.failures, **test.failures},
            about=about,
        )


def _digest(probes: Sequence[AnyProbe], source: Source, setting: Setting) -> str:
    """Names what a training leaves on disk while it is under way."""
    return digest([[protocol_of(source.dataset, p, setting) for p in probes], source.card.behaviour])


Said = tuple[npt.NDArray[np.float32], Mapping[str, Any]]


def _predict(
    probe: AnyProbe,
    dataset: Dataset[int],
    train: Features[int],
    tests: Sequence[Features[int]],
    *,
    seed: int,
    scratch: Path,
) -> list[Said]:
    """Predictions for each of `tests` after one training; a product over factors where the classes are made of some."""
    test = chained(tests)
    resume = {"scratch": scratch} if getattr(probe, "resumes", False) else {}
    if not dataset.factors:
        said = probe.predict(train, test, seed=seed, **resume)
        table, about = np.asarray(said, np.float32), said.about if isinstance(said, Predicted) else {}
    else:
        table, about = np.ones((len(test.examples), 1), np.float32), {}
        for name, of, classes in zip(dataset.factor_names, dataset.factors, dataset.factor_classes, strict=True):
            apart = {k: s.with_name(f"{s.name}-{name}") for k, s in resume.items()}
            said = probe.predict(Relabelled(train, of, classes), Relabelled(test, of, classes), seed=seed, **apart)
            table = table * np.asarray(said, np.float32)[:, list(of)]
            about |= {name: said.about} if isinstance(said, Predicted) and said.about else {}
    bounds = np.cumsum([0, *(len(t.examples) for t in tests)])
    return [(table[a:b], about) for a, b in pairwise(bounds.tolist())]


def _result(
    probe: AnyProbe, answers: Sequence[Answers], source: Source, setting: Setting, seconds: Mapping[str, float]
) -> Result:
    dataset, card = source.dataset, source.card
    whole = _together(probe, answers)
    truth = np.array([e.truth for e in whole.examples])
    groups = [e.group for e in whole.examples]
    rng = np.random.default_rng(setting.seed)
    protocol = protocol_of(dataset, probe, setting, card.options)
    path = Path("predictions") / f"{protocol}-{digest(card.behaviour)}.parquet"
    results.write_predictions(setting.run / path, _columns(whole, dataset))
    headline = over_seeds(bootstrap(whole.outcomes, groups, rng=rng), whole.seeds)
    return Result(
        encoder=card.name,
        dataset=dataset.name,
        probe=probe.name,
        version=probe.version,
        scores={n: headline if i == 0 else Score(v) for i, (n, v) in enumerate(whole.scores.items())},
        per_class=_per_class(whole.outcomes, truth, groups, dataset.classes, rng=np.random.default_rng(setting.seed)),
        folds=tuple(a.scores for a in answers if a.seed == setting.seed),
        seeds=whole.seeds,
        about=tuple(whole.about),
        settings=_settings(probe, dataset, card),
        protocol=protocol,
        axis=dataset.axis,
        variant=variant_of(dataset, probe),
        seen=bool({dataset.name, dataset.family} & card.saw),
        limited=setting.limit > 0,
        n=len(whole.examples),
        expected=sum(len(fold.test) for fold in dataset.folds),
        missing=_missing(answers, {**dataset.absent, **source.filled.failures}),
        notes=source.filled.notes,
        seed=setting.seed,
        seconds=seconds,
        code=versions(setting.options.device),
        predictions=path.as_posix(),
    )


def variant_of(dataset: Dataset[int], probe: AnyProbe) -> dict[str, str]:
    """How a question differs from the plain one of which it is a variant; nothing where it is none.

    `few` is the share of the training side, `altered` what was done to the clips and on which `sides`, `of` the plain
    task.
    """
    plain_name, altered, sides = alteration(probe.name)
    found = {"few": dataset.few, "altered": altered, "sides": sides}
    told = {name: value for name, value in found.items() if value}
    return {**told, "of": f"{dataset.name.removesuffix(f'@{dataset.few}')}:{plain_name}"} if told else {}


def _settings(probe: AnyProbe, dataset: Dataset[int], card: Card) -> dict[str, Any]:
    return {
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
    }


class _Whole(NamedTuple):
    """The answers of all folds; over several seeds their means, example by example."""

    examples: list[Example[int]]
    folds: list[int]
    predictions: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.float64]
    scores: dict[str, float]
    seeds: tuple[float, ...]
    """The headline of each seed."""
    about: list[Mapping[str, Any]]


def _together(probe: AnyProbe, answers: Sequence[Answers]) -> _Whole:
    seeds = list(dict.fromkeys(a.seed for a in answers))
    of: dict[tuple[int, str], tuple[Example[int], list[Any], list[float]]] = {}
    for a in answers:
        for e, prediction, outcome in zip(a.examples, a.predictions, a.outcomes, strict=True):
            _, predictions, outcomes = of.setdefault((a.number, e.id), (e, [], []))
            predictions.append(prediction)
            outcomes.append(outcome)
    each = [_pooled(probe, [a for a in answers if a.seed == seed]) for seed in seeds]
    return _Whole(
        examples=[e for e, _, _ in of.values()],
        folds=[number for number, _ in of],
        predictions=np.stack([np.mean(p, axis=0, dtype=np.float32) for _, p, _ in of.values()]),
        outcomes=np.array([np.mean(o) for _, _, o in of.values()]),
        scores={name: float(np.mean([scores[name] for scores in each])) for name in each[0]},
        seeds=tuple(next(iter(scores.values())) for scores in each),
        about=[a.about for a in answers if a.about],
    )


def _pooled(probe: AnyProbe, answers: Sequence[Answers]) -> dict[str, float]:
    """Scores over the test examples of all folds of one seed."""
    predictions = np.concatenate([a.predictions for a in answers])
    return dict(probe.score(list(predictions), [e.truth for a in answers for e in a.examples]))


def _missing(answers: Sequence[Answers], reasons: Mapping[str, str]) -> dict[str, str]:
    """Who was to be trained or tested and could not, and why."""
    without: dict[str, str] = {}
    for a in answers:
        for asked, there in ((a.fold.train, a.trained), (a.fold.test, a.examples)):
            used = {e.id for e in there}
            why = {**reasons, **a.failures}
            without |= {i: why.get(i, "not in the store") for i in asked if i not in used}
    return without


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


def _columns(whole: _Whole, dataset: Dataset[int]) -> dict[str, list[Any]]:
    """Every prediction as columns; enough to score again, to pair and to show what was confused."""
    best = np.argsort(-whole.predictions, axis=1, kind="stable")[:, :TOP]
    examples = whole.examples
    return {
        "id": [e.id for e in examples],
        "fold": whole.folds,
        "group": [e.group or "" for e in examples],
        "truth": [e.truth for e in examples],
        "label": [dataset.classes[e.truth] for e in examples],
        "top": best.tolist(),
        "score": np.take_along_axis(whole.predictions, best, axis=1).tolist(),
        "outcome": whole.outcomes.tolist(),
    }


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
