"""Features of whole videos come in with their times, in the release's layout and in that of ActionFormer's world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copies import write
from helpers import vitascope, write_video
from vitascope.core.types import Dataset
from vitascope.datasets.open import open_annotations, open_dataset
from vitascope.evaluation.cost_estimate import estimate_costs
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.imports import twelvelabs
from vitascope.features.imports.npy_folder import import_npy_folder, open_folder
from vitascope.features.imports.time_grid import FeatureGrid, parse_grid
from vitascope.features.sequences import feature_sequences
from vitascope.features.source import load_stored
from vitascope.features.view import View
from vitascope.probes.temporal.twlv1_table7 import windows
from vitascope.sampling.names import MultiClip

LASTING = {"one": 10.0, "two": 12.5, "three": 7.0}
DIM = 4


def listed(root: Path) -> str:
    """A list of the actions in three films, the last of which is tested."""
    films = {
        name: {
            "subset": "validation" if name == "three" else "training",
            "duration": duration,
            "annotations": [{"segment": [1.0, 2.0], "label": "jump"}, {"segment": [3.0, 4.0], "label": "run"}],
        }
        for name, duration in LASTING.items()
    }
    return str(write(root, "lists/films.json", {"database": films}))


def vectors(name: str, stride: float = 0.5, seconds: float = 1.0) -> np.ndarray:
    """As many as a sliding window gives, of halves that half precision keeps."""
    count = int((LASTING[name] - seconds) / stride + 1e-6) + 1
    return np.random.default_rng(len(name)).integers(-9, 9, (count, DIM)).astype(np.float32) / 2


def npy(root: Path, *, turned: bool = False, about: dict[str, Any] | None = None, prefix: str = "v_") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in LASTING:
        np.save(root / f"{prefix}{name}.npy", vectors(name).T if turned else vectors(name))
    if about:
        (root / "features.json").write_text(json.dumps(about))
    return root


def read(dataset: Dataset[Any]) -> dict[str, tuple[np.ndarray, list[list[float]], float]]:
    """The feature sequence of each video."""
    view = View(MultiClip(0.5, 0.25))
    ids = [e.id for e in dataset.examples]
    features = load_stored(dataset, dataset.cards[0], view, ids=ids, root=Path(dataset.store))
    each = zip(features.examples, feature_sequences(features), strict=True)
    return {e.id: (values.numpy(), spans.tolist(), duration) for e, (values, spans, duration) in each}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("how", ["option", "file"])
def test_a_folder_of_arrays(how: str, turned: bool, tmp_path: Path) -> None:
    about = {"fps": 30, "feat_stride": 15, "num_frames": 30, "note": "I3D"} if how == "file" else None
    source = npy(tmp_path / "npy", turned=turned, about=about)
    given = ["--grid", "30/15@30"] if how == "option" else []
    done = vitascope(
        "import", "features", source, "-o", tmp_path / "out", "--data", listed(tmp_path), "-m", "lab/net", *given
    )
    assert "lists: features of 3 of 3 videos, 2 classes" in done.stdout
    dataset = open_dataset(tmp_path / "out")
    assert (dataset.kind, dataset.cards[0].name, dataset.cards[0].dim) == ("localization", "lab/net", DIM)
    again = open_annotations(listed(tmp_path))
    assert [e.truth for e in dataset.examples] == [e.truth for e in again.examples]
    assert (dataset.folds, dataset.digest) == (again.folds, again.digest), "the same task with and without videos"
    for name, (values, spans, duration) in read(dataset).items():
        assert np.array_equal(values, vectors(name))
        assert spans == [[0.5 * j, 0.5 * j + 1.0] for j in range(len(values))]
        assert duration == LASTING[name]


def test_resized_features_are_parts_of_each_video(tmp_path: Path) -> None:
    source = npy(tmp_path / "npy", about={"resized": True, "layout": "TxC"})
    for name in LASTING:
        np.save(source / f"v_{name}.npy", vectors("three")[:8])
    made = import_npy_folder(open_folder(source), open_annotations(listed(tmp_path)), tmp_path / "out", encoder="a/b")
    assert read(made)["two"][1][3] == [12.5 * 3 / 8, 12.5 * 4 / 8]


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("times", [True, False])
def test_the_release(times: bool, flat: bool, tmp_path: Path) -> None:
    """Clip times come from the JSON files, else from the windows of table 7."""
    source = tmp_path / "release"
    for name, duration in LASTING.items():
        folder = source if flat else source / ("val" if name == "three" else "train")
        folder.mkdir(parents=True, exist_ok=True)
        clips = vectors(name, 0.125, 0.5)
        np.save(folder / f"{name}_c.npy", clips)
        np.save(folder / f"{name}_v.npy", clips.mean(0))
        about: dict[str, Any] = {"duration": duration, "num_frames": int(30 * duration)}
        about |= {"times": [[0.1 * j, 0.1 * j + 0.5] for j in range(len(clips))]} if times else {}
        (folder / f"{name}.json").write_text(json.dumps(about))
    table = windows("thumos14")
    folder_of = open_folder(source, release_grid=FeatureGrid(table.seconds, table.stride))
    made = import_npy_folder(folder_of, open_annotations(listed(tmp_path)), tmp_path / "out", encoder="twlv/base")
    values, spans, _ = read(made)["one"]
    assert np.array_equal(values, vectors("one", 0.125, 0.5))
    assert spans[5] == pytest.approx([0.5, 1.0] if times else [0.625, 1.125])
    if times:
        return
    with pytest.raises(ValueError, match=r"the times of its \d+ vectors are unknown; pass --grid window/stride"):
        import_npy_folder(open_folder(source), open_annotations(listed(tmp_path)), tmp_path / "no", encoder="twlv/base")


def test_labels_of_frames_come_back_whole(tmp_path: Path) -> None:
    write(tmp_path, "cook/mapping.txt", ["0 pour", "1 stir"])
    for name in ("one", "two"):
        write(tmp_path, f"cook/groundTruth/{name}.txt", ["pour"] * 100 + ["stir"] * int(LASTING[name] * 15 - 100))
    for side, name in (("train", "one"), ("test", "two")):
        write(tmp_path, f"cook/splits/{side}.split1.bundle", [f"{name}.txt"])
    write(tmp_path, "cook/fps.txt", "15")
    source = npy(tmp_path / "npy", prefix="")
    dataset = open_annotations(str(tmp_path / "cook"))
    made = import_npy_folder(
        open_folder(source, grid=FeatureGrid(1.0, 0.5)), dataset, tmp_path / "out", encoder="a/b", name="c"
    )
    again = open_dataset(tmp_path / "out")
    assert again == made
    assert [e.truth for e in again.examples] == [e.truth for e in dataset.examples]
    assert (again.name, again.kind, again.examples[0].duration) == ("c", "segmentation", 10.0)


def test_videos_without_features_are_listed(tmp_path: Path) -> None:
    source = npy(tmp_path / "npy")
    (source / "v_two.npy").unlink()
    folder = open_folder(source, grid=FeatureGrid(1.0, 0.5))
    made = import_npy_folder(folder, open_annotations(listed(tmp_path)), tmp_path / "out", encoder="a/b")
    assert made.missing_files == open_dataset(tmp_path / "out").missing_files == {"two": "no features below npy"}
    assert made.notes == ("1 of 3 videos have no features",)
    assert sorted(read(made)) == ["one", "three"]


FRAMES = 3000
RATES = {"a": 24.0, "b": 25.0, "c": 30.0, "d": 60.0}


def rated(root: Path, rates: dict[str, float], *, fps: bool) -> tuple[Path, str]:
    """Features of one row for 16 frames of videos of 3000 frames each, with a list that may tell their rates."""
    source = root / "npy"
    source.mkdir()
    films = {}
    for name, rate in rates.items():
        np.save(source / f"{name}.npy", np.ones((FRAMES // 16 + ord(name) % 2, DIM), np.float32))
        film = {"subset": "testing" if name == "d" else "training", "duration": FRAMES / rate}
        film |= {"fps": rate} if fps else {}
        films[name] = film | {"annotations": [{"segment": [1.0, 2.0], "label": "x"}, {"segment": [3, 4], "label": "y"}]}
    return source, str(write(root, "lists/films.json", {"database": films}))


def test_rows_in_frames_of_each_video(tmp_path: Path) -> None:
    source, films = rated(tmp_path, RATES, fps=True)
    vitascope("import", "features", source, "-o", tmp_path / "out", "--data", films, "--grid", "16/16@video")
    dataset = open_dataset(tmp_path / "out")
    assert dataset.notes == ()
    for name, (_, spans, _) in read(dataset).items():
        assert spans[10] == pytest.approx([160 / RATES[name], 176 / RATES[name]])
    (source / "features.json").write_text('{"fps": "video", "stride": 16, "window": 16, "layout": "TxC"}')
    again = import_npy_folder(open_folder(source), open_annotations(films), tmp_path / "two", encoder="a/b")
    assert read(again)["c"][1] == read(dataset)["c"][1]


def test_the_rate_of_a_video_is_that_of_its_file_else_an_error(tmp_path: Path) -> None:
    source, films = rated(tmp_path, RATES, fps=False)
    done = vitascope(
        "import", "features", source, "-o", tmp_path / "out", "--data", films, "--grid", "16/16@video", code=2
    )
    assert "a: its frame rate is unknown" in done.stderr
    assert "add `fps` to its entry" in done.stderr
    for name, rate in RATES.items():
        write_video(tmp_path / "lists" / f"{name}.mp4", np.zeros((int(rate), 16, 16, 3), np.uint8), fps=int(rate))
    dataset = open_annotations(films)
    made = import_npy_folder(
        open_folder(source, grid=parse_grid("16/16@video")), dataset, tmp_path / "out", encoder="a/b"
    )
    assert read(made)["d"][1][10] == pytest.approx([160 / 60, 176 / 60])


@pytest.mark.parametrize(("real", "taken"), [(24, 25), (25, 24), (30, 25), (25, 30), (15, 30)])
def test_a_rate_that_is_wrong_in_all_videos_is_refused(real: float, taken: float, tmp_path: Path) -> None:
    source, films = rated(tmp_path, dict.fromkeys(RATES, real), fps=False)
    options = ("import", "features", source, "-o", tmp_path / "out", "--data", films, "--grid")
    error = vitascope(*options, f"16/16@{taken}", code=2).stderr
    assert f"rows are {taken / real:.3g}" in error
    assert f"as if {real:g} frames per second were taken for {taken:g}" in error
    assert not (tmp_path / "out").exists()
    vitascope(*options, f"16/16@{real}")
    assert open_dataset(tmp_path / "out").notes == ()


def test_an_assumed_rate_of_labels_is_named(tmp_path: Path) -> None:
    write(tmp_path, "cook/mapping.txt", ["0 pour", "1 stir"])
    source = tmp_path / "npy"
    source.mkdir()
    for i, name in enumerate(("one", "two", "three")):
        write(tmp_path, f"cook/groundTruth/{name}.txt", ["pour"] * 100 + ["stir"] * (20 + i))
        np.save(source / f"{name}.npy", np.ones((120 + i, DIM), np.float32))
    for side, names in (("train", ["one.txt", "three.txt"]), ("test", ["two.txt"])):
        write(tmp_path, f"cook/splits/{side}.split1.bundle", names)
    dataset = open_annotations(str(tmp_path / "cook"))
    with pytest.raises(ValueError, match=r"no fps.txt beside mapping.txt: 30 labels per second assumed: write"):
        import_npy_folder(open_folder(source, grid=parse_grid("1/1@15")), dataset, tmp_path / "out", encoder="a/b")


def ended(root: Path, names: dict[str, str]) -> Dataset[Any]:
    """A list of videos, with features for each under another name."""
    films = {
        name: {
            "subset": "testing" if i else "training",
            "duration": 10.0,
            "annotations": [{"segment": [1, 2], "label": "x"}],
        }
        for i, name in enumerate(names)
    }
    for i, file in enumerate(names.values()):
        (root / "npy" / file).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / "npy" / f"{file}.npy", np.full((19 + i, DIM), i, np.float32))
    return open_annotations(str(write(root, "lists/films.json", {"database": films})))


@pytest.mark.parametrize(
    "names",
    [
        {"q0x_c": "q0x_c", "q1xy": "q1xy", "q2_v": "q2_v", "q2_c": "q2_c"},
        {"q0x_c": "v_q0x_c", "q1_c": "v_q1_c"},
        {"q0x_c": "q0x_c_c", "q1": "q1_c"},
        {"v1.0_a": "v1.0_a", "v1.0_b": "v1.0_b", "v1": "v1"},
        {"caf\u00e9": "cafe\u0301", "na\u0308if": "n\u00e4if"},
        {"aBc": "aBc", "abc": "abc", "ABC": "ABC"},
    ],
    ids=str,
)
def test_features_are_found_by_ids_of_any_ending(names: dict[str, str], tmp_path: Path) -> None:
    dataset = ended(tmp_path, names)
    folder = open_folder(tmp_path / "npy", grid=FeatureGrid(1.0, 0.5))
    found = folder.find_all(dataset.examples)
    assert {i: path.relative_to(tmp_path / "npy").as_posix().removesuffix(".npy") for i, path in found.items()} == names
    assert not folder.released


def test_features_of_one_video_are_not_given_to_another(tmp_path: Path) -> None:
    dataset = ended(tmp_path, {"abc": "abc", "v_abc": "other", "ABC": "third", "x": "X"})
    folder = open_folder(tmp_path / "npy", grid=FeatureGrid(1.0, 0.5))
    assert folder.find_all(dataset.examples).keys() == {"abc", "x"}
    assert folder.names.by_case == {"x": "X"}


def spoil(source: Path, what: str) -> dict[str, Any]:
    """Break a folder of features; returns the options of `open_folder`."""
    one = source / "v_one.npy"
    if what == "nan":
        np.save(one, np.where(np.arange(DIM) == 1, np.nan, vectors("one")))
    if what == "dim":
        np.save(one, np.zeros((19, DIM + 1), np.float32))
    if what == "pickle":
        np.save(one, np.array([{}], dtype=object), allow_pickle=True)
    if what == "shape":
        np.save(one, np.zeros(7, np.float32))
    if what == "one longer":
        np.save(one, vectors("one")[:9])
        np.save(source / "v_two.npy", np.concatenate([vectors("two")] * 2))
    if what == "twice":
        np.save(source / "v_one_c.npy", vectors("one"))
    if what == "alike":
        for path in source.glob("*.npy"):
            np.save(path, vectors("three"))
    if what == "names":
        for path in source.glob("*.npy"):
            path.rename(path.with_name(f"x{path.name}"))
    if what == "empty":
        for path in source.glob("*.npy"):
            path.unlink()
    if what == "layout":
        (source / "features.json").write_text('{"layout": "TxD"}')
    return {} if what == "grid" else {"grid": FeatureGrid(1.0, 0.25 if what == "stride" else 0.5)}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "v_one.npy: 19 of 76 values are NaN or infinite"),
        ("dim", "both axes vary between files"),
        ("pickle", "v_one.npy: not a NumPy array"),
        ("shape", "v_one.npy: shape (7,), float32; expected a 2-D array with one vector per clip"),
        ("twice", "v_one.npy; keep one file per video"),
        ("alike", "all files have shape 13 x 4; which axis is time?"),
        ("names", "no features of lists: its first video is one, the first file xv_one"),
        ("empty", "no <id>.npy or <id>_c.npy in it or below"),
        ("layout", "layout 'TxD'; did you mean 'TxC'?; known: TxC, CxT"),
        ("grid", "the times of its 19 vectors are unknown"),
        ("stride", "times as far apart as stated"),
        ("one longer", "2 of 3 videos do not have one vector every 0.500 s: v_one.npy has 9 in"),
    ],
)
def test_a_broken_folder_is_rejected_and_nothing_is_left(what: str, message: str, tmp_path: Path) -> None:
    source = npy(tmp_path / "npy")
    options, dataset = spoil(source, what), open_annotations(listed(tmp_path))
    with pytest.raises(ValueError) as error:
        import_npy_folder(open_folder(source, **options), dataset, tmp_path / "out", encoder="a/b")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lists", "npy"]


def test_the_command_names_missing_arguments(tmp_path: Path) -> None:
    npy(tmp_path / "npy")
    done = vitascope("import", "features", tmp_path / "npy", "-o", tmp_path / "out", code=2)
    assert "no annotations; give --data thumos14=FOLDER" in done.stderr
    done = vitascope("import", "twelvelab", tmp_path / "npy", "-o", tmp_path / "out", code=2)
    assert "did you mean 'twelvelabs'?; choose from twelvelabs, features" in done.stderr


def test_a_release_without_labels_still_names_the_file(tmp_path: Path) -> None:
    """Recognition needs labels in the json files; dense features do not."""
    write(tmp_path, "r/a.json", {"duration": 3.0})
    np.save(tmp_path / "r" / "a_c.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"a\.json: no label under 'annotation'"):
        twelvelabs.import_twelvelabs(tmp_path / "r", tmp_path / "out", encoder="a/b")


def test_a_cost_estimate_has_training_but_nothing_to_encode(tmp_path: Path) -> None:
    folder = open_folder(npy(tmp_path / "npy"), grid=FeatureGrid(1.0, 0.5))
    dataset = import_npy_folder(folder, open_annotations(listed(tmp_path)), tmp_path / "in", encoder="lab/one")
    (estimate,) = estimate_costs(dataset, [], ["localize"], config=EvaluationConfig(run=tmp_path / "run"))
    (step,) = estimate.steps
    assert (estimate.encoder, step.what, step.clips, step.stored) == ("lab/one", f"{dataset.name}:localize", 0, 0)
    assert step.seconds > 0
