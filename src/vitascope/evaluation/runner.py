"""Runner: train and test probes fold by fold and seed by seed, score the predictions, and build Results."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core import cluster
from vitascope.core.device import torch, torch_version
from vitascope.core.errors import UserError
from vitascope.core.file_identity import content_digest
from vitascope.core.files import cache
from vitascope.core.garbage import rarely_collected
from vitascope.core.pixel_transform import Decoder
from vitascope.core.types import Card, Dataset, Example, Fold, digest, plain
from vitascope.core.version import __version__
from vitascope.datasets.audit.doctor import diagnose
from vitascope.datasets.splits import check_train_fraction, low_shot
from vitascope.evaluation import results
from vitascope.evaluation.data_card import cost_card, data_card, extent, merged
from vitascope.evaluation.data_warnings import measured_warnings
from vitascope.evaluation.near_copies import candidates, confirmed
from vitascope.evaluation.results import Result
from vitascope.evaluation.scoring import FoldPredictions, finite_scores, summarize
from vitascope.features.aggregation import aggregated
from vitascope.features.base import Features, RelabeledFeatures, chain
from vitascope.features.extraction_options import PIPELINE, Compile, ExtractionOptions
from vitascope.features.source import FeatureSource
from vitascope.probes.base import AnyProbe, JointlyScored, PredictionList
from vitascope.probes.counterfactual import split_perturbation


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of an evaluation, besides the dataset, the encoders and the probes."""

    run: Path
    """Folder for results and predictions."""
    store: Path = field(default_factory=cache)
    """Folder of the stored embeddings; imported datasets have their own."""
    options: ExtractionOptions = field(default_factory=ExtractionOptions)
    compile: Compile = "off"
    """When encoders run compiled: where that was measured to be faster, or always."""
    decoder: Decoder = "pyav"
    """What decodes videos."""
    seed: int = 0
    """First random seed."""
    seeds: int = 1
    """Number of seeds (`seed`, `seed + 1`, ...) for probes with randomness; the score is their mean."""
    grid_cache_bytes: int = 0
    """Disk budget for token grids in bytes; grids beyond it are encoded anew in every pass."""
    overwrite: bool = False
    """Evaluate again what is already recorded."""
    low_shot: tuple[str, ...] = ()
    """Subsets of the training set (`5%`, `8-shot`) with which every probe is evaluated as well."""
    counterfactual: bool = False
    """Also evaluate every probe on reversed, shuffled, frozen and slowed clips, in test only and in both splits."""
    limit: int = 0
    """Maximum number of examples, for quick checks; 0: all. Such results are marked."""
    embed_only: bool = False
    """Encode what the store lacks, for another process that runs the probes."""

    def __post_init__(self) -> None:
        """Reject a subset of the training set that is none, before any work."""
        for share in self.low_shot:
            check_train_fraction(share)


def seeds_of(probe: AnyProbe, dataset: Dataset[Any], config: EvaluationConfig) -> range:
    """Return the seeds to run: a single one if neither the probe nor the choice of training examples is random."""
    draws = probe.random or dataset.train_fraction
    return range(config.seed, config.seed + (config.seeds if draws else 1))


@rarely_collected()
def protocol_of(dataset: Dataset[Any], probe: AnyProbe, config: EvaluationConfig, options: str = "") -> str:
    """Return the digest of everything that makes two results comparable, that is, all settings but the encoder's.

    `options` are encoder settings that the user changed from the defaults; they enter the digest only if there are any.
    """
    seeds = [*seeds_of(probe, dataset, config)]
    parts = [probe.name, probe.version, plain(probe), dataset.digest, PIPELINE, seeds, config.limit]
    inputs = [_bytes_of(file, probe) for file in probe.input_files]
    return digest([*parts, *inputs, *([options] if options else [])])


def _bytes_of(file: str, probe: AnyProbe) -> str:
    try:
        return content_digest(os.path.expanduser(file), full=True)
    except OSError as error:
        raise UserError(f"{probe.name}: {file}: cannot be read ({error.strerror or error})") from error


def result_key(dataset: Dataset[Any], card: Card, probe: AnyProbe, config: EvaluationConfig) -> tuple[str, str, str]:
    """Return the `Result.key` that the evaluation would have."""
    protocol = protocol_of(dataset, probe, config, card.options)
    return (card.name, f"{dataset.name}:{probe.name}", digest([protocol, card.behavior]))


def origin_of(dataset: Dataset[Any]) -> str:
    """Return a digest of folder and missing files, which tells apart datasets of the same name."""
    return digest([dataset.key, sorted(dataset.missing_files)])


class Trained(NamedTuple):
    """What one training gives: the predictions of every probe that shares it."""

    predictions: list[FoldPredictions]
    seconds: float


def trainings(probes: Sequence[AnyProbe], dataset: Dataset[Any], config: EvaluationConfig) -> list[tuple[int, int]]:
    """Return fold and seed of every training of probes that share one; they are independent of each other."""
    return [(fold, seed) for seed in seeds_of(probes[0], dataset, config) for fold in range(len(dataset.folds))]


def run_training(
    probes: Sequence[AnyProbe], source: FeatureSource, config: EvaluationConfig, fold_and_seed: tuple[int, int]
) -> Trained:
    """Train once, on one fold with one seed, and predict the test view of every probe."""
    started, dataset = time.monotonic(), source.dataset
    fold = dataset.folds[fold_and_seed[0]]
    subset = low_shot(dataset, fold, fold_and_seed[1]) if dataset.train_fraction else fold
    try:
        return Trained(list(_run_fold(probes, source, subset, config, fold_and_seed)), time.monotonic() - started)
    finally:
        source.release()


def run_probes(
    probes: Sequence[AnyProbe],
    source: FeatureSource,
    config: EvaluationConfig,
    trained: Iterable[Trained] | None = None,
) -> list[Result]:
    """Run probes that differ in their test view only and share one training; return one Result each, in order.

    `trained`: what their trainings gave, in the order of `trainings`, where they run elsewhere.
    """
    dataset, encoded = source.dataset, dict(source.summary.seconds)
    if trained is None:
        trained = (run_training(probes, source, config, one) for one in trainings(probes, dataset, config))
    done = list(trained)
    predictions = [[one.predictions[i] for one in done] for i in range(len(probes))]
    seconds = {**encoded, "probe": sum(one.seconds for one in done) / len(probes)}
    copies = confirmed([c for fold in predictions[0] for c in fold.candidates], dataset, config.options)
    return [
        _result(p, a, source, config, seconds=seconds, copies=copies) for p, a in zip(probes, predictions, strict=True)
    ]


def _run_fold(
    probes: Sequence[AnyProbe],
    source: FeatureSource,
    fold: Fold,
    config: EvaluationConfig,
    number_and_seed: tuple[int, int],
) -> Iterator[FoldPredictions]:
    """Train once, and yield the predictions on the test view of every probe."""
    number, seed = number_and_seed
    views = list(dict.fromkeys(p.test for p in probes))
    train_clips = source.features(probes[0].train.clips, fold.train)
    test_clips = [source.features(view.clips, fold.test) for view in views]
    for side, features in (("training", train_clips), *(("test", t) for t in test_clips)):
        if not features.examples:
            raise UserError(
                f"{source.dataset.name}: no {side} video of {fold.name} could be embedded; see the failures above"
            )
    train, tests = aggregated(train_clips, test_clips, probes[0].train, views)
    searched = seed == config.seed and not source.dataset.train_fraction
    copies = candidates(source.dataset, train_clips, test_clips[0]) if searched else []
    scratch = config.run / "training" / f"{_training_digest(probes, source, config)}-{number}-{seed}"
    line = "" if config.options.quiet else _progress_label(probes[0], source, fold, seed)
    predicted = _predict(probes[0], source.dataset, train, tests, seed=seed, scratch=scratch, line=line)
    by_view = dict(zip(views, zip(tests, predicted, strict=True), strict=True))
    for probe in probes:
        test, (predictions, about) = by_view[probe.test]
        examples, scored = _scored_examples(probe, source.dataset, fold, test, predictions)
        trained = {e.id for e in train.examples if e.id not in train.failures}
        tested = {e.id for e in test.examples if e.id not in test.failures}
        yield FoldPredictions(
            fold=number,
            seed=seed,
            examples=examples,
            predictions=scored,
            scores=dict(probe.score(scored, [e.truth for e in examples])),
            unreadable=[
                i for ids, readable in ((fold.train, trained), (fold.test, tested)) for i in ids if i not in readable
            ],
            failures={**train.failures, **test.failures},
            about=about,
            candidates=copies if probe is probes[0] else (),
            extent=extent(test_clips[views.index(probe.test)]),
        )


def _scored_examples(
    probe: AnyProbe, dataset: Dataset[Any], fold: Fold, test: Features[Any], predictions: Sequence[Any]
) -> tuple[list[Example[Any]], list[Any]]:
    """Return the scored examples and predictions: the readable ones, or all if the probe predicts for missing ones."""
    predictions_by_id = {
        e.id: (e, prediction)
        for e, prediction in zip(test.examples, predictions, strict=True)
        if e.id not in test.failures
    }
    if not predictions_by_id:
        raise UserError(f"{dataset.name}: no test video of {fold.name} could be encoded")
    if probe.missing_prediction is not None:
        by_id = dataset.by_id()
        predictions_by_id = {i: predictions_by_id.get(i, (by_id[i], probe.missing_prediction)) for i in fold.test}
    return [e for e, _ in predictions_by_id.values()], [prediction for _, prediction in predictions_by_id.values()]


def _progress_label(probe: AnyProbe, source: FeatureSource, fold: Fold, seed: int) -> str:
    """Return the label of the progress bar."""
    dataset = source.dataset
    details = [fold.name] * (len(dataset.folds) > 1) + [f"seed {seed}"] * bool(seed)
    return ", ".join([f"{probe.name}: {source.card.name} on {dataset.name}", *details])


def _training_digest(probes: Sequence[AnyProbe], source: FeatureSource, config: EvaluationConfig) -> str:
    """Return the digest that names the saved state of an unfinished training."""
    return digest([[protocol_of(source.dataset, p, config) for p in probes], source.card.behavior])


PredictionsWithNotes = tuple[Sequence[Any], Mapping[str, Any]]


def _predict(
    probe: AnyProbe,
    dataset: Dataset[Any],
    train: Features[Any],
    tests: Sequence[Features[Any]],
    *,
    seed: int,
    scratch: Path,
    line: str,
) -> list[PredictionsWithNotes]:
    """Train once and predict each of `tests`; for factored classes, multiply the probabilities of their factors."""
    test = chain(tests)
    resume = {"scratch": scratch} if probe.resumes else {}
    table: Sequence[Any] | npt.NDArray[np.float32]
    if not dataset.factors:
        progress = {"line": line} if probe.reports_progress else {}
        predictions = probe.predict(train, test, seed=seed, **resume, **progress)
        about = predictions.about if isinstance(predictions, PredictionList) else {}
        table = predictions if isinstance(probe, JointlyScored) else np.asarray(predictions, np.float32)
    else:
        table, about = np.ones((len(test.examples), 1), np.float32), {}
        for name, mapping, classes in zip(dataset.factor_names, dataset.factors, dataset.factor_classes, strict=True):
            factor_scratch = {k: s.with_name(f"{s.name}-{name}") for k, s in resume.items()}
            predictions = probe.predict(
                RelabeledFeatures(train, mapping, classes),
                RelabeledFeatures(test, mapping, classes),
                seed=seed,
                **factor_scratch,
            )
            table = table * np.asarray(predictions, np.float32)[:, list(mapping)]
            about |= {name: predictions.about} if isinstance(predictions, PredictionList) and predictions.about else {}
    bounds = np.cumsum([0, *(len(t.examples) for t in tests)])
    return [(list(table[a:b]), about) for a, b in pairwise(bounds.tolist())]


def _result(
    probe: AnyProbe,
    predictions: Sequence[FoldPredictions],
    source: FeatureSource,
    config: EvaluationConfig,
    *,
    seconds: Mapping[str, float],
    copies: Mapping[str, str],
) -> Result:
    dataset, card = source.dataset, source.card
    summary = summarize(probe, predictions, dataset, config.seed)
    scored = summary.scored
    protocol = protocol_of(dataset, probe, config, card.options)
    measured = merged(a.extent for a in predictions)
    path = Path("predictions") / f"{protocol}-{digest(card.behavior)}.parquet"
    results.write_predictions(config.run / path, scored.columns)
    return Result(
        encoder=card.name,
        dataset=dataset.name,
        probe=probe.name,
        version=probe.version,
        kind=dataset.kind,
        scores=scored.scores,
        chance=summary.chance,
        order_free=summary.order_free,
        parts=summary.parts,
        per_class=scored.per_class,
        diagnosis=scored.diagnosis,
        folds=tuple(finite_scores(a.scores) for a in predictions if a.seed == config.seed),
        seeds=summary.seeds,
        about=tuple(a.about for a in predictions if a.about),
        settings=_settings(probe, dataset, card),
        protocol=protocol,
        order_aware=probe.order_aware,
        axis=dataset.axis,
        variant=variant_of(dataset, probe),
        in_pretraining_data=bool({dataset.name, dataset.family} & card.pretraining_datasets),
        limited=config.limit > 0,
        n=summary.n,
        expected=sum(len(fold.test) for fold in dataset.folds),
        missing=_missing(predictions, {**dataset.missing_files, **source.summary.failures}),
        notes=source.summary.notes,
        data=data_card(dataset, measured),
        cost=cost_card(card, probe.test.sampler, measured, source.summary),
        inputs=source.inputs([probe.train, probe.test]),
        data_warnings=(
            *diagnose(dataset),
            *measured_warnings(card, dataset, scored, copies, summary.chance),
            *probe.warnings(summary.n),
        ),
        seed=config.seed,
        seconds=seconds,
        code=versions(config.options.device, config.options.on),
        predictions=path.as_posix(),
    )


def variant_of(dataset: Dataset[Any], probe: AnyProbe) -> dict[str, str]:
    """Return how a task differs from the plain task `of`; empty if it does not.

    `train_fraction` is the subset of the training set, `altered` the perturbation of the clips on `sides`, `layer` the
    block whose mean tokens were read, such as 3/12.
    """
    plain_name, altered, sides = split_perturbation(probe.name)
    plain_name = plain_name.replace(f"+layer={probe.test.layer}", "") if probe.test.layer else plain_name
    changes = {"train_fraction": dataset.train_fraction, "altered": altered, "sides": sides, "layer": probe.test.layer}
    variant = {name: value for name, value in changes.items() if value}
    return (
        {**variant, "of": f"{dataset.name.removesuffix(f'@{dataset.train_fraction}')}:{plain_name}"} if variant else {}
    )


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


def _missing(predictions: Sequence[FoldPredictions], reasons: Mapping[str, str]) -> dict[str, str]:
    """Return {example id: reason} of all examples that could not be read."""
    missing: dict[str, str] = {}
    for one in predictions:
        why = {**reasons, **one.failures}
        missing |= {i: why.get(i, "not in the store") for i in one.unreadable}
    return missing


def versions(device: str, on: str = "") -> dict[str, str]:
    """Return the versions of software and hardware that computed a result, `on` a cluster if it is named."""
    return {
        "vitascope": __version__,
        "python": platform.python_version(),
        "torch": torch_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": (cluster.accelerators(cluster.connect(on)) or "cpu")
        if on
        else torch.cuda.get_device_name()
        if device.startswith("cuda")
        else device,
    }
