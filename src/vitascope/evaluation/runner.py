"""Asking: put probes to features, fold by fold and seed by seed; keep the predictions, score them, make Results."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.core.types import Card, Dataset, Example, Fold, digest, plain
from vitascope.core.version import __version__
from vitascope.datasets.splits import few
from vitascope.evaluation import results
from vitascope.evaluation.results import Result
from vitascope.evaluation.scoring import FoldPredictions, judged, known
from vitascope.features.base import Features, RelabeledFeatures, chained
from vitascope.features.extract import PIPELINE, ExtractionOptions
from vitascope.features.source import FeatureSource
from vitascope.probes.base import AnyProbe, PredictionList
from vitascope.probes.counterfactual import alteration


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What an evaluation is asked to do, beside the dataset, the encoders and the probes."""

    run: Path
    """Folder that gets the results and the predictions."""
    store: Path = field(default_factory=cache)
    """Folder that holds the embeddings; published embeddings bring their own."""
    options: ExtractionOptions = field(default_factory=ExtractionOptions)
    seed: int = 0
    seeds: int = 1
    """Trainings of a head that draws, with seeds `seed`, `seed + 1` ...; the score is their mean."""
    grids: int = 0
    """Bytes of disk that token grids may take; beyond it they are encoded anew at every pass."""
    overwrite: bool = False
    """Ask again what is already recorded."""
    low_shot: tuple[str, ...] = ()
    """Shares of the training side (`5%`, `8-shot`) with which every probe is asked again."""
    counterfactual: bool = False
    """Ask every probe again with its clips reversed, shuffled, frozen and slowed, in the test and in both."""
    limit: int = 0
    """At most so many examples, for a quick look; such a result is marked."""


def seeds_of(probe: AnyProbe, dataset: Dataset[Any], setting: EvaluationConfig) -> range:
    """The seeds to ask with: one where neither the probe nor the choice of examples draws anything."""
    draws = getattr(probe, "random", True) or dataset.train_fraction
    return range(setting.seed, setting.seed + (setting.seeds if draws else 1))


def protocol_of(dataset: Dataset[Any], probe: AnyProbe, setting: EvaluationConfig, options: str = "") -> str:
    """Digest of all that makes two numbers comparable: everything but the encoder.

    `options` are what a user set otherwise than the report does with an encoder; without any, the digest knows none.
    """
    seeds = [*seeds_of(probe, dataset, setting)]
    asked = [probe.name, probe.version, plain(probe), dataset.digest, PIPELINE, seeds, setting.limit]
    return digest([*asked, options] if options else asked)


def key_of_result(
    dataset: Dataset[Any], card: Card, probe: AnyProbe, setting: EvaluationConfig
) -> tuple[str, str, str]:
    """The `Result.key` that asking would give."""
    protocol = protocol_of(dataset, probe, setting, card.options)
    return (card.name, f"{dataset.name}:{probe.name}", digest([protocol, card.behavior]))


def origin_of(dataset: Dataset[Any]) -> str:
    """Digest of where the videos lie and which are absent: another folder of that name must not pass for this one."""
    return digest([dataset.key, sorted(dataset.missing_files)])


def ask(probes: Sequence[AnyProbe], source: FeatureSource, setting: EvaluationConfig) -> list[Result]:
    """Put probes that differ in their test view only: they share one training. One Result each, in their order."""
    dataset = source.dataset
    started, encoded = time.monotonic(), dict(source.filled.seconds)
    answers: list[list[FoldPredictions]] = [[] for _ in probes]
    for seed in seeds_of(probes[0], dataset, setting):
        for number, fold in enumerate(dataset.folds):
            thin = few(dataset, fold, seed) if dataset.train_fraction else fold
            try:
                for mine, answer in zip(answers, _answers(probes, source, thin, setting, (number, seed)), strict=True):
                    mine.append(answer)
            finally:
                source.release()
    seconds = {**encoded, "probe": (time.monotonic() - started) / len(probes)}
    return [_result(p, a, source, setting, seconds) for p, a in zip(probes, answers, strict=True)]


def _answers(
    probes: Sequence[AnyProbe], source: FeatureSource, fold: Fold, setting: EvaluationConfig, which: tuple[int, int]
) -> Iterator[FoldPredictions]:
    """One training, and the answers of every probe's test view."""
    number, seed = which
    train = source.features(probes[0].train, fold.train)
    tests = [source.features(view, fold.test) for view in dict.fromkeys(p.test for p in probes)]
    for side, found in (("training", train), *(("test", t) for t in tests)):
        if not found.examples:
            raise UserError(
                f"{source.dataset.name}: not one {side} video of {fold.name} could be embedded; see the failures above"
            )
    scratch = setting.run / "training" / f"{_digest(probes, source, setting)}-{number}-{seed}"
    line = "" if setting.options.quiet else _line(probes[0], source, fold, seed)
    said = _predict(probes[0], source.dataset, train, tests, seed=seed, scratch=scratch, line=line)
    of_view = dict(zip(dict.fromkeys(p.test for p in probes), zip(tests, said, strict=True), strict=True))
    for probe in probes:
        test, (predictions, about) = of_view[probe.test]
        examples, kept = _scored(probe, source.dataset, fold, test, predictions)
        trained = {e.id for e in train.examples if e.id not in train.failures}
        tested = {e.id for e in test.examples if e.id not in test.failures}
        yield FoldPredictions(
            number=number,
            seed=seed,
            examples=examples,
            predictions=kept,
            scores=dict(probe.score(kept, [e.truth for e in examples])),
            lacking=[
                i for asked, there in ((fold.train, trained), (fold.test, tested)) for i in asked if i not in there
            ],
            failures={**train.failures, **test.failures},
            about=about,
        )


def _scored(
    probe: AnyProbe, dataset: Dataset[Any], fold: Fold, test: Features[Any], predictions: Sequence[Any]
) -> tuple[list[Example[Any]], list[Any]]:
    """The examples that count, with their predictions: those that could be read; all, where nothing is a prediction."""
    there = {e.id: (e, said) for e, said in zip(test.examples, predictions, strict=True) if e.id not in test.failures}
    if not there:
        raise UserError(f"{dataset.name}: not one test video of {fold.name} could be encoded")
    if hasattr(probe, "nothing"):
        known = dataset.by_id()
        there = {i: there.get(i, (known[i], probe.nothing)) for i in fold.test}
    return [e for e, _ in there.values()], [said for _, said in there.values()]


def _line(probe: AnyProbe, source: FeatureSource, fold: Fold, seed: int) -> str:
    """Which training it is, for who watches it."""
    dataset = source.dataset
    which = [fold.name] * (len(dataset.folds) > 1) + [f"seed {seed}"] * bool(seed)
    return ", ".join([f"{probe.name}: {source.card.name} on {dataset.name}", *which])


def _digest(probes: Sequence[AnyProbe], source: FeatureSource, setting: EvaluationConfig) -> str:
    """Names what a training leaves on disk while it is under way."""
    return digest([[protocol_of(source.dataset, p, setting) for p in probes], source.card.behavior])


Said = tuple[Sequence[Any], Mapping[str, Any]]


def _predict(
    probe: AnyProbe,
    dataset: Dataset[Any],
    train: Features[Any],
    tests: Sequence[Features[Any]],
    *,
    seed: int,
    scratch: Path,
    line: str,
) -> list[Said]:
    """Predictions for each of `tests` after one training; a product over factors where the classes are made of some."""
    test = chained(tests)
    resume = {"scratch": scratch} if getattr(probe, "resumes", False) else {}
    table: Sequence[Any] | npt.NDArray[np.float32]
    if not dataset.factors:
        shown = {"line": line} if getattr(probe, "shows", False) else {}
        said = probe.predict(train, test, seed=seed, **resume, **shown)
        about = said.about if isinstance(said, PredictionList) else {}
        table = said if hasattr(probe, "judge") else np.asarray(said, np.float32)
    else:
        table, about = np.ones((len(test.examples), 1), np.float32), {}
        for name, of, classes in zip(dataset.factor_names, dataset.factors, dataset.factor_classes, strict=True):
            apart = {k: s.with_name(f"{s.name}-{name}") for k, s in resume.items()}
            said = probe.predict(
                RelabeledFeatures(train, of, classes), RelabeledFeatures(test, of, classes), seed=seed, **apart
            )
            table = table * np.asarray(said, np.float32)[:, list(of)]
            about |= {name: said.about} if isinstance(said, PredictionList) and said.about else {}
    bounds = np.cumsum([0, *(len(t.examples) for t in tests)])
    return [(list(table[a:b]), about) for a, b in pairwise(bounds.tolist())]


def _result(
    probe: AnyProbe,
    answers: Sequence[FoldPredictions],
    source: FeatureSource,
    setting: EvaluationConfig,
    seconds: Mapping[str, float],
) -> Result:
    dataset, card = source.dataset, source.card
    verdict = judged(probe, answers, dataset, setting.seed)
    found = verdict.judged
    protocol = protocol_of(dataset, probe, setting, card.options)
    path = Path("predictions") / f"{protocol}-{digest(card.behavior)}.parquet"
    results.write_predictions(setting.run / path, found.columns)
    return Result(
        encoder=card.name,
        dataset=dataset.name,
        probe=probe.name,
        version=probe.version,
        kind=dataset.kind,
        scores=found.scores,
        per_class=found.per_class,
        diagnosis=found.diagnosis,
        folds=tuple(known(a.scores) for a in answers if a.seed == setting.seed),
        seeds=verdict.seeds,
        about=tuple(a.about for a in answers if a.about),
        settings=_settings(probe, dataset, card),
        protocol=protocol,
        axis=dataset.axis,
        variant=variant_of(dataset, probe),
        in_pretraining_data=bool({dataset.name, dataset.family} & card.pretraining_datasets),
        limited=setting.limit > 0,
        n=verdict.n,
        expected=sum(len(fold.test) for fold in dataset.folds),
        missing=_missing(answers, {**dataset.missing_files, **source.filled.failures}),
        notes=source.filled.notes,
        seed=setting.seed,
        seconds=seconds,
        code=versions(setting.options.device),
        predictions=path.as_posix(),
    )


def variant_of(dataset: Dataset[Any], probe: AnyProbe) -> dict[str, str]:
    """How a question differs from the plain one of which it is a variant; nothing where it is none.

    `few` is the share of the training side, `altered` what was done to the clips and on which `sides`, `of` the plain
    task.
    """
    plain_name, altered, sides = alteration(probe.name)
    found = {"train_fraction": dataset.train_fraction, "altered": altered, "sides": sides}
    told = {name: value for name, value in found.items() if value}
    return {**told, "of": f"{dataset.name.removesuffix(f'@{dataset.train_fraction}')}:{plain_name}"} if told else {}


def _settings(probe: AnyProbe, dataset: Dataset[Any], card: Card) -> dict[str, Any]:
    return {
        "probe": plain(probe),
        "card": card.behavior,
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


def _missing(answers: Sequence[FoldPredictions], reasons: Mapping[str, str]) -> dict[str, str]:
    """Who was to be trained or tested and could not, and why."""
    without: dict[str, str] = {}
    for a in answers:
        why = {**reasons, **a.failures}
        without |= {i: why.get(i, "not in the store") for i in a.lacking}
    return without


def versions(device: str) -> dict[str, str]:
    """What computed a number."""
    return {
        "vitascope": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
    }
