"""Evaluate: gather the views, fill the store, ask, record; whatever is recorded already is not asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset, Kind
from vitascope.datasets.open import open_dataset
from vitascope.datasets.splits import check_few, limited
from vitascope.encoders.base import Encoder
from vitascope.encoders.load import load
from vitascope.evaluation import results
from vitascope.evaluation.results import Result
from vitascope.evaluation.runner import EvaluationConfig, ask, key_of_result, origin_of
from vitascope.features.extract import ExtractionOptions
from vitascope.features.imports import twelvelabs
from vitascope.features.source import FeatureSource
from vitascope.features.view import View
from vitascope.probes import options as tuning
from vitascope.probes.base import AnyProbe, kind_of
from vitascope.probes.catalog import PROBES
from vitascope.probes.counterfactual import ALTERATIONS, SIDES, altered


def evaluate(
    data: str | Path | Dataset[Any],
    encoders: Sequence[str | Encoder | Card],
    probes: Sequence[str | AnyProbe],
    *,
    output: str | Path | None = None,
    setting: EvaluationConfig | None = None,
) -> list[Result]:
    """Every probe put to every encoder on `data`; one Result each, recorded in the run folder as soon as it is known.

    All names are resolved before any work starts. A Card stands for an encoder whose vectors are already in the store;
    published embeddings need no encoder named. What the run folder already holds under the same protocol is returned,
    not computed. Raises ValueError where a name or the data is wrong; where a probe refuses, once all others are asked.
    """
    setting = setting or EvaluationConfig(run=Path(output or "runs/latest"))
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    if dataset.cards:
        setting = replace(setting, store=Path(dataset.store))
        encoders = brought(dataset, encoders)
    if setting.limit:
        dataset = limited(dataset, setting.limit)
    asked, sets = open_probes(dataset, probes, setting), asked_on(dataset, setting)
    shown: list[Encoder | Card] = [load(e, setting.options.device) if isinstance(e, str) else e for e in encoders]
    known = recorded(setting.run, dataset)
    found: list[Result] = []
    refused: list[str] = []
    if not shown:
        raise UserError("nothing to do: name at least one encoder with -m, for instance -m vit/tiny-random")
    for encoder in shown:
        for one in sets:
            found += _one_encoder(one, encoder, asked, known, setting=setting, refused=refused)
    if refused:
        others = f" (and {len(refused) - 1} more; the rest is recorded)" if len(refused) > 1 or found else ""
        raise UserError(refused[0] + others)
    return found


def open_probes(dataset: Dataset[Any], probes: Sequence[str | AnyProbe], setting: EvaluationConfig) -> list[AnyProbe]:
    """The probes by name, as they are on `dataset`, and their altered versions where these are asked for.

    ValueError for one that asks of another kind of data set.
    """
    asked = [tuning.probe(p, dataset.family) if isinstance(p, str) else p for p in probes]
    for probe in asked:
        _check_kind(probe, dataset)
    if dataset.cards and dataset.kind != "recognition":
        asked = [_as_brought(probe, dataset) for probe in asked]
    if setting.counterfactual:
        asked += [altered(p, how, sides) for p in asked for sides in SIDES for how in ALTERATIONS]
    return asked


def usual(dataset: Dataset[Any]) -> list[str]:
    """What is asked of `dataset` where nothing is said: all there is for actions in time, nothing for classes."""
    return [] if dataset.kind == "recognition" else _fitting(dataset.kind)


def _fitting(kind: Kind) -> list[str]:
    """The probes that ask of such data sets, by their shortest names."""
    first = {name.partition("/")[0]: name for name in reversed(PROBES.names())}
    return [name for _, name in sorted(first.items()) if kind_of(PROBES.build(name)) == kind]


def _check_kind(probe: AnyProbe, dataset: Dataset[Any]) -> None:
    if kind_of(probe) != dataset.kind:
        raise UserError(
            f"{probe.name} is for {kind_of(probe)}, {dataset.name} for {dataset.kind}; say -t "
            f"{' or -t '.join(_fitting(dataset.kind))}"
        )


def _as_brought(probe: AnyProbe, dataset: Dataset[Any]) -> AnyProbe:
    """`probe` with the windows of the features that were brought in, which may be others than those of table 7."""
    if not is_dataclass(probe):
        return probe
    view = View(twelvelabs.given(dataset))
    return replace(probe, train=view, test=view)


def asked_on(dataset: Dataset[Any], setting: EvaluationConfig) -> list[Dataset[Any]]:
    """`dataset`, and the same with each of the shares of its training side that are asked for."""
    few = [
        replace(dataset, name=f"{dataset.name}@{share}", train_fraction=check_few(share)) for share in setting.low_shot
    ]
    return [dataset, *few]


def brought(dataset: Dataset[Any], asked: Sequence[str | Encoder | Card]) -> Sequence[Card]:
    """Of the encoders whose vectors the dataset brings those asked for, all where none is; ValueError for others."""
    names = {e if isinstance(e, str) else e.name if isinstance(e, Card) else e.card.name for e in asked}
    made = [card.name for card in dataset.cards]
    for name in names - set(made):
        raise UserError(f"{dataset.name} holds published embeddings by {', '.join(made)}, none by {name}; leave it out")
    return [card for card in dataset.cards if not names or card.name in names]


def recorded(run: Path, dataset: Dataset[Any]) -> dict[tuple[str, str, str], Result]:
    """What the run folder holds about the videos of `dataset`, by `Result.key`."""
    there = results.read(run) if (run / results.RESULTS).is_file() else []
    return {r.key: r for r in there if r.settings.get("dataset", {}).get("origin") == origin_of(dataset)}


def _one_encoder(
    dataset: Dataset[Any],
    encoder: Encoder | Card,
    probes: Sequence[AnyProbe],
    known: Mapping[tuple[str, str, str], Result],
    *,
    setting: EvaluationConfig,
    refused: list[str],
) -> list[Result]:
    card = encoder if isinstance(encoder, Card) else encoder.card
    found = {p.name: known.get(key_of_result(dataset, card, p, setting)) for p in probes}
    new = [p for p in probes if setting.overwrite or _open(found[p.name], setting.options)]
    if not new:
        return [r for r in found.values() if r]
    with FeatureSource(encoder, dataset, setting.store, setting.options, budget=setting.grids) as source:
        source.fill([v for p in new for v in (p.train, p.test)])
        for together in trained_together(new):
            try:
                answered = ask(together, source, setting)
            except ValueError as error:
                refused.append(f"{card.name} on {dataset.name}:{together[0].name}: {error}")
                continue
            for probe, result in zip(together, answered, strict=True):
                results.append(setting.run, result)
                found[probe.name] = result
    return [r for r in found.values() if r]


def trained_together(probes: Sequence[AnyProbe]) -> list[list[AnyProbe]]:
    """The probes grouped by what they train: those of a group differ in name and test view only.

    One that chooses by the test side stands alone, as it must not choose by another's.
    """
    groups: dict[Any, list[AnyProbe]] = {}
    for probe in probes:
        same: Any = probe.name
        if is_dataclass(probe) and getattr(probe, "select", "") != "best-on-test":
            same = replace(probe, name="", test=probe.train)
        groups.setdefault((type(probe), same), []).append(probe)
    return list(groups.values())


def _open(result: Result | None, options: ExtractionOptions) -> bool:
    """Whether there is something to do: no result yet, or one without videos that are to be tried again."""
    return result is None or (options.retry_failed and bool(result.missing))
