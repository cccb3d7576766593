"""Somebody's own folder: what is found in it, how it is divided, and what is said when it does not fit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example
from vitascope.datasets.builders.folder import build
from vitascope.datasets.splits import check_labels, limit_examples, make_folds


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def manifest(root: Path, text: str, *names: str) -> Path:
    touch(root, *names)
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.MP4", "b/2.webm", "a/x y's.mkv", "a/z.mov", "a/notes.txt", "a/.hidden.mp4", "b/frames/1.jpg")
    dataset = build(str(tmp_path))
    assert dataset.classes == ("a", "b")
    assert [e.id for e in dataset.examples] == ["a/x y's.mkv", "a/z.mov", "b/1.MP4", "b/2.webm", "b/frames"]
    assert [e.truth for e in dataset.examples] == [0, 0, 1, 1, 1]
    assert len(dataset.folds) == 2


def test_split_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "Validation/a/3.mp4", "Validation/b/4.mp4")
    (fold,) = build(str(tmp_path)).folds
    assert fold.train == ("train/a/1.mp4", "train/b/2.mp4")
    assert fold.test == ("Validation/a/3.mp4", "Validation/b/4.mp4")


def test_manifest_with_everything(tmp_path: Path) -> None:
    text = (
        "\ufeffpath,label,split,start,end,group,fps\n"
        '"odd, name.mp4",jump,train,0,2.5,g1,\n'
        '"odd, name.mp4",run,train,2.5,,g1,\n'
        "sub/../b.mp4,jump,val,,,g2,12\n"
        "gone.mp4,run,val,,,g2,\n"
    )
    dataset = build(str(manifest(tmp_path, text, "odd, name.mp4", "b.mp4")))
    first, second, third, fourth = dataset.examples
    assert (first.id, first.span, first.group) == ("odd, name.mp4#0-2.5", (0.0, 2.5), "g1")
    assert second.span == (2.5, float("inf"))
    assert (third.id, third.fps, third.path) == ("b.mp4", 12.0, str(tmp_path / "b.mp4"))
    assert dataset.missing_files == {fourth.id: "no such file"}


def test_a_manifest_in_another_encoding_is_named(tmp_path: Path) -> None:
    (touch(tmp_path, "a.mp4") / "manifest.csv").write_bytes("path,label\na.mp4,\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.csv: not UTF-8 .* save it as UTF-8"):
        build(str(tmp_path))


def test_a_manifest_that_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.csv:2: invalid CSV .*field larger"):
        build(str(manifest(tmp_path, f"path,label\n{'a' * 200_000},x\n")))


def test_spans_late_in_a_long_video_keep_their_own_names(tmp_path: Path) -> None:
    spans = [(10000.25 + 0.125 * i, 10000.375 + 0.125 * i) for i in range(4)]
    lines = [f"{name}.mp4,{'xy'[i % 2]},{start},{end}" for name in "ab" for i, (start, end) in enumerate(spans)]
    dataset = build(str(manifest(tmp_path, "\n".join(["path,label,start,end", *lines]), "a.mp4", "b.mp4")))
    assert [e.span for e in dataset.examples] == [*spans, *spans]
    assert dataset.examples[0].id == "a.mp4#10000.25-10000.375"


BAD = {
    "": "no videos",
    "path,label\n": "no videos",
    "paths,label\na,b\n": "no column 'path'; did you mean 'paths'?",
    "path,label\na.mp4,\n": "manifest.csv:2: path and label must not be empty",
    "path,label\na.mp4,x\nb.mp4,x\n": "only one class, 'x'",
    "path,label\n../a.mp4,x\nb.mp4,y\n": "manifest.csv:2: '../a.mp4' is outside",
    "path,label\n/etc/passwd,x\nb.mp4,y\n": "'/etc/passwd' is outside",
    "path,label,split\na.mp4,x,trian\nb.mp4,y,val\n": "split 'trian'; did you mean 'train'?",
    "path,label,split\na.mp4,x,train\nb.mp4,y,\n": "'b.mp4' has no split but others do",
    "path,label,split\na.mp4,x,train\nb.mp4,y,train\n": "no example is in split 'val'",
    "path,label,split\na.mp4,x,train\nb.mp4,y,val\n": "1 label(s) in test but not in training (train/val): 'y'",
    "path,label,start,end\na.mp4,x,3,2\nb.mp4,y,0,1\n": "end 2 is not after start 3",
    "path,label,start,end\na.mp4,x,soon,2\nb.mp4,y,0,1\n": "start 'soon' is not a number",
    "path,label\na.mp4,x\na.mp4,y\n": "'a.mp4' is listed twice",
    "path,label\nc.mp4,x\nd.mp4,y\n": "none of the 2 listed videos exists",
    "path,label\na.mp4,x\nb.mp4,y\n": "class 'x' has a single example or group",
    "path,label,split,group\na.mp4,x,train,g\nb.mp4,x,val,g\nc.mp4,y,train,h\n": "group 'g' is in both training",
}


@pytest.mark.parametrize("text", BAD, ids=list(BAD.values()))
def test_what_does_not_fit_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    root = manifest(tmp_path, text, "a.mp4", "b.mp4") if text else tmp_path
    with pytest.raises(ValueError) as caught:
        build(str(root))
    assert BAD[text] in str(caught.value)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        build(str(tmp_path / "nothing"))


def test_a_name_that_no_table_can_hold_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "b/2.mp4")
    os.rename(tmp_path / "a" / "1.mp4", os.fsencode(tmp_path / "a") + b"/\xff.mp4")
    with pytest.raises(ValueError, match="is not UTF-8; rename the file"):
        build(str(tmp_path))


def test_two_folders_of_one_name_do_not_share_vectors(tmp_path: Path) -> None:
    roots = [touch(tmp_path / p / "videos", "a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4") for p in ("x", "y")]
    one, other = (build(str(r)) for r in roots)
    assert one.name == other.name
    assert one.key != other.key
    here = os.getcwd()
    os.chdir(roots[0].parent)
    try:
        assert build("videos").key == one.key
    finally:
        os.chdir(here)


def examples(labels: list[int], groups: list[int] | None) -> list[Example[int]]:
    return [
        Example(id=str(i), path="", truth=t, group=None if groups is None else str(groups[i]))
        for i, t in enumerate(labels)
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_folds_cover_everything_once_and_never_part_a_group(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 4))
    groups_each = data.draw(st.integers(2, 6))
    labels = [c for c in range(classes) for _ in range(3 * groups_each)]
    groups = [c * groups_each + i % groups_each for c in range(classes) for i in range(3 * groups_each)]
    items = examples(labels, groups)
    folds = make_folds(items, [""] * len(items), [str(c) for c in range(classes)], where="here")
    assert len(folds) == min(5, groups_each)
    tested = [i for f in folds for i in f.test]
    assert sorted(tested, key=int) == [e.id for e in items]
    for fold in folds:
        assert not {groups[int(i)] for i in fold.train} & {groups[int(i)] for i in fold.test}
        assert {labels[int(i)] for i in fold.test} <= {labels[int(i)] for i in fold.train}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.booleans())
def test_a_limit_is_kept_and_leaves_every_test_label_trained(count: int, split: bool) -> None:
    labels = [i % 4 for i in range(120)]
    items = examples(labels, None)
    names = ["train" if i < 60 else "val" for i in range(120)] if split else [""] * 120
    folds = make_folds(items, names, "abcd", where="here")
    whole = Dataset(name="d", examples=tuple(items), classes=tuple("abcd"), folds=folds)
    embedded = {e.id for e in limit_examples(whole, count, evaluated=False).examples}
    assert len(embedded) == min(count, 120)
    try:
        cut = limit_examples(whole, count)
    except ValueError as error:
        assert "--limit" in str(error)
        assert count < 16
        return
    assert {e.id for e in cut.examples} <= embedded
    assert cut.digest != whole.digest or count >= 120
    for fold in cut.folds:
        assert {labels[int(i)] for i in fold.test} <= {labels[int(i)] for i in fold.train}


def test_a_mistyped_path_names_the_folder_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "actions").mkdir()
    monkeypatch.chdir(tmp_path)
    places = ((tmp_path / "action", "actions"), ("action", "actions"), ("epic/actoin", "epic/action"), ("k40", "k400"))
    for typed, meant in places:
        with pytest.raises(UserError, match=f"no such folder; did you mean '{meant}'"):
            build(str(typed), names=["epic/action", "k400"])


def test_groups_are_dealt_again_where_a_class_would_not_be_trained() -> None:
    found = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        groups, truth = rng.integers(0, 6, 24), rng.integers(0, 4, 24)
        if min(len(set(groups[truth == c])) for c in range(4)) != 2:
            continue
        examples = [Example(id=str(i), path="", truth=int(t), group=str(groups[i])) for i, t in enumerate(truth)]
        folds = make_folds(examples, [""] * 24, "abcd", where="here")
        check_labels(examples, folds, "abcd", where="here")
        assert sorted(i for fold in folds for i in fold.test) == sorted(e.id for e in examples)
        found += 1
    assert found > 5
