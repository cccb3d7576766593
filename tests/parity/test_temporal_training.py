"""Heads learn real annotations from features that carry them; a classifier from elsewhere helps, noise hinders."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import vitascope
from prototypes import Prototypes, annotated, lasting
from vitascope.core.types import Dataset, Example, Fold, Timeline
from vitascope.evaluation.results import read
from vitascope.features.imports.npy_folder import import_npy_folder, open_folder
from vitascope.features.imports.time_grid import FeatureGrid
from vitascope.probes import options as tuning
from vitascope.probes.temporal.twlv1_table7 import windows

pytestmark = pytest.mark.usefixtures("unchecked")
Unpack = Callable[..., Path]
Choice = Callable[[Example[Any]], bool]
TWINS = {4, 7}
"""Classes of THUMOS14: every cliff dive is marked as a dive too."""
ARCHIVES = {"thumos14": "thumos14", "gtea": "tas_GTEA", "50salads": "tas_50Salads", "breakfast": "tas_Breakfast"}


def some(
    name: str, unpacked: Unpack, train: int, test: int, *, keep: Choice, ask: Choice = lambda e: True
) -> Dataset[Any]:
    """The first fold: so many videos of both sides, evenly from those to keep and to ask of, or all of them.

    None is tested that shows a class without a training video.
    """
    dataset = annotated(name, unpacked(ARCHIVES[name]))
    fold, by_id = dataset.folds[0], dataset.by_id()
    sides = [evenly([i for i in fold.train if keep(by_id[i])], train)]
    trained = {label for i in sides[0] for label in labels(by_id[i])}
    sides.append(
        evenly([i for i in fold.test if keep(by_id[i]) and ask(by_id[i]) and labels(by_id[i]) <= trained], test)
    )
    examples = tuple(by_id[i] for ids in sides for i in ids)
    return replace(
        dataset, examples=examples, folds=(Fold(name=fold.name, train=sides[0], test=sides[1]),), missing_files={}
    )


def of_one_class(example: Example[Any]) -> bool:
    """Whether a video shows one class only, or a cliff dive, which is a dive too."""
    return len(labels(example)) == 1 or labels(example) == TWINS


def brief(seconds: float, classes: int = 20) -> Choice:
    """Videos that are no longer and show the first so many classes only."""
    return lambda e: lasting(e) <= seconds and all(s.label < classes for s in e.truth)


def evenly(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of `ids`, from the first to the last."""
    return tuple(ids[j] for j in dict.fromkeys(np.linspace(0, len(ids) - 1, count).astype(int).tolist()))


def labels(example: Example[Any]) -> set[int]:
    """The classes in a video."""
    truth = example.truth
    return {label for label, _ in truth.runs} if isinstance(truth, Timeline) else {s.label for s in truth}


def asked(dataset: Dataset[Any], made: Prototypes, folder: Path, tasks: Sequence[str]) -> list[dict[str, float]]:
    """What `evaluate` scores on such features after they came in as files; and that a line of progress was shown."""
    source = made.write(dataset.examples, folder / "npy")
    grid = FeatureGrid(made.seconds, made.stride)
    import_npy_folder(open_folder(source, grid=grid), dataset, folder / "in", encoder="made/prototypes")
    given = [word for task in tasks for word in ("-t", task)]
    done = vitascope("evaluate", folder / "in", *given, "-o", folder / "run")
    assert all(f"{task}: made/prototypes on {dataset.name} · " in done.stderr for task in tasks)
    results = read(folder / "run")
    assert [r.probe for r in results] == list(tasks)
    return [{name: score.value for name, score in r.scores.items()} for r in results]


def bound(dataset: Dataset[Any], made: Prototypes, task: str) -> float:
    """The score of the truth as far as clips tell it: at their middles, without noise."""
    probe = tuning.probe(task, dataset.family)
    examples = [dataset.by_id()[i] for i in dataset.folds[0].test]
    tell = made.actions if dataset.kind == "localization" else made.labels
    said = [tell(e, made.active(e)) for e in examples]
    return next(iter(probe.score(said, [e.truth for e in examples]).values()))


def test_thumos14_in_brief(unpacked: Unpack, tmp_path: Path) -> None:
    dataset = some("thumos14", unpacked, 40, 15, keep=brief(100.0, classes=8))
    made = Prototypes(20, noise=0.3, stride=0.5)
    task = "localize+width=32+epochs=16+warmup=2+lr=3e-3+ema=0.98"
    (scores,) = asked(dataset, made, tmp_path, [task])
    assert bound(dataset, made, task) > 90
    assert scores["mAP"] > 70, scores


def classifier(dataset: Dataset[Any], folder: Path) -> tuple[Path, Path]:
    """Files of somebody who knows what each video is of: probabilities, and numbers that want a softmax."""
    draw, folder = np.random.default_rng(0), folder / "scores"
    folder.mkdir()
    present = {e.id: np.isin(range(20), [s.label for s in e.truth]) for e in dataset.examples}
    sure = {i: np.where(here, 0.9, draw.uniform(0, 0.1, 20)) for i, here in present.items()}
    np.savez(folder / "sure.npz", **sure)
    raw = {
        i: dict(zip(dataset.classes, np.where(here, 6.0, draw.normal(0, 1, 20)).tolist(), strict=True))
        for i, here in present.items()
    }
    (folder / "raw.json").write_text(json.dumps(raw), encoding="utf-8")
    return folder / "sure.npz", folder / "raw.json"


LOCALIZE = "localize{}+width=64+epochs=14+warmup=2+lr=1e-3{}"


@pytest.mark.slow
def test_thumos14_alone_and_with_classes_from_elsewhere(unpacked: Unpack, tmp_path: Path) -> None:
    dataset = some("thumos14", unpacked, 45, 30, keep=brief(250.0), ask=of_one_class)
    npz, raw = classifier(dataset, tmp_path)
    alone = LOCALIZE.format("", "")
    outside = [LOCALIZE.format("/external", f"+scores={end}") for end in (npz, f"{raw}+softmax=true")]
    tasks, best = {0.5: [alone], 2.0: [alone, *outside], 4.0: [alone]}, bound(dataset, Prototypes(20, 0.0), alone)
    reached = {
        noise: [scores["mAP"] for scores in asked(dataset, Prototypes(20, noise), tmp_path / str(noise), given)]
        for noise, given in tasks.items()
    }
    said = f"{reached}, at best {best}"
    assert best > 95
    assert reached[0.5][0] > 0.9 * best, said
    assert all(low[0] > high[0] + 10 for low, high in pairwise(reached.values())), said
    assert all(score > reached[2.0][0] for score in reached[2.0][1:]), said


DISHES = ("cereals", "coffee", "milk")
SEGMENT = {
    # videos of the first split to train and to test; options; deviations of the noise
    "gtea": ((21, 7), "segment+width=32+epochs=16+lr=2e-3", (0.5, 4.0, 8.0)),
    "50salads": ((40, 10), "segment+width=32+frame_stride=8+epochs=12+lr=2e-3", (0.5, 8.0, 32.0)),
    "breakfast": ((60, 20), "segment+width=64+frame_stride=2+epochs=10+lr=1e-3", (0.5, 8.0, 32.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENT)
def test_labels_of_every_frame(name: str, unpacked: Unpack, tmp_path: Path) -> None:
    (train, test), task, noises = SEGMENT[name]
    dataset = some(name, unpacked, train, test, keep=lambda e: name != "breakfast" or e.id.endswith(DISHES))
    seen, reached, best = windows(name), [], 0.0
    for noise in noises:
        made = Prototypes(len(dataset.classes), noise, seconds=seen.seconds, stride=seen.stride)
        best = bound(dataset, made, task)
        (scores,) = asked(dataset, made, tmp_path / str(noise), [task])
        reached.append(scores["mF1"])
    said = f"{reached}, at best {best}"
    assert best > 95
    assert reached[0] > 0.9 * best, said
    assert all(low > high for low, high in pairwise(reached)), said
