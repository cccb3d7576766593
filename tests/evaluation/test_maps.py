"""Maps: projections are those of their libraries, and what is measured tells pictures from evidence."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import TSNE

from helpers import blob, vitascope, write_video
from vitascope.core.errors import MissingPackageError, UserError
from vitascope.core.types import Dataset, Example, Fold
from vitascope.evaluation.maps import files
from vitascope.evaluation.maps.projections import LDA, check_installed, grouped_folds, held_out_purity, projection
from vitascope.evaluation.maps.selection import Selection, chosen_classes, read_share, selected
from vitascope.evaluation.maps.vectors import scaled
from vitascope.metrics.neighborhoods import purity, survey

RNG = np.random.default_rng(8)
LABELS = np.repeat(np.arange(3), 20)
VECTORS = np.round(64 * (RNG.normal(size=(60, 8)) + 3 * np.eye(8)[LABELS])).astype(np.float32) / 64  # as half precision


def drawn(method: str, vectors: np.ndarray = VECTORS, labels: np.ndarray = LABELS) -> np.ndarray:
    return projection(method)[1](vectors, labels)


def test_projections_are_those_of_scikit_learn() -> None:
    np.testing.assert_array_equal(drawn("pca"), PCA(2, random_state=1212).fit_transform(VECTORS))
    np.testing.assert_array_equal(
        drawn("tsne+perplexity=5"), TSNE(2, perplexity=5, random_state=1212).fit_transform(VECTORS)
    )
    expected = LinearDiscriminantAnalysis(n_components=2).fit(VECTORS, LABELS).transform(VECTORS)
    np.testing.assert_array_equal(drawn("lda"), expected)


def test_two_classes_have_one_discriminant() -> None:
    two = LABELS < 2
    places = drawn("lda", VECTORS[two], LABELS[two])
    first = LinearDiscriminantAnalysis().fit(VECTORS[two], LABELS[two]).transform(VECTORS[two])
    np.testing.assert_allclose(places[:, 0], first[:, 0])


def test_lda_separates_noise_in_its_picture_and_not_held_out() -> None:
    noise, labels = RNG.normal(size=(200, 300)), np.arange(200) % 4
    near = survey(LDA()(noise, labels), 10).nearest.indices
    held_out = held_out_purity(LDA(), noise, labels, np.arange(200), 10)
    assert held_out is not None
    assert purity(near, labels).mean() > 60
    assert held_out.mean() == pytest.approx(25, abs=5)


def test_folds_keep_groups_whole_and_classes_spread() -> None:
    groups = np.repeat(np.arange(30), 2)
    folds = grouped_folds(LABELS, groups)
    assert all(len(set(folds[groups == g])) == 1 for g in range(30))
    assert all(np.bincount(folds[c == LABELS], minlength=5).tolist() == [4] * 5 for c in range(3))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("tsen", "did you mean 'tsne'"),
        ("tsne+perplexity=60", "perplexity 60 needs more points"),
        ("tsne+perplexity=0", "above 0"),
        ("tsne+perplexty=3", "did you mean 'perplexity'"),
        ("opentsne+perplexity=25", "three times as many points"),
        ("umap+neighbors=60", "fewer than points"),
        ("lda+shrinkage=auto", "cannot shrink"),
        ("lda+solver=eigen+shrinkage=2", "from 0 to 1"),
    ],
)
def test_projections_refused(method: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        drawn(method)


@pytest.mark.parametrize(("method", "module"), [("opentsne+perplexity=5", "openTSNE"), ("umap+neighbors=5", "umap")])
def test_projections_of_optional_packages(method: str, module: str) -> None:
    pytest.importorskip(module, reason="an optional package")
    near = survey(drawn(method), 5).nearest.indices
    assert purity(near, LABELS).mean() > 60


@pytest.mark.parametrize(("method", "module"), [("opentsne", "openTSNE"), ("umap", "umap")])
def test_optional_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch, method: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=r"pip install 'vitascope\[maps\]'"):
        check_installed([projection(method)])


def test_lda_of_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="1 class among 60 points"):
        drawn("lda", VECTORS, np.zeros(60, int))


def test_scales() -> None:
    vectors = np.column_stack([VECTORS, np.full(60, 3.0)])
    standardized = scaled(vectors, "standardized")
    np.testing.assert_allclose(standardized.std(0), [1.0] * 8 + [0.0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(scaled(vectors, "unit"), axis=1), 1.0, rtol=1e-6)
    assert scaled(vectors, "raw") is vectors


def dataset(**more: Any) -> Dataset[int]:
    examples = tuple(Example(id=f"v{i}", path="", truth=i % 4) for i in range(40))
    ids = tuple(e.id for e in examples)
    fold = Fold(name="split", train=ids[:20], test=ids[20:])
    return Dataset(name="made", examples=examples, classes=("up", "down", "left", "12"), folds=(fold,), **more)


def ids(**selection: Any) -> list[str]:
    return [e.id for e in selected(dataset(), Selection(**selection))]


def test_selection_by_split_class_and_share() -> None:
    assert ids() == [f"v{i}" for i in range(20, 40)]
    assert len(ids(split="all")) == 40
    assert ids(split="train", classes=("down",)) == [f"v{i}" for i in range(20) if i % 4 == 1]
    assert ids(classes=("1",)) == ids(classes=("down",)), "by number"
    assert ids(classes=("12",)) == ids(classes=("3",)), "a name before a number"
    assert set(ids(exclude=("up", "2"))) == {*ids(classes=("down", "12"))}
    half = selected(dataset(), Selection(split="all", share=0.5))
    assert np.bincount([e.truth for e in half]).tolist() == [5] * 4
    assert half == selected(dataset(), Selection(split="all", share=0.5)) != list(dataset().examples[:20])
    assert len(chosen_classes(dataset(), Selection(random_classes=2))) == 2
    assert len(ids(share=0.001)) == 4, "one of each class"


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"classes": ("dwon",)}, "did you mean 'down'"),
        ({"classes": ("4",)}, "give its number, 0 to 3"),
        ({"exclude": ("0", "1", "2", "3")}, "leaves none"),
        ({"random_classes": 9}, "there are 4 classes to draw from"),
        ({"share": 0.0}, "above 0"),
        ({"share": 1.5}, "at most 1"),
    ],
)
def test_selections_refused(selection: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ids(**selection)


def test_shares_are_numbers_or_percentages() -> None:
    assert (read_share("0.5"), read_share("50%")) == (0.5, 0.5)
    with pytest.raises(UserError, match="'half'"):
        read_share("half")


def release(
    folder: Path, vectors: np.ndarray, labels: list[str], groups: list[str] | None = None, split: int = 0
) -> Path:
    """Two clips per video around each vector, in the layout that `vitascope import` reads, imported.

    With `split`, every video whose number is odd after division by it is a test video.
    """
    for i, vector in enumerate(vectors):
        source = folder / "release" / (("train", "val")[i // split % 2] if split else "")
        source.mkdir(parents=True, exist_ok=True)
        np.save(source / f"v{i:03}_c.npy", np.stack([vector - 0.25, vector + 0.25]).astype(np.float32))
        about = {"annotation": labels[i], **({"group": groups[i]} if groups else {})}
        (source / f"v{i:03}.json").write_text(json.dumps(about))
    vitascope("import", "twelvelabs", folder / "release", "-o", folder / "data", "-m", "lab/one", "--name", "made")
    return folder / "data"


NAMES = [f"class {c}" for c in LABELS]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings of 60 videos of three classes, each a recording of its own, without a split."""
    return release(tmp_path_factory.mktemp("maps"), VECTORS, NAMES)


def test_a_map_of_imported_vectors(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitascope.cli.options.console.width", 160)  # no cell breaks into lines
    out = tmp_path / "map"
    (out).mkdir()
    (out / "mine.png").write_bytes(b"kept")
    for _ in range(2):  # again into the same folder
        printed = vitascope("map", data, "-o", out, "--method", "pca", "--method", "lda", "--split", "all").stdout
    assert "full space, 8 dimensions" in printed
    record = files.read_record(out)
    near = survey(VECTORS, 10).nearest
    assert record.spaces[0].measured.purity is not None
    assert record.spaces[0].measured.purity.value == pytest.approx(purity(near.indices, LABELS).mean())
    table = pd.read_parquet(out / f"{record.pictures[0].stem}.parquet")
    assert list(table.columns) == ["x", "y", "label", "id", "neighbors"]
    assert table["label"].tolist() == NAMES
    np.testing.assert_allclose(table[["x", "y"]].to_numpy(), drawn("pca"), atol=1e-4)
    first = table["neighbors"][0]
    assert first["ids"].tolist() == near.indices[0].tolist(), "rows of this table, without the point itself"
    np.testing.assert_allclose(first["distances"], near.distances[0], rtol=1e-5)
    assert (out / "mine.png").read_bytes() == b"kept"
    assert {p.suffix for p in out.glob(f"{record.pictures[1].stem}*")} == {".parquet", ".svg", ".png"}


def test_a_map_of_clips(tmp_path: Path) -> None:
    data, out = release(tmp_path, VECTORS[:30], NAMES[:30]), tmp_path / "map"
    vitascope("map", data, "-o", out, "--method", "pca", "--vectors", "clip", "--share", "50%", "--split", "all")
    record = files.read_record(out)
    assert (record.points, record.videos, record.recordings) == (30, 15, 15)
    table = pd.read_parquet(out / f"{record.pictures[0].stem}.parquet")
    assert table["clip"].tolist() == [0, 1] * 15
    near = np.stack(table["neighbors"].map(lambda cell: cell["ids"]).tolist())
    assert (near[:, 0] == np.arange(30) ^ 1).all(), "the other clip of the video, which is not counted"
    assert record.spaces[0].measured.purity != pytest.approx(100)


def test_a_map_of_two_videos(tmp_path: Path) -> None:
    data = release(tmp_path, VECTORS[:6], [f"c{i % 2}" for i in range(6)])
    said = vitascope("map", data, "-o", tmp_path / "map", "--split", "all", "--share", "1%").stdout
    assert "left out: t-SNE" in said
    record = files.read_record(tmp_path / "map")
    assert (record.points, record.k, [picture.method for picture in record.pictures]) == (2, 1, ["pca"])
    assert record.pictures[0].measured.trustworthiness is None
    assert record.spaces[0].measured.purity is not None
    assert record.spaces[0].measured.purity.value == 0


def test_neighbors_of_the_same_recording_do_not_count(tmp_path: Path) -> None:
    """Ten recordings of two classes, each a tight cluster at a random place: close to the own recording only."""
    centers = RNG.normal(size=(10, 8)) * 10
    vectors = np.repeat(centers, 4, axis=0) + RNG.normal(size=(40, 8)) * 0.1
    labels = [f"class {i // 4 % 2}" for i in range(40)]
    data = release(tmp_path, vectors, labels, [f"recording {i // 4}" for i in range(40)])
    vitascope("map", data, "-o", tmp_path / "map", "--method", "pca", "--split", "all", "--neighbors", 3)
    (space,) = files.read_record(tmp_path / "map").spaces
    assert space.measured.purity is not None
    assert space.chance.purity is not None
    assert space.measured.purity.value < 90, "it would be 100"
    assert space.chance.purity[0] == pytest.approx(50, abs=6)


def test_classes_of_one_recording_each_are_said(tmp_path: Path) -> None:
    groups = [f"recording {c} {i // 10 % 2}" for i, c in enumerate(LABELS)]
    data = release(tmp_path, VECTORS, NAMES, groups, split=10)
    said = vitascope("map", data, "-o", tmp_path / "map", "--method", "pca").stdout
    assert "what looks like a class may be the recording" in said
    record = files.read_record(tmp_path / "map")
    assert record.recordings == 30
    assert record.spaces[0].measured.purity is not None
    assert record.spaces[0].measured.purity.value > 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--class", "class 7"], "has no such class; did you mean 'class 2'"),
        (["--class", "0", "--method", "lda"], "it needs two classes"),
        (["--share", "0"], "--share 0"),
        (["--method", "tsne+perplexity=100"], "perplexity 100"),
        (["--scale", "standard"], "did you mean 'standardized'"),
        (["-m", "other/one"], "has embeddings by lab/one only"),
        (["--split", "tset"], "did you mean 'test'"),
    ],
)
def test_what_users_can_fix_is_one_line_and_leaves_nothing(
    data: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    error = vitascope("map", data, "-o", tmp_path / "map", *options, code=2).stderr
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "map").exists()


def test_projections_of_the_report_are_left_out_where_they_cannot_be(data: Path, tmp_path: Path) -> None:
    said = vitascope("map", data, "-o", tmp_path / "map", "--split", "all", "--class", "0").stdout
    assert "left out: t-SNE: perplexity 30 needs" in said
    assert "left out: lda: 1 class among 20 points" in said
    assert "neighborhoods of 9 instead of 10: less than half of 20 points" in said
    record = files.read_record(tmp_path / "map")
    assert [picture.method for picture in record.pictures] == ["pca"]
    measured = record.spaces[0].measured
    assert (measured.silhouette, measured.purity, record.spaces[0].chance.purity) == (None, None, None)


@pytest.mark.parametrize(
    ("vectors", "said"), [(np.ones((20, 8)), "all 20 vectors are equal"), (VECTORS[:1], "1 point")]
)
def test_vectors_that_no_picture_shows(tmp_path: Path, vectors: np.ndarray, said: str) -> None:
    count = max(len(vectors), 6)
    data = release(
        tmp_path,
        np.resize(vectors, (count, 8)) if len(vectors) > 1 else VECTORS[:6],
        [f"c{i % 2}" for i in range(count)],
    )
    share = [] if len(vectors) > 1 else ["--class", "c0", "--share", "1%"]
    assert said in vitascope("map", data, "-o", tmp_path / "map", "--split", "all", *share, code=2).stderr


def test_several_encoders_show_the_same_videos_with_thumbnails(tmp_path: Path) -> None:
    for i in range(10):
        write_video(tmp_path / "set" / "ab"[i % 2] / f"{i}.mp4", blob(i % 2, i, side=64))
    models = ("-m", "pixels/thumbnail", "-m", "pixels/motion-energy")
    store = ("--store", tmp_path / "store", "--workers", 1, "-q")
    vitascope("map", tmp_path / "set", *models, *store, "-o", tmp_path / "map", "--method", "pca")
    record = files.read_record(tmp_path / "map")
    one, other = (pd.read_parquet(tmp_path / "map" / f"{picture.stem}.parquet") for picture in record.pictures)
    assert one["id"].tolist() == other["id"].tolist()
    assert record.sprites is not None
    assert sorted(record.sprites.points) == list(range(10))
    assert set(record.sprites.sizes) == {(64, 64)}
    # videos in no class folders do
    vitascope("map", tmp_path / "set/a", *models, *store, "-o", tmp_path / "map", "--method", "pca", "--no-thumbnails")
    assert files.read_record(tmp_path / "map").sprites is None
    assert not (tmp_path / "map" / files.SPRITES).exists()
