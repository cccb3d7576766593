"""A probe by name with options, `linear/paper+lr=0.3+test=reversed`: fields set, views replaced or perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from vitascope.core import option_text
from vitascope.core.errors import UserError
from vitascope.core.fields import FieldOption, Texts, options_of
from vitascope.core.text import nearest
from vitascope.datasets.class_pairs import is_file
from vitascope.features.aggregators import AGGREGATORS, Aggregator
from vitascope.features.aggregators import describe as describe_aggregator
from vitascope.features.aggregators import parse as parse_aggregator
from vitascope.features.view import View
from vitascope.probes.base import Probe
from vitascope.probes.catalog import PROBES
from vitascope.probes.counterfactual import PERTURBATIONS, SIDES, perturb
from vitascope.sampling.augmentations import Drawn
from vitascope.sampling.names import Sampler, describe, parse

FIXED = ("name", "version")
"""Fields that are not for a user to set."""
BESIDE = {
    "train": "Clips of a training video: a sampler, see `--view`.",
    "test": "Clips of a test video: a sampler; or how they are perturbed, " + ", ".join(PERTURBATIONS) + ".",
    "both": "How the clips of training and test videos are perturbed: " + ", ".join(PERTURBATIONS) + ".",
    "draws": "Augmented clips of a training video that are stored; 0: another one is encoded at every epoch.",
    "agg": "How the clip vectors of a video become one: none, " + ", ".join(AGGREGATORS) + "; dct:5 has five terms.",
    "layers": "Blocks of the encoder, each evaluated by its mean patch tokens beside the encoder's own vector: all, or "
    "numbers from 1 and last, with commas.",
}
"""Options that are not fields of the probe, and their meaning."""


READERS: option_text.Readers = {Sampler: parse, Aggregator: parse_aggregator}
"""How samplers and aggregators are read."""


def probe(text: str, family: str = "") -> Probe[Any, Any]:
    """The probe called `text`, as it is on the dataset `family`, where it knows that; then its options.

    UserError with the nearest match where there is no such probe, or it has no such option.
    """
    parts = option_text.parse(text, path=False)
    built: Probe[Any, Any] = PROBES.build(parts.name)
    configured = built.for_dataset(family)
    perturbed = [(value, key) for key, value in parts.options if key in SIDES and value in PERTURBATIONS]
    if len(perturbed) > 1:
        raise UserError(f"{text}: one perturbation at a time")
    given = option_text.once([(k, v) for k, v in parts.options if (v, k) not in perturbed], text)
    if given:
        name = "".join([configured.name, *(f"+{key}={value}" for key, value in given.items())])
        changes = {
            path: new for key, value in given.items() for path, new in _paths(configured, key, value, text).items()
        }
        configured = option_text.changed(configured, {**changes, "name": name}, text, READERS)
        _check_views(configured, text)
    for how, sides in perturbed:
        configured = perturb(configured, how, sides)
    return configured


def _check_views(probe: Probe[Any, Any], text: str) -> None:
    """UserError where training and test views differ in aggregation or layers, or the kind of task has neither."""
    train, test = probe.train, probe.test
    if train.agg != test.agg:
        raise UserError(f"{text}: training and test clips are aggregated alike; set agg=..., not train.agg or test.agg")
    if train.layer != test.layer:
        raise UserError(f"{text}: training and test clips are read from the same layers; set layers=...")
    if train.agg and probe.kind != "recognition":
        raise UserError(f"{text}: {probe.kind} tells when something happens, and needs every clip; leave agg out")
    if train.layer and probe.kind != "recognition":
        raise UserError(f"{text}: layers are evaluated by recognition, not by {probe.kind}; use knn or linear")


def with_pairs(texts: Sequence[str], pairs: Sequence[str], family: str = "") -> list[Probe[Any, Any]]:
    """The probes called `texts` on the dataset `family`, those that take pairs of classes with `pairs`.

    These are texts or one file, whatever is in the names of classes. UserError if no probe takes any.
    """
    opened: list[Any] = [probe(text, family) for text in texts]
    takers = [p for p in opened if hasattr(p, "pairs")]
    if not takers:
        raise UserError(f"--pairs: {', '.join(texts)} tell no pairs of classes apart; use -t chirality")
    if len(pairs) > 1 and (file := next((text for text in pairs if is_file(text)), "")):
        raise UserError(f"--pairs {file}: a file of pairs stands alone; write the others into it")
    if given := next((p.name for p in takers if p.pairs), ""):
        raise UserError(f"{given}: its pairs are given twice, also by --pairs; give them once")
    joined = ",".join(pairs)
    return [replace(p, pairs=joined, name=f"{p.name}+pairs={joined}") if p in takers else p for p in opened]


def options(probe: Probe[Any, Any]) -> list[FieldOption]:
    """The options of a probe, with its values."""
    texts: Texts = {Sampler: describe, Aggregator | None: describe_aggregator}
    rows = {row.name: row for row in options_of(probe, texts) if row.name not in FIXED}
    draws = probe.train.sampler.count if isinstance(probe.train.sampler, Drawn) else None
    first = [rows.pop(f"{side}.sampler")._replace(name=side, meaning=BESIDE[side]) for side in ("train", "test")]
    beside = {"agg": rows.pop("train.agg"), "layers": rows.pop("train.layer")}
    del rows["test.agg"], rows["test.layer"]
    if probe.kind == "recognition" and probe.train.reduce == "clip":
        first += [row._replace(name=name, type="text", meaning=BESIDE[name]) for name, row in beside.items()]
    first.append(FieldOption("both", " | ".join(PERTURBATIONS), "", "", BESIDE["both"]))
    if draws is not None:
        first.append(FieldOption("draws", "whole number", str(draws), "at least 0", BESIDE["draws"]))
    return [*first, *rows.values()]


def _paths(probe: Probe[Any, Any], key: str, value: str, text: str) -> Mapping[str, str]:
    """The fields, by their paths, that an option sets, and to what."""
    assert is_dataclass(probe)
    known = [*BESIDE, *(f.name for f in fields(probe) if f.init and f.name not in (*FIXED, *BESIDE))]
    if key.partition(".")[0] not in known or not value:
        near = nearest(key, known) if key not in known else ""
        missing = f"no value of {key!r}" if key in known else f"no option {key!r}{near}"
        raise UserError(f"{text}: {missing}; options are written +name=value, of {', '.join(known)}")
    if key == "both":
        raise UserError(f"{text}: both={value}{nearest(value, PERTURBATIONS)}; there are {', '.join(PERTURBATIONS)}")
    if key in ("agg", "layers"):
        return {f"{side}.{key.rstrip('s')}": value for side in ("train", "test")}
    if key == "draws":
        return _draws(probe.train, value, text)
    return {f"{key}.sampler" if isinstance(getattr(probe, key, None), View) else key: value}


def _draws(view: View, value: str, text: str) -> Mapping[str, str]:
    """The fields of a training view with so many stored draws, or with another at every epoch."""
    if not isinstance(view.sampler, Drawn):
        raise UserError(f"{text}: its training draws nothing; `linear/paper` and `attentive/paper` do")
    count = option_text.read(int, value, f"{text}: draws")
    stored = count > 0 and view.reduce == "clip"
    return {"train.sampler.count": value, "train.stored": str(stored).lower()}
