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
from vitascope import tuning
from vitascope.grid import Grid
from vitascope.published_dense import import_dense, open_folder
from vitascope.results import read
from vitascope.table7 import windows
from vitascope.types import Dataset, Example, Fold

pytestmark = pytest.mark.usefixtures("unchecked")
Unpack = Callable[..., Path]
ARCHIVES = {"thumos14": "thumos14", "gtea": "tas_GTEA", "50salads": "tas_50Salads", "breakfast": "tas_Breakfast"}


def some(
    name: str, unpacked: Unpack, train: int, test: int, *, keep: Callable[[Example[Any]], bool] = lambda e: True
) -> Dataset[Any]:
    """The first fold, so many videos of both sides, drawn from those that are to be kept; all where there are fewer."""
    dataset, draw = annotated(name, unpacked(ARCHIVES[name])), np.random.default_rng(0)
    fold, by_id = dataset.folds[0], dataset.by_id()
    sides = []
    for ids, count in ((fold.train, train), (fold.test, test)):
        kept = [i for i in ids if keep(by_id[i])]
        sides.append(tuple(kept[j] for j in np.sort(draw.permutation(len(kept))[:count]).tolist()))
    examples = tuple(by_id[i] for ids in sides for i in ids)
    return replace(dataset, examples=examples, folds=(Fold(name=fold.name, train=sides[0], test=sides[1]),), absent={})


def brief(seconds: float, classes: int = 20) -> Callable[[Example[Any]], bool]:
    """Videos that are no longer and show the first so many classes only."""
    return lambda e: lasting(e) <= seconds and all(s.label < classes for s in e.truth)


def asked(dataset: Dataset[Any], made: Prototypes, folder: Path, tasks: Sequence[str]) -> list[dict[str, float]]:
    """What `evaluate` scores on such features after they came in as files; and that a line of progress was shown."""
    source = made.write(dataset.examples, folder / "npy")
    grid = Grid(made.seconds, made.stride)
    import_dense(open_folder(source, given=grid), dataset, folder / "in", encoder="made/prototypes")
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
    tell = made.actions if dataset.kind == "localisation" else made.labels
    said = [tell(e, made.active(e)) for e in examples]
    return next(iter(probe.score(said, [e.truth for e in examples]).values()))


def test_thumos14_in_brief(unpacked: Unpack, tmp_path: Path) -> None:
    dataset = some("thumos14", unpacked, 40, 15, keep=brief(100.0, classes=8))
    made = Prototypes(20, noise=0.3, stride=0.5)
    task = "localise+width:32+epochs:16+warmup:2+lr:3e-3+ema:0.98"
    (scores,) = asked(dataset, made, tmp_path, [task])
    assert bound(dataset, made, task) > 90
    assert scores["mAP"] > 60


LOCALISE = "localise{}+width:64+epochs:18+warmup:2+lr:1e-3{}"


@pytest.mark.slow
def test_thumos14(unpacked: Unpack, tmp_path: Path) -> None:
    dataset = some("thumos14", unpacked, 45, 30, keep=brief(250.0))
    task, reached, best = LOCALISE.format("", ""), [], 0.0
    for noise in (0.5, 2.0, 4.0):
        made = Prototypes(20, noise)
        best = bound(dataset, made, task)
        (scores,) = asked(dataset, made, tmp_path / str(noise), [task])
        reached.append(scores["mAP"])
    print(reached, best)
    assert best > 95
    assert reached[0] > 0.95 * best
    assert all(low > high + 10 for low, high in pairwise(reached))


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


@pytest.mark.slow
def test_thumos14_with_classes_from_elsewhere(unpacked: Unpack, tmp_path: Path) -> None:
    dataset = some("thumos14", unpacked, 45, 30, keep=brief(250.0))
    made = Prototypes(20, noise=2.0)
    npz, raw = classifier(dataset, tmp_path)
    tasks = [
        LOCALISE.format("", ""),
        LOCALISE.format("/external", f"+scores:{npz}"),
        LOCALISE.format("/external", f"+scores:{raw}+softmax:true"),
    ]
    alone, sure, softened = (scores["mAP"] for scores in asked(dataset, made, tmp_path / "x", tasks))
    print(alone, sure, softened)
    assert sure > alone
    assert softened > alone


DISHES = ("cereals", "coffee", "milk")
SEGMENT = {
    # videos of the first split to train and to test; options; deviations of the noise
    "gtea": ((21, 7), "segment+width:32+epochs:16+lr:2e-3", (0.5, 4.0, 8.0)),
    "50salads": ((40, 10), "segment+width:32+every:8+epochs:8+lr:2e-3", (0.5, 4.0, 8.0)),
    "breakfast": ((60, 20), "segment+width:64+every:2+epochs:10+lr:1e-3", (0.5, 4.0, 8.0)),
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
    print(name, reached, best)
    assert best > 95
    assert reached[0] > 0.9 * best
    assert all(low > high + 5 for low, high in pairwise(reached))
