"""UCF101, HMDB51, Jester, COIN and ImageNet in every layout that goes round: tiny copies; nothing is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from copies import build, complaint, files, lay, said, sides, write
from vitascope.datasets.open import open_dataset
from vitascope.datasets.readers.annotation_files import labels

# --------------------------------------------------------------------------------------------------------- UCF and HMDB


def ucf(root: Path) -> Path:
    for split in "123":
        train = ["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1", "HandstandPushups/v_HandStandPushups_g08_c01.avi 37"]
        write(root, f"ucfTrainTestlist/trainlist0{split}.txt", "\r\n".join(train) + "\r\n")
        test = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g0{split}_c01.avi", "YoYo/v_YoYo_g01_c01.avi", ""]
        write(root, f"ucfTrainTestlist/testlist0{split}.txt", "\r\n".join(test))
    write(root, "ucfTrainTestlist/classInd.txt", [f"{i} {name}\r" for i, name in enumerate(labels("ucf101"), 1)])
    return lay(
        root,
        "UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "UCF-101/HandstandPushups/v_HandStandPushups_g08_c01.avi",
        "videos/v_YoYo_g01_c01.mp4",
    )


@pytest.mark.parametrize("name", ["ucf101", "ucf101/1", "ucf101/2", "ucf101/3"])
def test_ucf101(name: str, tmp_path: Path) -> None:
    dataset, split = build(name, ucf(tmp_path)), name.partition("/")[2] or "1"
    assert said(dataset) == {
        "v_ApplyEyeMakeup_g08_c01": "ApplyEyeMakeup",
        "v_HandStandPushups_g08_c01": "HandStandPushups",
        f"v_ApplyEyeMakeup_g0{split}_c01": "ApplyEyeMakeup",
        "v_YoYo_g01_c01": "YoYo",
    }
    assert [e.group for e in dataset.examples][:2] == ["ApplyEyeMakeup_g08", "HandStandPushups_g08"]
    assert (dataset.name, dataset.folds[0].name, dataset.key) == (name, f"split {split}", build("ucf101", tmp_path).key)
    assert files(dataset)["v_YoYo_g01_c01"] == "videos/v_YoYo_g01_c01.mp4"
    assert list(dataset.missing_files) == [f"v_ApplyEyeMakeup_g0{split}_c01"]


def test_ucf101_numbers_are_of_the_folders(tmp_path: Path) -> None:
    write(ucf(tmp_path), "ucfTrainTestlist/trainlist01.txt", ["YoYo/v_YoYo_g08_c01.avi 1"])
    assert complaint("ucf101", tmp_path).endswith("v_YoYo_g08_c01.avi is numbered 1, which is 'ApplyEyeMakeup'")
    write(tmp_path, "ucfTrainTestlist/trainlist01.txt", ["YoYo/v_YoYo_g08_c01.avi 0"])
    assert complaint("ucf101", tmp_path).endswith("label '0' is out of range; class numbers are 1 to 101")


def test_hmdb51_lists_of_the_authors(tmp_path: Path) -> None:
    odd = "Amazing_(must_see)!_#2_-_kick_ball_kick_ball_f_cm_np1_le_bad_2"
    for name in labels("hmdb51"):
        rows = [f"AMADEUS_{name}_f_cm_np1_fr_med_{i}.avi {flag}" for i, flag in enumerate("1120")]
        rows = ["AMADEUS_2_kick_ball_f_cm_np1_fr_med_7.avi 2", f"{odd}.avi 1"] if name == "kick_ball" else rows
        write(tmp_path, f"testTrainMulti_7030_splits/{name}_test_split2.txt", [f"{row} " for row in rows])
    dataset = build("hmdb51/2", lay(tmp_path, f"hmdb51_org/kick_ball/{odd}.avi"))
    assert (len(dataset.folds[0].train), len(dataset.folds[0].test), len(dataset.examples)) == (101, 51, 152)
    assert said(dataset)[odd] == "kick_ball"
    assert dataset.by_id()[odd].group == "kick_ball/Amazing_(must_see)!_#2_-_kick_ball"
    assert dataset.by_id()["AMADEUS_wave_f_cm_np1_fr_med_0"].group is None  # this copy divides the film
    assert files(dataset)[odd] == f"hmdb51_org/kick_ball/{odd}.avi"
    assert "no list of class 'kick_ball' in split 1" not in complaint("hmdb51/1", tmp_path)
    (tmp_path / "testTrainMulti_7030_splits" / "kick_ball_test_split2.txt").unlink()
    assert "no list of class 'kick_ball' in split 2" in complaint("hmdb51/2", tmp_path)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("split1_{}.txt", "{name} 77 {label}"),
        ("split1/{}.txt", "{name} 77 {label}"),
        ("hmdb51_{}_split_1_videos.txt", "wave/{name}.avi {label}"),
    ],
)
def test_hmdb51_lists_by_side(name: str, line: str, tmp_path: Path) -> None:
    write(tmp_path, name.format("train"), [line.format(name="x_wave_f_cm_np1_fr_med_0", label=50)])
    write(tmp_path, name.format("val"), [line.format(name="y_wave_f_cm_np1_fr_med_0", label=50)])
    dataset = build("hmdb51", lay(tmp_path, "wave/x_wave_f_cm_np1_fr_med_0.avi"))
    assert [e.group for e in dataset.examples] == ["wave/x", "wave/y"]
    assert list(dataset.missing_files) == ["y_wave_f_cm_np1_fr_med_0"]
    write(tmp_path, name.format("val"), [line.format(name="y_wave_f_cm_np1_fr_med_0", label=5)])
    assert complaint("hmdb51", tmp_path).endswith(
        "number 5 is 'climb' in alphabetical order, which the clip name contradicts"
    )


# ------------------------------------------------------------------------------------------------------ Jester and COIN


def jester(root: Path) -> Path:
    write(root, "jester-v1-train.csv", ["34870;Drumming Fingers", "56557;Sliding Two Fingers Right"])
    write(root, "jester-v1-validation.csv", ["9223;Thumb Up", "7;Stop Sign"])
    write(root, "jester-v1-labels.csv", list(labels("jester")))
    return lay(root, *(f"20bn-jester-v1/{video}/{i:05}.jpg" for video in (34870, 56557, 9223) for i in (1, 2)))


def test_jester_frames(tmp_path: Path) -> None:
    dataset = build("jester", jester(tmp_path))
    assert [e.truth for e in dataset.examples] == [24, 7, 20, 23]
    assert files(dataset)["9223"] == "20bn-jester-v1/9223"
    assert {e.fps for e in dataset.examples} == {12.0}
    assert list(dataset.missing_files) == ["7"]


def test_jester_videos(tmp_path: Path) -> None:
    write(tmp_path, "annotations/train.csv", ["34870;Drumming Fingers"])
    write(tmp_path, "annotations/validation.csv", ["9223;Thumb up"])
    dataset = build("jester", lay(tmp_path, "videos/34870.mp4", "videos/9223.webm"))
    assert files(dataset) == {"34870": "videos/34870.mp4", "9223": "videos/9223.webm"}
    write(tmp_path, "annotations/jester-v1-labels.csv", sorted(labels("jester")))
    assert "class 0 is 'Doing other things', but 'Swiping Left'" in complaint("jester", tmp_path)


def coin(root: Path, **changes: object) -> Path:
    def video(label: str, number: int, subset: str) -> dict[str, object]:
        told = {"duration": 131.0, "class": label, "start": 56.6, "end": 85.7, "annotation": []}
        return {**told, "recipe_type": number, "subset": subset}

    database = {
        "LtRSn-ntcLY": {**video("ReplaceCDDriveWithSSD", 131, "training"), **changes},
        "-aaaaaaaaaa": video("ChangeCarTire", 13, "testing"),
        "bbbbbbbbbbb": video("WrapGiftBox", 179, "testing"),
    }
    write(root, "COIN.json", {"database": database})
    return lay(root, "videos/131/LtRSn-ntcLY.mp4", "videos/-aaaaaaaaaa.mkv")


def test_coin(tmp_path: Path) -> None:
    dataset = build("coin", coin(tmp_path))
    assert [e.truth for e in dataset.examples] == [131, 13, 179]
    assert files(dataset)["LtRSn-ntcLY"] == "videos/131/LtRSn-ntcLY.mp4"
    assert files(dataset)["-aaaaaaaaaa"] == "videos/-aaaaaaaaaa.mkv"
    assert list(dataset.missing_files) == ["bbbbbbbbbbb"]
    assert {e.span for e in dataset.examples} == {None}
    assert "has number 130, which is 'ReplaceBulb'" not in complaint("coin", coin(tmp_path, recipe_type=130))
    assert "class 'ReplaceCDDriveWithSSD' has number 130, which is" in complaint(
        "coin", coin(tmp_path, recipe_type=130)
    )
    assert "subset 'trainig' is not training or testing" in complaint("coin", coin(tmp_path, subset="trainig"))
    assert "did you mean 'WashHair'?" in complaint("coin", coin(tmp_path, **{"class": "WashHairs"}))


# ------------------------------------------------------------------------------------------------------------- ImageNet

TENCH, SHARK = "n01440764", "n01484850"


def in1k(root: Path, parent: str = "") -> Path:
    return lay(
        root / parent,
        f"train/{TENCH}/{TENCH}_10026.JPEG",
        f"train/{TENCH}/{TENCH}_2.jpeg",
        f"train/{SHARK}/{SHARK}_1.JPEG",
        f"train/{SHARK}/notes.txt",
        f"val/{SHARK}/ILSVRC2012_val_00000293.JPEG",
    )


@pytest.mark.parametrize("parent", ["", "ILSVRC/Data/CLS-LOC", "images"])
def test_in1k_folders(parent: str, tmp_path: Path) -> None:
    in1k(tmp_path, parent)
    dataset = build("in1k", tmp_path)
    assert said(dataset) == {
        f"{TENCH}_10026": "tench",
        f"{TENCH}_2": "tench",
        f"{SHARK}_1": "great white shark",
        "ILSVRC2012_val_00000293": "great white shark",
    }
    assert files(dataset)[f"{TENCH}_2"] == str(Path(parent, f"train/{TENCH}/{TENCH}_2.jpeg"))
    assert sides(dataset)[1] == ("ILSVRC2012_val_00000293",)
    assert len(dataset.classes) == len(set(dataset.classes)) == 1000
    assert (dataset.official_counts, dataset.missing_files) == ({"train": 1_281_167, "test": 50_000}, {})


def flat(root: Path) -> Path:
    in1k(root)
    (root / "val" / SHARK / "ILSVRC2012_val_00000293.JPEG").rename(root / "val" / "ILSVRC2012_val_00000293.JPEG")
    (root / "val" / SHARK).rmdir()
    return root


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("val.txt", ["ILSVRC2012_val_00000293.JPEG 2", "val/ILSVRC2012_val_00000007.JPEG 0"]),
        (
            "LOC_val_solution.csv",
            [
                "ImageId,PredictionString",
                f"ILSVRC2012_val_00000293,{SHARK} 1 2 3 4 ",
                f"ILSVRC2012_val_00000007,{TENCH} 1",
            ],
        ),
    ],
)
def test_in1k_flat_val(name: str, content: list[str], tmp_path: Path) -> None:
    write(flat(tmp_path), name, content)
    dataset = build("in1k", tmp_path)
    assert said(dataset)["ILSVRC2012_val_00000293"] == "great white shark"
    assert files(dataset)["ILSVRC2012_val_00000293"] == "val/ILSVRC2012_val_00000293.JPEG"
    assert list(dataset.missing_files) == ["ILSVRC2012_val_00000007"]


def test_in1k_other_class_orders_are_rejected(tmp_path: Path) -> None:
    assert "no list of the val images, which are not in folders" in complaint("in1k", flat(tmp_path))
    write(tmp_path, "ILSVRC2012_validation_ground_truth.txt", ["490", "361"])
    assert "classes are in the order of the development kit; add val.txt" in complaint("in1k", tmp_path)
    write(tmp_path, "val.txt", ["ILSVRC2012_val_00000002.JPEG 361"])
    assert "ILSVRC2012_val_00000002 is class 361, but 970 by sorted synset" in complaint("in1k", tmp_path)


def test_in1k_strange_folders(tmp_path: Path) -> None:
    lay(in1k(tmp_path), "train/n99999999/x.JPEG")
    assert complaint("in1k", tmp_path).endswith("train/n99999999: not one of the 1,000 synsets of ILSVRC2012")
    (tmp_path / "train" / "n99999999" / "x.JPEG").unlink()
    (tmp_path / "train" / "n99999999").rmdir()
    lay(tmp_path, f"train/{SHARK}/{TENCH}_2.JPEG")
    assert complaint("in1k", tmp_path) == f"{tmp_path}: two images are named '{TENCH}_2'; remove one"


def test_a_data_root_holds_a_folder_for_each(tmp_path: Path) -> None:
    ucf(tmp_path / "UCF101")
    assert open_dataset("ucf101/1", tmp_path).name == "ucf101/1"
    assert open_dataset(f"ucf101={tmp_path / 'UCF101'}").name == "ucf101"
