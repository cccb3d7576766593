"""Published embeddings: the release layout comes in whole, goes out the same, and what is wrong is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitascope.core.errors import DamagedFileError
from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.datasets.precomputed import open_precomputed
from vitascope.encoders import precomputed
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features import export
from vitascope.features.extract import ExtractionOptions, embed
from vitascope.features.imports import twelvelabs
from vitascope.features.imports.twelvelabs import import_twelvelabs
from vitascope.features.source import load_stored as features
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.sampling.names import MultiClip, Uniform, Views


def release(root: Path, *, split: bool = True, clips: int = 3, label: str = "number", count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = root / ("train" if i % 3 else "val") if split else root
        folder.mkdir(parents=True, exist_ok=True)
        c = rng.standard_normal((clips, 5)).astype(np.float32)
        np.save(folder / f"v{i}_c.npy", c)
        np.save(folder / f"v{i}_v.npy", c.mean(0))
        truth = i % 2 if label == "number" else ("jump", "run")[i % 2]
        times = [[float(j), j + 1.0] for j in range(clips)]
        about = {"annotation": truth, "duration": float(clips), "num_frames": 30 * clips, "clip_times": times}
        (folder / f"v{i}.json").write_text(json.dumps(about))
    return root


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("label", ["number", "name"])
def test_import(tmp_path: Path, split: bool, label: str) -> None:
    made = import_twelvelabs(release(tmp_path / "r", split=split, label=label), tmp_path / "out", encoder="lab/net")
    dataset = open_precomputed(tmp_path / "out")
    assert dataset == made
    assert dataset.cards[0].name == "lab/net"
    assert dataset.classes == (("0", "1") if label == "number" else ("jump", "run"))
    assert len(dataset.folds) == (1 if split else 5)
    if split:
        assert set(dataset.folds[0].test) == {f"v{i}" for i in range(0, 12, 3)}
    clips = Store(tmp_path / "out" / "store", twelvelabs.imported_key(dataset, "clips")).read(["v7"])
    folder = tmp_path / "r" / ("train" if split else "")
    assert np.array_equal(clips.values, np.load(folder / "v7_c.npy").astype(np.float16))
    assert clips.spans.tolist() == [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    video = Store(tmp_path / "out" / "store", twelvelabs.imported_key(dataset, "video")).read(["v7", "v0"])
    assert np.array_equal(video.values[0], np.load(folder / "v7_v.npy").astype(np.float16))


def test_recordings_of_a_release_are_given_by_json_equal_arrays_or_names(tmp_path: Path) -> None:
    root = release(tmp_path / "r", split=False, clips=60)
    for i in (0, 3):
        about = json.loads((root / f"v{i}.json").read_text())
        (root / f"v{i}.json").write_text(json.dumps(about | {"group": "cafe\u0301"}))
    (root / "v5_c.npy").write_bytes((root / "v4_c.npy").read_bytes())
    for end in (".json", "_c.npy", "_v.npy"):
        (root / f"v7{end}").rename(root / f"v6_720p{end}")
    made = import_twelvelabs(root, tmp_path / "out", encoder="lab/net")
    assert open_precomputed(tmp_path / "out") == made
    groups = {e.id: e.group for e in made.examples}
    alone = {i for i, group in groups.items() if group is None}
    assert alone == {f"v{i}" for i in (1, 2, 8, 9, 10, 11)}
    assert groups["v0"] == groups["v3"] == "caf\u00e9"
    assert len({groups["v4"], groups["v6"], groups["v0"]}) == 3
    assert (groups["v4"], groups["v6"]) == (groups["v5"], groups["v6_720p"])
    for fold in made.folds:
        assert not {groups[i] or i for i in fold.train} & {groups[i] or i for i in fold.test}


def test_out_and_in_again(tmp_path: Path) -> None:
    dataset = import_twelvelabs(release(tmp_path / "r"), tmp_path / "one", encoder="lab/net", name="set")
    store = Store(tmp_path / "one" / "store", twelvelabs.imported_key(dataset, "clips"))
    assert export.export(store, dataset, tmp_path / "again", layout="twelvelabs") == 12
    again = import_twelvelabs(tmp_path / "again", tmp_path / "two", encoder="lab/net", name="set")
    assert again.folds == dataset.folds
    ids = [e.id for e in dataset.examples]
    other = Store(tmp_path / "two" / "store", twelvelabs.imported_key(again, "clips"))
    assert np.array_equal(other.read(ids).values, store.read(ids).values)
    assert np.array_equal(other.read(ids).spans, store.read(ids).spans)


def test_npy_and_parquet(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    dataset = import_twelvelabs(release(tmp_path / "r"), tmp_path / "one", encoder="lab/net")
    store = Store(tmp_path / "one" / "store", twelvelabs.imported_key(dataset, "clips"))
    export.export(store, dataset, tmp_path / "npy", layout="npy")
    assert np.array_equal(np.load(tmp_path / "npy" / "v4.npy"), store.read(["v4"]).values)
    export.export(store, dataset, tmp_path / "pq", layout="parquet")
    table = pq.read_table(tmp_path / "pq" / "embeddings.parquet").to_pydict()
    rows = [i for i, name in enumerate(table["id"]) if name == "v4"]
    assert np.array_equal(np.array([table["vector"][i] for i in rows], np.float16), store.read(["v4"]).values)
    assert [table["clip"][i] for i in rows] == [0, 1, 2]
    with pytest.raises(ValueError, match="already exists"):
        export.export(store, dataset, tmp_path / "npy", layout="npy")


def test_names_of_exported_files_are_short_and_different() -> None:
    names = ["a/b.mp4", "a__b.mp4", "a__b.mp4x", "n" * 249, "n" * 248 + "m", "видео_映像_🎬" * 20]
    files = [export.file_name(n) for n in names]
    assert len(set(files)) == len(files)
    assert all(len(f.encode()) < 200 and "/" not in f for f in files)


def broken(root: Path, what: str) -> str:
    folder = root / "train"
    if what == "nan":
        values = np.load(folder / "v1_c.npy")
        values[1, 2] = np.nan
        np.save(folder / "v1_c.npy", values)
        return "v1_c.npy: 1 of 15 values are NaN"
    if what == "pickle":
        np.save(folder / "v1_c.npy", np.array([{}], dtype=object), allow_pickle=True)
        return "v1_c.npy: not a NumPy array"
    if what == "dim":
        np.save(folder / "v2_c.npy", np.zeros((3, 7), np.float32))
        return "v2.json: clip vectors of dimension 7, but video vector of 5"
    if what == "other dim":
        np.save(folder / "v2_c.npy", np.zeros((3, 7), np.float32))
        np.save(folder / "v2_v.npy", np.zeros(7, np.float32))
        return "v2.json: vectors of dimension 7, but 5 elsewhere"
    if what == "json":
        (folder / "v1.json").write_text("{")
        return "v1.json: invalid JSON"
    if what == "label":
        (folder / "v1.json").write_text('{"anotation": 1}')
        return "no label under 'annotation'; did you mean 'anotation'?"
    (folder / "v1_c.npy").unlink()
    (folder / "v1_v.npy").unlink()
    return "neither v1_c.npy nor v1_v.npy"


@pytest.mark.parametrize("what", ["nan", "pickle", "dim", "other dim", "json", "label", "gone"])
def test_a_broken_release_is_rejected_and_nothing_is_left(tmp_path: Path, what: str) -> None:
    message = broken(release(tmp_path / "r"), what)
    with pytest.raises(ValueError) as caught:
        import_twelvelabs(tmp_path / "r", tmp_path / "out", encoder="lab/net")
    assert message in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_one_name_in_both_folders_is_two_videos(tmp_path: Path) -> None:
    root = release(tmp_path / "r")
    for suffix in (".json", "_c.npy", "_v.npy"):
        (root / "val" / f"v0{suffix}").rename(root / "val" / f"v1{suffix}")
    dataset = import_twelvelabs(root, tmp_path / "out", encoder="lab/net")
    assert len({e.id for e in dataset.examples}) == 12
    assert ("train/v1" in dataset.folds[0].train, "val/v1" in dataset.folds[0].test) == (True, True)
    stored = Store(Path(dataset.store), twelvelabs.imported_key(dataset, "video")).read(["train/v1", "val/v1"])
    both = [np.load(root / side / "v1_v.npy").astype(np.float16) for side in ("train", "val")]
    assert np.array_equal(stored.values, both)


def relabel(root: Path, names: tuple[object, object], **more: object) -> Path:
    for i, path in enumerate(sorted(root.rglob("*.json"))):
        path.write_text(json.dumps({"annotation": names[i % 2], "duration": 3.0, **more}))
    return root


def test_numeric_labels_that_are_no_class_indices(tmp_path: Path) -> None:
    root = relabel(release(tmp_path / "r", split=False), (3, 4 * 10**12))
    assert import_twelvelabs(root, tmp_path / "big", encoder="a/b").classes == ("3", "4000000000000")
    assert import_twelvelabs(relabel(root, ("²", "³")), tmp_path / "odd", encoder="a/b").classes == ("²", "³")
    from_one = import_twelvelabs(relabel(root, (1, 2)), tmp_path / "one", encoder="a/b")
    assert from_one.classes == ("0", "1", "2")
    assert len(from_one.folds) == 5


@pytest.mark.parametrize("duration", ["long", [1, 2]])
def test_an_invalid_duration_is_named(tmp_path: Path, duration: object) -> None:
    root = relabel(release(tmp_path / "r"), (0, 1), duration=duration)
    with pytest.raises(ValueError, match=r"\.json: duration .* is not a number of seconds"):
        import_twelvelabs(root, tmp_path / "out", encoder="a/b")


def test_examples_in_no_split_are_not_exported_as_training(tmp_path: Path) -> None:
    root = release(tmp_path / "r")
    (root / "test").mkdir()
    for path in [*root.glob("train/v1*"), *root.glob("train/v2*")]:
        path.rename(root / "test" / path.name)
    dataset = import_twelvelabs(root, tmp_path / "one", encoder="lab/net")
    assert not {"v0", "v3"} & {*dataset.folds[0].train, *dataset.folds[0].test}
    store = Store(Path(dataset.store), twelvelabs.imported_key(dataset, "clips"))
    export.export(store, dataset, tmp_path / "again", layout="twelvelabs")
    again = import_twelvelabs(tmp_path / "again", tmp_path / "two", encoder="lab/net")
    assert set(again.folds[0].train) == set(dataset.folds[0].train)
    assert set(again.folds[0].test) == set(dataset.folds[0].test)


def test_class_names_can_be_given(tmp_path: Path) -> None:
    names = ("jump", "run", "swim")
    dataset = import_twelvelabs(release(tmp_path / "r"), tmp_path / "out", encoder="lab/net", classes=names)
    assert dataset.classes == names
    with pytest.raises(ValueError, match="is not among the 1 classes"):
        import_twelvelabs(tmp_path / "r", tmp_path / "x", encoder="lab/net", classes=("jump",))


def test_evaluation_needs_no_videos_and_accepts_no_other_encoder(tmp_path: Path) -> None:
    import_twelvelabs(release(tmp_path / "r"), tmp_path / "out", encoder="lab/net")
    opened = open_precomputed(tmp_path / "out")
    by_path = evaluate(tmp_path / "out", [], ["knn", "linear"], config=EvaluationConfig(run=tmp_path / "one"))
    by_value = evaluate(opened, [], ["knn", "linear"], config=EvaluationConfig(run=tmp_path / "two"))
    assert [r.scores for r in by_value] == [r.scores for r in by_path]
    assert [r.n for r in by_value] == [4, 4]
    assert evaluate(opened, ["lab/net"], ["knn"], config=EvaluationConfig(run=tmp_path / "one")) == by_path[:1]
    for other in ("pixels/thumbnail", replace(opened.cards[0], name="lab/other")):
        with pytest.raises(ValueError, match="has embeddings by lab/net only, not by"):
            evaluate(opened, [other], ["knn"], config=EvaluationConfig(run=tmp_path / "three"))


CARD = Card(
    name="lab/net",
    digest="",
    dim=5,
    frames=0,
    size=0,
    mean=(0, 0, 0),
    std=(1, 1, 1),
    pretraining_datasets=frozenset({"mine"}),
)


def own_videos(*, ids: str = "folder/v{}.mp4", count: int = 12) -> Dataset[int]:
    """Videos that somebody has under names of their own; nothing of them is read."""
    examples = tuple(Example(id=ids.format(i), path="", truth=i % 2) for i in range(count))
    fold = Fold(name="split", train=tuple(e.id for e in examples[:8]), test=tuple(e.id for e in examples[8:]))
    return Dataset(name="mine", examples=examples, classes=("jump", "run"), folds=(fold,))


def test_published_vectors_are_an_encoder_of_ones_own_videos(tmp_path: Path) -> None:
    encoder = precomputed.release(CARD, release(tmp_path / "r"))
    dataset = own_videos(count=13)
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store")
    (result,) = evaluate(dataset, [encoder], ["knn"], config=config)
    assert (result.encoder, result.n, result.in_pretraining_data) == ("lab/net", 4, True)
    assert list(result.missing) == ["folder/v12.mp4"]
    assert "not among the 12 published" in result.missing["folder/v12.mp4"]
    for sampler, end, shape in ((Uniform(), "v", (1, 5)), (MultiClip(2.0), "c", (3, 5))):
        view = View(sampler)
        embed(encoder, dataset, [view], root=tmp_path / "store", options=ExtractionOptions())
        there = features(dataset, encoder.card, view, ids=["folder/v3.mp4"], root=tmp_path / "store")
        expected = np.load(tmp_path / "r" / "val" / f"v3_{end}.npy").reshape(shape)
        assert np.array_equal(there.values, expected.astype(np.float16).astype(np.float32))


def test_published_vectors_serve_only_their_own_views(tmp_path: Path) -> None:
    encoder = precomputed.release(CARD, release(tmp_path / "r"))
    where = {"root": tmp_path / "store", "options": ExtractionOptions()}
    with pytest.raises(ValueError, match="no published vectors for view views:3x4"):
        embed(encoder, own_videos(), [View(Views(3, 4))], **where)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no published vectors for any of 12 videos"):
        embed(encoder, own_videos(ids="x{}"), [View(Uniform())], **where)  # type: ignore[arg-type]
    twice = own_videos()
    twice = replace(twice, examples=(*twice.examples, replace(twice.examples[0], id="other/v0.mp4")))
    with pytest.raises(ValueError, match="both match v0"):
        embed(encoder, twice, [View(Uniform())], **where)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vectors of dimension 5, but lab/net has 7"):
        precomputed.release(replace(CARD, dim=7), tmp_path / "r")
    with pytest.raises(ValueError, match="only the videos of the release below"):
        encoder(None)


@pytest.mark.parametrize(
    ("truth", "line"),
    [(True, "expected a whole number or a list, not true"), ("a", 'expected a whole number or a list, not "a"')],
)
def test_a_label_that_is_none(tmp_path: Path, truth: object, line: str) -> None:
    import_twelvelabs(release(tmp_path / "r"), tmp_path / "out", encoder="lab/net")
    path = tmp_path / "out" / "dataset.json"
    data = json.loads(path.read_text())
    data["examples"][1][1] = truth
    path.write_text(json.dumps(data))
    with pytest.raises(DamagedFileError, match=re.escape(f"examples: [1][1]: {line}")):
        open_precomputed(tmp_path / "out")
