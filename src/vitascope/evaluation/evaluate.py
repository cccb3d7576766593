"""Evaluation: collect views, encode what the store lacks, run probes and record results; recorded ones are reused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.types import Card, Dataset, Kind
from vitascope.datasets.audit.doctor import diagnose
from vitascope.datasets.consistency import check_temporal
from vitascope.datasets.copies import with_copies_grouped
from vitascope.datasets.open import open_dataset
from vitascope.datasets.splits import limit_examples
from vitascope.evaluation import results
from vitascope.evaluation.data_warnings import MEASURED
from vitascope.evaluation.layers import with_layers
from vitascope.evaluation.results import Result
from vitascope.evaluation.runner import EvaluationConfig, Trained, origin_of, result_key, run_probes
from vitascope.features.imports import twelvelabs
from vitascope.features.open_encoder import open_encoder
from vitascope.features.source import FeatureSource, prepare_together
from vitascope.features.view import View
from vitascope.probes import options as tuning
from vitascope.probes.base import AnyProbe
from vitascope.probes.catalog import PROBES
from vitascope.probes.counterfactual import PERTURBATIONS, SIDES, perturb

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder


def evaluate(
    data: str | Path | Dataset[Any],
    encoders: Sequence[str | Encoder | Card],
    probes: Sequence[str | AnyProbe],
    *,
    output: str | Path | None = None,
    config: EvaluationConfig | None = None,
) -> list[Result]:
    """Evaluate every encoder with every probe on `data`; return one Result each, recorded as soon as it is known.

    All names are resolved before any work starts. A Card stands for an encoder whose vectors are stored already;
    datasets with imported embeddings need no encoder. Results that the run folder holds under the same protocol are
    returned without recomputing them. Raises UserError for a wrong name or unusable data, and, after all other probes
    have run, if a probe failed.
    """
    config = config or EvaluationConfig(run=Path(output or "runs/latest"))
    dataset = data if isinstance(data, Dataset) else open_dataset(data, labeled=need_classes(probes))
    if dataset.cards:
        config = replace(config, store=Path(dataset.store))
        encoders = precomputed_encoders(dataset, encoders)
    dataset = prepare(dataset, config)
    opened, datasets = open_probes(dataset, probes, config), low_shot_datasets(dataset, config)
    loaded = [open_encoder(e, config.options, decoder=config.decoder, compile=config.compile) for e in encoders]
    for encoder in loaded:
        with_layers(opened, encoder)  # what an encoder does not have is refused before any work
    recorded = recorded_results(config.run, dataset)
    evaluated: list[Result] = []
    failed: list[str] = []
    if not loaded:
        raise UserError("nothing to do: name at least one encoder with -m, for instance -m vit/tiny-random")
    parts = [p for variant in datasets for p in parts_of(variant, opened)]
    tasks = [_tasks(part, loaded, probes_on, recorded, config=config) for part, probes_on in parts]
    if config.embed_only:
        return []
    for task in (each[number] for number in range(len(loaded)) for each in tasks):
        try:
            evaluated += _evaluate_task(task, config=config, failed=failed)
        except DamagedFileError as error:  # of its store; those of other encoders may be whole
            failed.append(str(error))
    if failed:
        others = (
            f" (and {len(failed) - 1} more; all other results are recorded)" if len(failed) > 1 or evaluated else ""
        )
        raise UserError(failed[0] + others)
    return evaluated


def prepare(dataset: Dataset[Any], config: EvaluationConfig) -> Dataset[Any]:
    """Return `dataset`, limited if configured, else with copies grouped; UserError for what would spoil the evaluation.

    Trials with `limit` do not look for copies among all videos.
    """
    options = config.options
    if config.embed_only and not config.limit:  # groups change no vector
        return dataset
    dataset = (
        limit_examples(dataset, config.limit)
        if config.limit
        else with_copies_grouped(dataset, workers=options.processes, timeout=options.timeout, quiet=options.quiet)
    )
    check_temporal(dataset)
    return dataset


def open_probes(dataset: Dataset[Any], probes: Sequence[str | AnyProbe], config: EvaluationConfig) -> list[AnyProbe]:
    """Return the probes with the settings for `dataset`, and their counterfactual variants if configured.

    Raises UserError for a probe of another kind than the dataset.
    """
    opened = [tuning.probe(p, dataset.family) if isinstance(p, str) else p for p in probes]
    for probe in opened:
        part = probe.part_of(dataset)
        _check_kind(probe, part)
        probe.check_dataset(part)
    if dataset.cards and dataset.kind != "recognition":
        opened = [_with_imported_windows(probe, dataset) for probe in opened]
    if config.counterfactual:
        opened += [perturb(p, perturbation, sides) for p in opened for sides in SIDES for perturbation in PERTURBATIONS]
    return opened


def need_classes(probes: Sequence[str | AnyProbe]) -> bool:
    """Return whether one of the probes needs examples of several classes; a name that is none is told later."""
    try:
        opened = [tuning.probe(p) if isinstance(p, str) else p for p in probes]
    except UserError:
        return True
    return not opened or any(p.needs_classes for p in opened)


def parts_of(dataset: Dataset[Any], probes: Sequence[AnyProbe]) -> list[tuple[Dataset[Any], list[AnyProbe]]]:
    """Return the parts of `dataset` that the probes are evaluated on, each with its probes, in order."""
    parts: dict[str, tuple[Dataset[Any], list[AnyProbe]]] = {}
    for probe in probes:
        part = probe.part_of(dataset)
        key = "" if part is dataset else part.digest
        parts.setdefault(key, (part, []))[1].append(probe)
    return list(parts.values())


def default_probes(dataset: Dataset[Any]) -> list[str]:
    """Return the probes to run if none are named: all of its kind for temporal datasets, none for recognition."""
    if dataset.kind == "detection" and any(len(e.truth.times) > 1 for e in dataset.examples):
        return ["detect/tubes"]
    return [] if dataset.kind == "recognition" else _probes_for(dataset.kind)


def _probes_for(kind: Kind) -> list[str]:
    """Return the probes for a kind of dataset, by their shortest names."""
    first = {name.partition("/")[0]: name for name in reversed(PROBES.names())}
    return [name for _, name in sorted(first.items()) if PROBES.build(name).kind == kind]


def _check_kind(probe: AnyProbe, dataset: Dataset[Any]) -> None:
    if probe.kind != dataset.kind:
        raise UserError(
            f"{probe.name} is for {probe.kind}, but {dataset.name} is for {dataset.kind}; use -t "
            f"{' or -t '.join(_probes_for(dataset.kind))}"
        )


def _with_imported_windows(probe: AnyProbe, dataset: Dataset[Any]) -> AnyProbe:
    """Return `probe` with the windows of the imported features, which can differ from those of table 7."""
    if not is_dataclass(probe):
        return probe
    view = View(twelvelabs.clip_sampler(dataset))
    return replace(probe, train=view, test=view)


def low_shot_datasets(dataset: Dataset[Any], config: EvaluationConfig) -> list[Dataset[Any]]:
    """Return `dataset` and its low-shot variants."""
    variants = [replace(dataset, name=f"{dataset.name}@{share}", train_fraction=share) for share in config.low_shot]
    return [dataset, *variants]


def precomputed_encoders(dataset: Dataset[Any], requested: Sequence[str | Encoder | Card]) -> Sequence[Card]:
    """Return those of the encoders with imported vectors that are requested, all by default; UserError for others."""
    names = {e if isinstance(e, str) else e.name if isinstance(e, Card) else e.card.name for e in requested}
    available = [card.name for card in dataset.cards]
    for name in names - set(available):
        raise UserError(f"{dataset.name} has embeddings by {', '.join(available)} only, not by {name}; omit -m {name}")
    return [card for card in dataset.cards if not names or card.name in names]


def recorded_results(run: Path, dataset: Dataset[Any]) -> dict[tuple[str, str, str], Result]:
    """Return the recorded results on `dataset`, by `Result.key`."""
    recorded = results.read(run) if (run / results.RESULTS).is_file() else []
    return {r.key: r for r in recorded if r.settings.get("dataset", {}).get("origin") == origin_of(dataset)}


@dataclass
class _Task:
    """An encoder on a part of the dataset: what is known, and what is to be run."""

    source: FeatureSource
    probes: Sequence[AnyProbe]
    known: dict[str, Result | None] = field(default_factory=dict)
    """The recorded results, by probe."""
    new: list[AnyProbe] = field(default_factory=list)
    damage: DamagedFileError | None = None
    """Why the store cannot be read."""

    @property
    def views(self) -> list[View]:
        """The views that the new probes read."""
        return [view for probe in self.new for view in (probe.train, probe.test)]


def _tasks(
    dataset: Dataset[Any],
    encoders: Sequence[Encoder | Card],
    probes: Sequence[AnyProbe],
    recorded: Mapping[tuple[str, str, str], Result],
    *,
    config: EvaluationConfig,
) -> list[_Task]:
    """Return a task for each encoder, with what the store lacked encoded: the videos are decoded once for all."""
    tasks = []
    for encoder in encoders:
        source = FeatureSource(encoder, dataset, config.store, config.options, budget=config.grid_cache_bytes)
        task = _Task(source, with_layers(probes, encoder))
        task.known = {p.name: recorded.get(result_key(dataset, source.card, p, config)) for p in task.probes}
        try:
            task.new = [p for p in task.probes if config.overwrite or _needs_run(task.known[p.name], p, source)]
        except DamagedFileError as error:
            task.damage = error
        tasks.append(task)
    prepare_together([(task.source, task.views) for task in tasks if task.new])
    return tasks


def _evaluate_task(task: _Task, *, config: EvaluationConfig, failed: list[str]) -> list[Result]:
    """Run what is new, record it, and return all results; add to `failed` why a probe failed."""
    source, by_probe = task.source, dict(task.known)
    if task.damage:
        raise task.damage
    with source:
        for name in [name for name in by_probe if name not in {p.name for p in task.new}]:
            by_probe[name] = _with_current_warnings(by_probe[name], source.dataset, config.run)
        if task.new:
            source.prepare(task.views)
        groups = group_by_training(task.new)
        for group, trained in zip(groups, _trained(groups, source, config), strict=True):
            try:
                group_results = run_probes(group, source, config, trained)
            except UserError as error:
                failed.append(f"{source.card.name} on {source.dataset.name}:{group[0].name}: {error}")
                continue
            for probe, result in zip(group, group_results, strict=True):
                results.append(config.run, result)
                by_probe[probe.name] = result
    return [r for r in by_probe.values() if r]


def _trained(
    groups: Sequence[Sequence[AnyProbe]], source: FeatureSource, config: EvaluationConfig
) -> Sequence[Iterator[Trained] | None]:
    """What the trainings of groups of probes give on a cluster; None where they are to run here."""
    if not (config.options.on and groups):
        return [None] * len(groups)
    from vitascope.evaluation.cluster import spread_trainings

    return spread_trainings(groups, source, config)


def _with_current_warnings(result: Result | None, dataset: Dataset[Any], run: Path) -> Result | None:
    """Return a recorded result with the present warnings on the dataset, which are recorded if they have changed."""
    if result is None:
        return None
    measured = (warning for warning in result.data_warnings if warning.kind in MEASURED)
    updated = replace(result, data_warnings=(*diagnose(dataset), *measured))
    if updated != result:
        results.append(run, updated)
    return updated


def group_by_training(probes: Sequence[AnyProbe]) -> list[list[AnyProbe]]:
    """Group probes that share one training, as they differ in name and test view only.

    A probe that selects on the test set forms its own group, as it must select on its own test view.
    """
    groups: dict[Any, list[AnyProbe]] = {}
    for probe in probes:
        training: Any = probe.name
        if is_dataclass(probe) and not probe.selects_on_test:
            training = replace(probe, name="", test=probe.train)
        groups.setdefault((type(probe), training), []).append(probe)
    return list(groups.values())


def _needs_run(result: Result | None, probe: AnyProbe, source: FeatureSource) -> bool:
    """Return whether there is no result yet, or one of other files, or with missing examples that are to be retried."""
    if result is None or (source.options.retry_failed and result.missing):
        return True
    return source.has_changed([probe.train, probe.test], result.inputs)
