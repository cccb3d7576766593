"""The benchmark of the report's recognition tables, on tiny copies of its datasets with real videos in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from copies import write
from helpers import blob, vitascope, write_video
from vitascope.datasets.readers.annotation_files import labels
from vitascope.evaluation.benchmarks import BENCHMARKS, benchmark_tasks


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something-Something, EPIC-Kitchens and ImageNet, four videos of two classes to train and two to test each."""
    root = tmp_path_factory.mktemp("data")
    _ssv2(root / "SSv2")
    _epic(root / "epic")
    _in1k(root / "in1k")
    return root


def _clip(path: Path, label: int, number: int) -> None:
    write_video(path, blob(label * np.pi / 2, number, frames=20))


def _ssv2(root: Path) -> None:
    names = labels("ssv2")
    rows: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
    for i in range(6):
        _clip(root / "videos" / f"{i}.mp4", i % 2, i)
        rows["train" if i < 4 else "validation"].append({"id": str(i), "template": names[i % 2], "label": "x"})
    for side, listed in rows.items():
        write(root, f"something-something-v2-{side}.json", listed)


def _epic(root: Path) -> None:
    head = "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,"
    head += "stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
    for side, video in (("train", "P01_01"), ("validation", "P02_01")):
        lines = [
            f"{video}_{i},{video[:3]},{video},00:00:00,00:00:0{c}.0,00:00:0{c}.9,1,9,x,v,{c},n,{c},[],[]"
            for i, c in enumerate((0, 1, 0, 1))
        ]
        write(root, f"EPIC_100_{side}.csv", [head, *lines])
        _clip(root / video[:3] / "videos" / f"{video}.MP4", 0, 0)


def _in1k(root: Path) -> None:
    from PIL import Image

    for i in range(6):
        wnid = ("n01440764", "n01443537")[i % 2]
        path = root / ("train" if i < 4 else "val") / wnid / f"{wnid}_{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 50, 3), 40 + 90 * (i % 2) + i, np.uint8)).save(path)


SHORT = ("linear/paper+epochs=2+warmup=0", "attentive/paper+epochs=2")


def run(data_root: Path, tmp_path: Path, *more: str) -> tuple[str, ...]:
    tasks = [word for t in ("knn", *SHORT) for word in ("-t", t)]
    return (
        *("evaluate", "--benchmark", "twlv1-recognition", "--data-root", str(data_root), "-m", "pixels/thumbnail"),
        *("--workers", "1", "-q", "-o", str(tmp_path / "run"), "--store", str(tmp_path / "store"), *tasks, *more),
    )


def test_forecast_then_all_of_it_then_nothing(data_root: Path, tmp_path: Path) -> None:
    foreseen = json.loads(vitascope(*run(data_root, tmp_path, "--dry-run", "--json")).stdout)
    sets = ["ssv2", "epic/verb", "epic/noun", "epic/action", "in1k"]
    assert [f["dataset"] for f in foreseen] == sets
    first = {step["what"]: step for step in foreseen[0]["steps"]}
    assert first["encode"]["clips"] == 6 + 6 * 5 + 6 * 3  # whole, 2 s clips, test views with their grids
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "store").exists()
    done = vitascope(*run(data_root, tmp_path, "--json"))
    assert "datasets not found and skipped: k400, mit, diving48" in done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    videos = ["knn/paper", "knn/paper-clip", "knn/paper-video", *SHORT]
    expected = [(d, p) for d in sets for p in (["knn/paper", *SHORT] if d == "in1k" else videos)]
    assert [(r["dataset"], r["probe"]) for r in found] == expected
    by_task = {(r["dataset"], r["probe"]): r for r in found}
    settings = by_task["ssv2", SHORT[0]]["settings"]["probe"]
    assert (settings["lr"], settings["train"]["sampler"]["inner"]["inner"]["stride"]) == (0.075, 1)
    assert by_task["in1k", SHORT[1]]["settings"]["probe"]["batch"] == 512
    again = json.loads(vitascope(*run(data_root, tmp_path, "--dry-run", "--json")).stdout)
    assert all(not f["steps"] for f in again)
    assert sum(len(f["recorded"]) for f in again) == len(found)


def test_questions_by_name(data_root: Path) -> None:
    found, absent = benchmark_tasks("twlv1-recognition", [], ["knn"], data_root)
    assert [d.name for d, _ in found] == ["ssv2", "epic/verb", "epic/noun", "epic/action", "in1k"]
    assert found[0][1] == ["knn/paper", "knn/paper-clip", "knn/paper-video"]
    assert absent == ["k400", "mit", "diving48"]
    (one,), _ = benchmark_tasks("twlv1-recognition", [f"ssv2={data_root / 'SSv2'}"], ["linear/paper+draws=8"], None)
    assert one[1] == ["linear/paper+draws=8"]
    assert set(BENCHMARKS) == {"twlv1-recognition", "twlv1-temporal"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--benchmark", "twlv1-recogniton"), "did you mean 'twlv1-recognition'"),
        (("--benchmark", "twlv1-recognition"), "none of k400, mit"),
        (("--benchmark", "twlv1-temporal"), "none of thumos14, activitynet, 50salads, gtea, breakfast"),
        (("--benchmark", "twlv1-temporal", "gtea=nowhere"), "nowhere is not a folder"),
        (("--benchmark", "twlv1-recognition", "--data-root", "nowhere"), "nowhere: no such folder"),
        (("--benchmark", "twlv1-recognition", "sv2=x"), "needs DATASET=FOLDER, for example k400=FOLDER"),
        (("ssv2", "-t", "knn"), "--data-root"),
        (("ssv2=nowhere", "-t", "knn"), "nowhere"),
        ((".", "-t", "knn", "--low-shot", "5"), "e.g. 5%, or a number of examples per class, e.g. 8-shot"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: tuple[str, ...], said: str, data_root: Path, tmp_path: Path) -> None:
    words = tuple(str(data_root / "in1k" / "train") if w == "." else w for w in words)
    done = vitascope("evaluate", *words, "-m", "pixels/thumbnail", "-o", tmp_path / "run", code=2)
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
