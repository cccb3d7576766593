"""`vitascope score` on the field's own files: numbers of the evaluators, comparisons, and files that do not fit."""

import gzip
import json

import numpy as np
import pytest

from helpers import parity, vitascope

TRUTH = "v,1,0.1,0.1,0.5,0.9,1,0\nv,2,0.1,0.1,0.5,0.9,2,0\nw,1,0.5,0.1,0.9,0.9,2,0\n"
FOUND = "v,1,0.1,0.1,0.5,0.9,1,0.9\nv,2,0.1,0.1,0.5,0.8,2,0.8\nw,1,0.0,0.1,0.3,0.9,2,0.7\n"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Fewer resamples, which only intervals depend on."""
    monkeypatch.setattr("vitascope.evaluation.scored_files.detection.DRAWS", 100)


def put(folder, **texts):
    paths = []
    for name, text in texts.items():
        path = folder / name.replace("_", ".")
        path.write_text(text)
        paths.append(path)
    return paths


def scored(*arguments):
    return json.loads(vitascope("score", *arguments, "--json").stdout)


@pytest.mark.parametrize("name", ["ava0"])
def test_the_official_number_to_full_precision(tmp_path, name):
    paths = {}
    for kind in ("gt", "det", "excluded"):
        paths[kind] = tmp_path / f"{kind}.csv"
        paths[kind].write_bytes(gzip.decompress(parity(f"metrics/{name}/{kind}.csv.gz").read_bytes()))
    expected = json.loads(parity(f"metrics/{name}.expected.json").read_text())
    result = scored("frame-ap", "--truth", paths["gt"], "--predictions", paths["det"], "--exclude", paths["excluded"])
    (file,) = result["files"]
    given = {"official": "official", "uncapped": "official_nocap", "slowfast": "slowfast", "mmaction2": "mmaction2"}
    assert {name: file["exact"][name] for name in given} == {name: expected[key]["fAP"] for name, key in given.items()}
    score = file["scores"]["frame-mAP@0.5"]
    assert score["low"] < score["value"] == 100 * expected["official"]["fAP"] < score["high"]
    values = {name: ap["value"] for name, ap in file["per_class"].items()}
    assert values == {n: None if v is None else 100 * v for n, v in expected["official"]["per_class"].items()}
    assert "AVA's 60 evaluated classes" in file["notes"][0]


def test_boxes_of_ones_own_in_lines_and_as_report(tmp_path):
    truth, found = put(tmp_path, truth_csv=TRUTH, found_csv=FOUND)
    report = tmp_path / "report.md"
    out = vitascope("score", "frame-ap", "--truth", truth, "--predictions", found, "-o", report).stdout
    assert "frame-mAP@0.5         75.0" in out
    assert "box recall: best 1 66.7, best 10 66.7, all 66.7" in out
    assert "note: all 2 classes of the truth" in out
    assert "| frame-mAP@0.5 | frame-mAP@0.5:0.95 |" in report.read_text()


def test_several_files_are_compared_pairwise(tmp_path):
    worse = FOUND.replace("v,1,0.1", "v,1,0.6").replace("0.5,0.9,1,", "0.9,0.9,1,")
    truth, a, b = put(tmp_path, truth_csv=TRUTH, a_csv=FOUND, b_csv=worse)
    result = scored("frame-ap", "--truth", truth, "--predictions", a, b)
    (pair,) = result["comparisons"]
    assert pair["value"] == pytest.approx(50.0)
    assert pair["low"] <= pair["value"] <= pair["high"]
    again = scored("frame-ap", "--truth", truth, "--predictions", a, "--predictions", b)
    assert again == result
    assert "a.csv against" in vitascope("score", "frame-ap", "--truth", truth, "--predictions", a, b).stdout


BOXES = ("frame-ap", TRUTH)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("", "found.csv: no rows"),
        (FOUND.replace("0.5,0.9,1,0.9", "320,240,1,0.9"), "coordinates up to 320 are pixels"),
        (FOUND.replace("v,", "q,").replace("w,", "r,"), "none of its 2 videos is in"),
        (TRUTH.replace(",0\n", ",5\n"), "whole numbers up to 5, as persons have"),
    ],
)
def test_predictions_that_do_not_fit_are_one_line(tmp_path, found, message):
    truth, path = put(tmp_path, truth_csv=TRUTH, found_csv=found)
    error = vitascope("score", "frame-ap", "--truth", truth, "--predictions", path, code=2).stderr
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("truth", "arguments", "message"),
    [
        (TRUTH.replace("0.1,0.1,0.5,0.9,1", "0.5,0.1,0.1,0.9,1"), [], "truth.csv:1: the true box 0.5, 0.1, 0.1, 0.9"),
        (TRUTH.replace("0.9,1,0", "0.9,93,0"), ["--classes", "ava"], "truth.csv:1: action '93' is none of AVA's"),
        (TRUTH, ["--reading", "oficial"], "did you mean 'official'?"),
        (TRUTH, ["--subset", "val"], "--subset is not for frame-ap"),
        (TRUTH, ["--predictions", "SAME"], "is given twice"),
    ],
)
def test_truth_and_options_that_do_not_fit_are_one_line(tmp_path, truth, arguments, message):
    true, found = put(tmp_path, truth_csv=truth, found_csv=FOUND)
    more = [found if argument == "SAME" else argument for argument in arguments]
    error = vitascope("score", "frame-ap", "--truth", true, "--predictions", found, *more, code=2).stderr
    assert message in error
    assert error.count("\n") == 1


def test_a_label_map_in_a_folder_called_ava_may_have_other_numbers(tmp_path):
    (folder := tmp_path / "AVA").mkdir()
    truth, found, labels = put(
        folder,
        truth_csv=TRUTH.replace("0.9,1,0", "0.9,93,0"),
        found_csv=FOUND,
        labels_pbtxt='item { name: "jump" id: 93 }\nitem { name: "run" id: 2 }\n',
    )
    result = scored("frame-ap", "--truth", truth, "--predictions", found, "--classes", labels)
    assert set(result["files"][0]["per_class"]) == {"jump", "run"}


def test_what_is_odd_is_counted(tmp_path):
    odd = (
        FOUND
        + "v,1,0.1,0.1,0.5,0.9,1,0.9\nx,1,0.1,0.1,1.2,0.9,1,0.9\nv,9,0.1,0.1,0.5,0.9,1,0.9\nv,1,0.5,0.5,0.5,0.9,2,1\n"
    )
    truth, found = put(tmp_path, truth_csv=TRUTH, found_csv=odd)
    (file,) = scored("frame-ap", "--truth", truth, "--predictions", found)["files"]
    notes = "; ".join(file["notes"])
    assert "1 video of the predictions not in the truth, such as 'x'" in notes
    assert "1 predicted row repeated" in notes
    assert "1 predicted box outside the frame in part" in notes
    assert "2 rows in frames that the truth does not list: not counted" in notes
    assert "1 row with boxes without area: not counted" in notes


def test_tubes_are_taken_or_linked(tmp_path):
    rows = [f"{v},{t},{10 * v},0,{10 * v + 10},20,run" for v in range(3) for t in range(20)]
    true = "video,frame,x1,y1,x2,y2,label,tube\n" + "".join(f"{row},1\n" for row in rows)
    bare = "video,frame,x1,y1,x2,y2,label,score\n" + "".join(f"{row},0.5\n" for row in rows)
    tubes = "video,frame,x1,y1,x2,y2,label,tube,score\n" + "".join(f"{row},1,0.5\n" for row in rows)
    truth, a, b = put(tmp_path, truth_csv=true, a_csv=bare, b_csv=tubes)
    result = scored("tube-ap", "--truth", truth, "--predictions", a, b)
    for file in result["files"]:
        assert {score["value"] for score in file["scores"].values()} == {100.0}
    assert "linked to 3 tubes by the rule of multisports" in result["files"][0]["notes"]
    assert result["comparisons"][0]["value"] == 0
    error = vitascope("score", "tube-ap", "--truth", a, "--predictions", b, code=2).stderr
    assert "no column 'person' or 'tube'" in error


def test_localization_equals_the_evaluators(tmp_path):
    video = {"subset": "validation", "duration": 20.0}
    actions = [{"segment": [0, 10], "label": "run"}, {"segment": [12, 16], "label": "jump"}]
    truth = {"database": {name: {**video, "annotations": actions} for name in "abc"}}
    right = [{"label": a["label"], "segment": a["segment"], "score": 0.9} for a in actions]
    found = {"results": {"a": right, "b": right[:1], "c": [{**right[1], "segment": [0, 1]}]}}
    path, one, two = put(
        tmp_path, truth_json=json.dumps(truth), a_json=json.dumps(found), b_json=json.dumps({"a": right})
    )
    result = scored("localization", "--truth", path, "--predictions", one, two, "-o", tmp_path / "page.html")
    assert "Coverage" in (tmp_path / "page.html").read_text()
    assert result["files"][0]["scores"]["mAP"]["value"] == pytest.approx(100 * (2 / 3 + 1 / 3) / 2)
    assert result["files"][1]["scores"]["mAP"]["value"] == pytest.approx(100 / 3)
    assert "no predictions in 2 videos of the truth" in result["files"][1]["notes"]
    assert result["files"][0]["diagnosis"]["false"]
    listed = scored("localization", "--truth", path, "--predictions", one, "--thresholds", "0.3:0.7:0.2")
    assert list(listed["files"][0]["scores"]) == ["mAP", "mAP@0.3", "mAP@0.5", "mAP@0.7"]
    error = vitascope(
        "score", "localization", "--truth", path, "--predictions", one, "--thresholds", "x", code=2
    ).stderr
    assert "expected low:high:step" in error


def test_segmentation_of_folders(tmp_path):
    place, found = tmp_path / "data", tmp_path / "found"
    (place / "groundTruth").mkdir(parents=True)
    found.mkdir()
    (place / "mapping.txt").write_text("0 background\n1 cut\n2 peel\n")
    for name in ("a", "b"):
        (place / "groundTruth" / f"{name}.txt").write_text("cut\n" * 10 + "peel\n" * 10)
    (found / "a").write_text("### Frame level recognition: ###\n" + "cut " * 10 + "peel " * 10)
    page = tmp_path / "page.html"
    result = scored("segmentation", "--truth", place, "--predictions", found, "-o", page)["files"][0]
    assert result["scores"]["accuracy"]["value"] == 50.0
    assert "<b>50.0</b>" in page.read_text()
    assert "no predictions of 1 video" in result["notes"]
    (found / "b.txt").write_text("cut\n" * 20)
    result = scored("segmentation", "--truth", place, "--predictions", found, "--reading", "published")["files"][0]
    assert result["scores"]["accuracy"]["value"] == 75.0
    (found / "b.txt").write_text("cut\n" * 19)
    error = vitascope("score", "segmentation", "--truth", place, "--predictions", found, code=2).stderr
    assert "b has 19 labels for 20 frames" in error


def test_class_scores_as_csv_and_npz(tmp_path):
    truth, a = put(tmp_path, truth_csv="id,label\nv,run\nw,jump\nx,run\n", a_csv="id,jump,run\nv,0.1,0.9\nw,0.2,0.8\n")
    np.savez(tmp_path / "b.npz", ids=["x", "w", "v", "q"], scores=np.eye(2)[[1, 0, 1, 0]], classes=["jump", "run"])
    page = tmp_path / "page.html"
    result = scored("top1", "--truth", truth, "--predictions", a, tmp_path / "b.npz", "-o", page)
    assert "2 files of predictions, 3 examples" in page.read_text()
    assert [file["scores"]["top-1"]["value"] for file in result["files"]] == pytest.approx([100 / 3, 100.0])
    assert "1 example without predictions: wrong" in result["files"][0]["notes"]
    assert "1 prediction of examples that are not in the truth: not counted" in result["files"][1]["notes"]
    assert result["comparisons"][0]["value"] == pytest.approx(-200 / 3)
    error = vitascope("score", "top1", "--truth", truth, "--predictions", truth, code=2).stderr
    assert "'run' is not a number" in error
