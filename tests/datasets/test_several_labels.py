"""Videos with several labels: how lists give them, what stays a name, folds and subsets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitascope.core.types import Card, Dataset, Example
from vitascope.datasets import precomputed
from vitascope.datasets.builders.folder import build
from vitascope.datasets.label_sets import is_multilabel
from vitascope.datasets.splits import limit_examples, low_shot, make_folds
from vitascope.datasets.summary import describe

NAMES = [f"{c}.mp4" for c in "abcdef"]


def folder(root: Path, text: str, name: str = "manifest.csv") -> str:
    for i, video in enumerate(NAMES):
        (root / video).write_bytes(bytes([i]) * 2000)
    (root / name).write_text(text, encoding="utf-8")
    return str(root)


def labels(dataset: Dataset) -> dict[str, list[str]]:
    return {e.id[0]: [dataset.classes[c] for c in e.truth] for e in dataset.examples}


def lines(header: str, *cells: str) -> str:
    return "\n".join([header, *(f"{name},{cell}" for name, cell in zip(NAMES, cells, strict=False))]) + "\n"


def test_bars_separate_labels_that_recur(tmp_path):
    dataset = build(folder(tmp_path, lines("path,label", "run|jump", "jump", "run| run |", "walk|run", "walk", "jump")))
    assert is_multilabel(dataset)
    assert labels(dataset) == {
        "a": ["jump", "run"], "b": ["jump"], "c": ["run"], "d": ["run", "walk"], "e": ["walk"], "f": ["jump"],
    }  # fmt: skip
    assert "call the column `class`" in dataset.notes[0]
    assert "several per example (mean 1.3, at most 2), scored by mAP, of 3 classes" in describe(dataset)[1]


def test_a_bar_in_a_name_stays(tmp_path):
    cells = ("push|pull", "push|pull", "open (door|lid)", "open (door|lid)")
    dataset = build(folder(tmp_path, lines("path,label", *cells)))
    assert not is_multilabel(dataset)
    assert dataset.classes == ("open (door|lid)", "push|pull")
    assert "call the column `labels`" in dataset.notes[0]


def test_the_column_decides(tmp_path):
    cells = ("run|jump", "run|jump", "run", "run")
    exact = build(folder(tmp_path, lines("path,class", *cells)))
    assert exact.classes == ("run", "run|jump")
    assert [e.truth for e in exact.examples] == [1, 1, 0, 0]
    several = build(folder(tmp_path, lines("path,labels", "run", "", "jump", "run", "jump")))
    assert [e.truth for e in several.examples] == [(1,), (), (0,), (1,), (0,)]
    assert "1 have none" in describe(several)[1]


def test_lists_in_json_lines(tmp_path):
    given = [["b|c", "a"], [], ["a"], "b|c"]
    rows = [json.dumps({"file_name": name, "label": of}) for name, of in zip(NAMES, given, strict=False)]
    dataset = build(folder(tmp_path, "\n".join(rows), "metadata.jsonl"))
    assert dataset.classes == ("a", "b|c")
    assert [e.truth for e in dataset.examples] == [(0, 1), (), (0,), (1,)]


def test_repeated_lines(tmp_path):
    text = "path,label,split\n" + "".join(
        f"{name},{label},{split}\n"
        for name, label, split in [
            ("a.mp4", "x", "train"), ("b.mp4", "y", "train"), ("a.mp4", "y", "train"), ("c.mp4", "x", "test"),
            ("c.mp4", "y", "test"), ("c.mp4", "y", "test"),
        ]
    )  # fmt: skip
    dataset = build(folder(tmp_path, text))
    assert [e.truth for e in dataset.examples] == [(0, 1), (1,), (0, 1)]
    assert "6 lines are 3 videos" in dataset.notes[0]
    with pytest.raises(ValueError, match="differ in split, 'train' and 'test'"):
        build(folder(tmp_path, text + "b.mp4,x,test\n"))


def test_a_single_repetition_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match=r"'a.mp4' is listed twice, as 'x' and 'y'; remove one.*column `labels`"):
        build(folder(tmp_path, "path,label\na.mp4,x\nb.mp4,y\nc.mp4,x\nd.mp4,y\na.mp4,y\n"))


def test_numbers_behind_a_path(tmp_path):
    dataset = build(folder(tmp_path, "a.mp4 3 17\nb.mp4 3\nc.mp4 17\nd.mp4 3 4\ne.mp4 4\n", "list.txt") + "/list.txt")
    assert dataset.classes == ("17", "3", "4")
    assert [e.truth for e in dataset.examples] == [(0, 1), (1,), (0,), (1, 2), (2,)]


def test_bars_behind_a_path_with_folders(tmp_path):
    (tmp_path / "in").mkdir()
    root = folder(tmp_path / "in", "")
    (tmp_path / "list.txt").write_text(
        "".join(f"in/{n} {c}\n" for n, c in zip(NAMES, ["u|v", "u", "v", "v|u"], strict=False))
    )
    assert [e.truth for e in build(f"{Path(root).parent}/list.txt").examples] == [(0, 1), (0,), (1,), (0, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines("path,labels", "run", "run", "run"), "only one class, 'run'"),
        (lines("path,labels", '""', '""'), "no example has a label"),
        (lines("path,labels", "run|jump", "run", "run"), "class 'jump' has a single example"),
        (lines("path,labels,split", "x|y,train", "x,train", "x|z,test"), "1 label\\(s\\) in test but not in training"),
    ],
)
def test_what_cannot_be_used(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        build(folder(tmp_path, text))


def several(n: int = 200, classes: int = 6, groups: int = 0, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    truth = rng.random((n, classes)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.04]
    examples = tuple(
        Example(
            id=f"v{i:03}",
            path="",
            truth=tuple(np.flatnonzero(row).tolist()),
            group=f"g{i % groups}" if groups else None,
        )
        for i, row in enumerate(truth)
    )
    names = tuple("abcdef")
    folds = make_folds(examples, [""] * n, names, where="here")
    return Dataset(name="d", examples=examples, classes=names, folds=folds)


@pytest.mark.parametrize("groups", [0, 40])
def test_folds_are_stratified_and_whole(groups):
    data = several(groups=groups)
    by_id = data.by_id()
    total = Counter(c for e in data.examples for c in e.truth)
    assert sorted(i for f in data.folds for i in f.test) == sorted(by_id)
    for fold in data.folds:
        if groups:
            assert not {by_id[i].group for i in fold.train} & {by_id[i].group for i in fold.test}
        counts = Counter(c for i in fold.test for c in by_id[i].truth)
        assert all(abs(counts[c] - n / 5) <= max(3, 0.35 * n / 5) for c, n in total.items())
        assert abs(len(fold.test) - 40) <= 12


def test_low_shot_has_enough_of_every_class_and_nests():
    data, drawn = several(), []
    for fraction in ("2-shot", "4-shot", "5%", "20%"):
        (fold, *_) = data.folds
        drawn.append(set(low_shot(replace(data, train_fraction=fraction), fold, 0).train))
    by_id = data.by_id()
    assert drawn[0] <= drawn[1]
    assert drawn[2] <= drawn[3]
    assert min(Counter(c for i in drawn[1] for c in by_id[i].truth).values()) >= 4
    assert 0.15 < len(drawn[3]) / len(data.folds[0].train) < 0.25


def test_a_limit_leaves_every_test_label_trained():
    data = limit_examples(several(), 40)
    truth = {e.id: set(e.truth) for e in data.examples}
    assert len(truth) <= 40
    for fold in data.folds:
        assert set.union(*(truth[i] for i in fold.test)) <= set.union(*(truth[i] for i in fold.train))


def test_a_file_keeps_them(tmp_path):
    card = Card(name="e", digest="", dim=1, frames=1, size=1, mean=(0, 0, 0), std=(1, 1, 1))
    data = replace(several(20, groups=4), cards=(card,))
    precomputed.write(tmp_path / "dataset.json", data)
    read = precomputed.read(tmp_path / "dataset.json", store=tmp_path)
    assert [e.truth for e in read.examples] == [e.truth for e in data.examples]
