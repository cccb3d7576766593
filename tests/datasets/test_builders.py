"""Kinetics, SSv2, MiT, Diving-48 and EPIC in every layout that goes round: tiny copies, of which nothing is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from copies import build, complaint, files, lay, said, sides, write
from vitascope.cli import tables
from vitascope.datasets.readers.annotation_files import labels
from vitascope.datasets.splits import check_labels, classes_only_in_test
from vitascope.encoders.catalog import cards

NAMES = [
    *(
        "k400",
        "k600",
        "k700",
        "ssv2",
        "mit",
        "mit/305",
        "diving48",
        "charades",
        "epic/verb",
        "epic/noun",
        "epic/action",
    ),
    *(
        "in1k",
        "ucf101",
        "ucf101/1",
        "ucf101/2",
        "ucf101/3",
        "hmdb51",
        "hmdb51/1",
        "hmdb51/2",
        "hmdb51/3",
        "jester",
        "coin",
    ),
    *("ava", "ava/all", "ava/2.1", "ava_kinetics", "ava_kinetics/kinetics"),
]


# ---------------------------------------------------------------------------------------------------------- all of them


def test_every_name_is_listed_with_a_line() -> None:
    listed = tables.names("datasets")
    assert set(NAMES) <= set(listed)
    assert all(listed[name] and len(listed[name]) < 100 for name in NAMES)
    assert "epic" not in listed  # it has no default variant


def test_what_the_cards_saw_is_a_name_here() -> None:
    families = {name.partition("/")[0] for name in NAMES}
    seen = set().union(*(card.pretraining_datasets for card in cards().values()))
    assert {"k400", "k600", "k700", "ssv2", "mit", "in1k"} <= seen & families


@pytest.mark.parametrize("name", NAMES)
def test_the_error_without_a_folder_explains_how_to_give_one(name: str, tmp_path: Path) -> None:
    text = complaint(name, None)
    assert text.startswith(f"{name}: ")
    assert f"{name}=FOLDER" in text
    assert "--data-root FOLDER" in text
    assert f"{name.partition('/')[0]}/" in text
    (tmp_path / "data").mkdir()
    assert "is not a folder; did you mean 'data'?" in complaint(name, tmp_path / "dat")


@pytest.mark.parametrize("name", NAMES)
def test_the_error_for_an_empty_folder_lists_the_missing_files(name: str, tmp_path: Path) -> None:
    text = complaint(name, tmp_path)
    assert text.startswith(f"{tmp_path}: no ")
    assert "there or into annotations/" in text or "expected" in text


def test_unknown_variants_name_the_nearest() -> None:
    assert complaint("mit/306", None) == "no dataset 'mit/306'; did you mean 'mit/305'?; see `vitascope ls datasets`"
    assert "did you mean 'epic/verb'?" in complaint("epic/verbs", None)
    assert complaint("epic", None).startswith("no dataset 'epic'; did you mean 'epic/")


# ------------------------------------------------------------------------------------------------------------- Kinetics

HEAD = "label,youtube_id,time_start,time_end,split"


def kinetics(root: Path, *, val: str = "validate.csv") -> Path:
    train = [
        HEAD,
        "abseiling,-aU-xCCzkT0,61,71,train",
        'passing American football (in game),"_x,y1234567",0,10,train',
        "zumba,0000000000a,5,15,train",
        "zumba,0000000000a,5,15,train",
        "air drumming,gone0000000,1,11,train",
    ]
    test = [f"{HEAD},is_cc", "abseiling,0wR5jVB-WPk,417,427,val,0", "massaging person's head,3caPS4FHFF8,36,46,val,1"]
    write(root, "annotations/train.csv", train)
    write(root, f"annotations/{val}", test)
    return lay(
        root,
        "train/abseiling/-aU-xCCzkT0_000061_000071.mp4",
        "train/passing_American_football_(in_game)/_x,y1234567_000000_000010.mkv",
        "train/zumba/0000000000a_000005_000015.webm",
        "val/abseiling/0wR5jVB-WPk_000417_000427.mp4",
        "val/massaging person's head/3caPS4FHFF8_000036_000046.mp4",
    )


@pytest.mark.parametrize("name", ["k400", "k600", "k700"])
def test_kinetics_tables(name: str, tmp_path: Path) -> None:
    dataset = build(name, kinetics(tmp_path))
    assert (dataset.name, len(dataset.classes), dataset.axis) == (name, int(name[1:]), "appearance")
    assert said(dataset) == {
        "-aU-xCCzkT0_000061_000071": "abseiling",
        "_x,y1234567_000000_000010": "passing American football (in game)",
        "0000000000a_000005_000015": "zumba",
        "gone0000000_000001_000011": "air drumming",
        "0wR5jVB-WPk_000417_000427": "abseiling",
        "3caPS4FHFF8_000036_000046": "massaging person's head",
    }
    assert files(dataset)["_x,y1234567_000000_000010"].startswith("train/passing_American_football_(in_game)/")
    assert dataset.missing_files == {"gone0000000_000001_000011": f"no gone0000000_000001_000011 below {tmp_path}"}
    assert sides(dataset)[1] == ("0wR5jVB-WPk_000417_000427", "3caPS4FHFF8_000036_000046")
    assert [e.group for e in dataset.examples][:2] == ["-aU-xCCzkT0", "_x,y1234567"]
    assert {e.span for e in dataset.examples} == {None}
    assert dataset.key.startswith(f"{name}-")
    assert dataset.key != build(name, kinetics(tmp_path / "elsewhere")).key


def test_a_class_that_is_not_trained_is_allowed_and_can_be_seen(tmp_path: Path) -> None:
    dataset = build("k400", kinetics(tmp_path))
    truth = {e.id: e.truth for e in dataset.examples}
    assert classes_only_in_test(truth, dataset.folds[0], dataset.classes) == ["massaging person's head"]
    with pytest.raises(ValueError, match=r"1 label\(s\) in test but not in training"):
        check_labels(dataset.examples, dataset.folds, dataset.classes, where="here")


@pytest.mark.parametrize(
    "place",
    [
        "videos/{v}_000061_000071.mp4",
        "{v}_61_71.avi",
        "compress/train_256/abseiling/{v}.MP4",
        "a b/c/{v}_000061_000071.MKV",
    ],
)
def test_kinetics_videos_are_found_wherever_they_are(place: str, tmp_path: Path) -> None:
    write(tmp_path, "kinetics-400_train.csv", [HEAD, "abseiling,-aU-xCCzkT0,61,71,train"])
    write(tmp_path, "kinetics-400_val.csv", [HEAD, "abseiling,0wR5jVB-WPk,417,427,val"])
    dataset = build("k400", lay(tmp_path, place.format(v="-aU-xCCzkT0")))
    assert files(dataset)["-aU-xCCzkT0_000061_000071"] == place.format(v="-aU-xCCzkT0")
    assert list(dataset.missing_files) == ["0wR5jVB-WPk_000417_000427"]


def test_two_clips_of_a_video_are_not_taken_for_one_another(tmp_path: Path) -> None:
    rows = ["abseiling,-aU-xCCzkT0,0,10,train", "zumba,-aU-xCCzkT0,50,60,train", "zumba,-aU-xCCzkT0,0,10,train"]
    write(tmp_path, "train.csv", [HEAD, *rows])
    write(tmp_path, "val.csv", [HEAD, "zumba,-aU-xCCzkT0,80,90,val"])
    lay(tmp_path, "-aU-xCCzkT0.mp4", "train/zumba/-aU-xCCzkT0_000000_000010.mp4")
    dataset = build("k400", lay(tmp_path, "train/abseiling/-aU-xCCzkT0_000000_000010.mp4"))
    first, second, third, tested = dataset.examples
    assert (first.id, third.id) == ("-aU-xCCzkT0_000000_000010@abseiling", "-aU-xCCzkT0_000000_000010@zumba")
    assert files(dataset)[first.id] == "train/abseiling/-aU-xCCzkT0_000000_000010.mp4"
    assert files(dataset)[third.id] == "train/zumba/-aU-xCCzkT0_000000_000010.mp4"
    assert list(dataset.missing_files) == [second.id]  # the bare name tells neither; of the one clip of val it does
    assert files(dataset)[tested.id] == "-aU-xCCzkT0.mp4"
    assert {e.group for e in dataset.examples} == {None}  # the split divides the video: no group


LISTS = {
    "spaces": ["/data/k 400/train/abseiling/a b, c.mp4 0", "/data/k 400/train/zumba/d.mp4 399"],
    "commas": ["train/abseiling/a b, c.mp4,0", "train/zumba/d.mp4,399"],
}


@pytest.mark.parametrize("kind", LISTS)
def test_kinetics_lists_of_paths_and_numbers(kind: str, tmp_path: Path) -> None:
    write(tmp_path, "train.csv", LISTS[kind])
    write(tmp_path, "val.csv", [line.replace("/a b, c", "/e").replace("/d", "/f") for line in LISTS[kind]])
    dataset = build("k400", lay(tmp_path, "videos/a b, c.mp4", "videos/d.webm", "videos/f.mp4"))
    assert said(dataset) == {"a b, c": "abseiling", "d": "zumba", "e": "abseiling", "f": "zumba"}
    assert files(dataset)["d"] == "videos/d.webm"
    assert list(dataset.missing_files) == ["e"]


def test_kinetics_lists_in_another_class_order_are_rejected(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", ["abseiling/a.mp4 0", "zumba/d.mp4 341"])
    write(tmp_path, "val.csv", ["e.mp4 0"])
    text = complaint("k400", lay(tmp_path, "a.mp4"))
    assert f"train.csv:2: zumba/d.mp4 has number 341, which is {labels('k400')[341]!r}" in text
    assert "use the authors' CSV" in text


def test_kinetics_lists_are_held_to_the_folders_on_disk_too(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", ["a.mp4 0"])
    write(tmp_path, "val.csv", ["e.mp4 341"])
    assert "val.csv:1: clips/abseiling/e.mp4 has number 341" in complaint(
        "k400", lay(tmp_path, "clips/abseiling/a.mp4", "clips/abseiling/e.mp4")
    )


def test_kinetics_lists_without_class_names_are_rejected(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", ["a.mp4,0"])
    write(tmp_path, "val.csv", ["e.mp4,0"])
    lay(tmp_path, "a.mp4", "e.mp4")
    assert "nothing names the classes" in complaint("k400", tmp_path)
    own = write(tmp_path, "label_map.txt", list(labels("k400")))
    assert said(build("k400", tmp_path)) == {"a": "abseiling", "e": "abseiling"}
    write(tmp_path, "label_map.txt", ["riding a bike", *labels("k400")[1:]])
    assert complaint("k400", tmp_path).startswith(f"{own}: class 0 is 'riding a bike', but 'abseiling' in")
    own.unlink()
    rows = [f"{i},{name}" for i, name in enumerate(labels("k400"))]
    write(tmp_path, "kinetics_400_labels.csv", ["id,name", *rows])
    assert len(build("k400", tmp_path).examples) == 2


def test_the_authors_tables_come_first(tmp_path: Path) -> None:
    kinetics(tmp_path)
    write(tmp_path, "k400_train.csv", ["a.mp4 341"])
    write(tmp_path, "k400_val.txt", ["a.mp4 341"])
    write(tmp_path, "train.csv", ["a.mp4 341"])
    write(tmp_path, "validate.csv", ["a.mp4 341"])
    assert len(build("k400", tmp_path).examples) == 6


# ----------------------------------------------------------------------------------------------- Something-Something V2


def ssv2(root: Path) -> Path:
    row = {"label": "holding a, b", "template": "Holding [something] next to [something]", "placeholders": ["a"]}
    other = {
        "label": "x",
        "template": "Lifting [something] up completely, then letting it drop down",
        "placeholders": [],
    }
    write(root, "labels/something-something-v2-train.json", [{"id": "78687", **row}, {"id": "42326", **other}])
    write(root, "labels/something-something-v2-validation.json", [{"id": "74225", **row}, {"id": "9", **other}])
    numbers = {name: str(i) for i, name in enumerate(labels("ssv2"))}
    write(root, "labels/something-something-v2-labels.json", dict(sorted(numbers.items(), key=lambda p: p[0][::-1])))
    return lay(root, *(f"20bn-something-something-v2/{i}.webm" for i in (78687, 42326, 74225)))


def test_ssv2_json(tmp_path: Path) -> None:
    dataset = build("ssv2", ssv2(tmp_path))
    assert said(dataset) == {
        "78687": "Holding something next to something",
        "42326": "Lifting something up completely, then letting it drop down",
        "74225": "Holding something next to something",
        "9": "Lifting something up completely, then letting it drop down",
    }
    assert [e.truth for e in dataset.examples] == [19, 28, 19, 28]
    assert sides(dataset) == (("78687", "42326"), ("74225", "9"))
    assert list(dataset.missing_files) == ["9"]
    assert (dataset.axis, dataset.official_counts) == ("motion", {"train": 168_913, "test": 24_777})


def test_ssv2_names_of_2023(tmp_path: Path) -> None:
    ssv2(tmp_path)
    place = tmp_path / "20bn-something-something-download-package-labels" / "labels"
    place.mkdir(parents=True)
    for word in ("train", "validation", "labels"):
        (tmp_path / "labels" / f"something-something-v2-{word}.json").rename(place / f"{word}.json")
    assert len(build("ssv2", tmp_path).examples) == 4


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("somesomev2_rgb_{long}_split.txt", "{id} 134 19"),
        ("{short}.csv", "/nfs/ssv2/{id}.mp4 19"),
        ("ssv2_{short}.csv", "videos/{id}.mp4,19"),
        ("sthv2_{short}_list_videos.txt", "{id}.mp4 19"),
    ],
)
def test_ssv2_lists(name: str, line: str, tmp_path: Path) -> None:
    write(tmp_path, name.format(long="train", short="train"), [line.format(id=1), line.format(id=2)])
    write(tmp_path, name.format(long="validation", short="val"), [line.format(id=3)])
    # UniFormer's list of classes is in another order than its numbers
    write(tmp_path, "category.txt", sorted(labels("ssv2"), reverse=True))
    dataset = build("ssv2", lay(tmp_path, "videos/1.mp4", "videos/3.mp4", "frames/2/00001.jpg"))
    assert said(dataset) == dict.fromkeys("123", "Holding something next to something")
    assert list(dataset.missing_files) == ["2"]  # frames of unknown rate are no video


def test_ssv2_other_order_of_classes(tmp_path: Path) -> None:
    ssv2(tmp_path)
    turned = {name: str(i) for i, name in enumerate(reversed(labels("ssv2")))}
    path = write(tmp_path, "labels/something-something-v2-labels.json", turned)
    text = complaint("ssv2", tmp_path)
    assert text.startswith(f"{path}: class 0 is 'Wiping something off of something', but 'Approaching something")


# ------------------------------------------------------------------------------------------------------ Moments in Time


def mit(root: Path, *, version: str = "mit") -> Path:
    odd = "getty-a, b.c_4"
    write(root, "trainingSet.csv", ["clapping/yt-5of6ffo6-Bw_205.mp4,clapping,3,0", f'"raining/{odd}.mp4",raining,2,1'])
    write(root, "validationSet.csv", ["clapping/x.mp4,clapping,3,0", f'"clapping/{odd}.mp4",clapping,2,1'])
    write(root, "moments_categories.txt", [f"{name},{i}" for i, name in enumerate(labels(version))])
    return lay(
        root,
        "training/clapping/yt-5of6ffo6-Bw_205.mp4",
        f"training/raining/{odd}.mp4",
        f"validation/clapping/{odd}.mp4",
    )


@pytest.mark.parametrize(("name", "classes"), [("mit", 339), ("mit/305", 305)])
def test_mit(name: str, classes: int, tmp_path: Path) -> None:
    odd = "getty-a, b.c_4.mp4"
    dataset = build(name, mit(tmp_path, version="mit" if classes == 339 else "mit_305"))
    assert (dataset.name, len(dataset.classes)) == (name, classes)
    assert sides(dataset) == (
        ("clapping/yt-5of6ffo6-Bw_205.mp4", f"raining/{odd}"),
        ("clapping/x.mp4", f"clapping/{odd}"),
    )
    assert files(dataset)[f"raining/{odd}"] == f"training/raining/{odd}"
    assert files(dataset)[f"clapping/{odd}"] == f"validation/clapping/{odd}"
    assert list(dataset.missing_files) == ["clapping/x.mp4"]


def test_the_versions_of_mit_are_distinguished(tmp_path: Path) -> None:
    assert complaint("mit", mit(tmp_path, version="mit_305")).endswith("305 classes, as in version 2; use mit/305")
    assert complaint("mit/305", mit(tmp_path, version="mit")).endswith("339 classes, as in version 1; use mit")
    (tmp_path / "moments_categories.txt").unlink()
    write(tmp_path, "trainingSet.csv", [f"{name}/1.mp4,{name},3,0" for name in labels("mit_305")])
    assert complaint("mit", tmp_path).endswith("these are the classes of version 2; use mit/305")
    assert len(build("mit/305", tmp_path).examples) == 307


# ------------------------------------------------------------------------------------------------------------ Diving-48


def diving(root: Path) -> Path:
    def dive(name: str, label: int) -> dict[str, Any]:
        return {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 100}

    write(root, "Diving48_V2_train.json", [dive("_8Vy3dlHg2w_00000", 20), dive("_8Vy3dlHg2w_00001", 0)])
    write(root, "Diving48_V2_test.json", [dive("2x00lRzlTVQ_00000", 47)])
    write(root, "Diving48_vocab.json", [name.split("+") for name in labels("diving48")])
    return lay(root, "rgb/_8Vy3dlHg2w_00000.mp4", "rgb/2x00lRzlTVQ_00000.mp4")


def test_diving48_json(tmp_path: Path) -> None:
    dataset = build("diving48", diving(tmp_path))
    assert [e.truth for e in dataset.examples] == [20, 0, 47]
    assert [e.group for e in dataset.examples] == ["_8Vy3dlHg2w", "_8Vy3dlHg2w", "2x00lRzlTVQ"]
    assert sides(dataset) == (("_8Vy3dlHg2w_00000", "_8Vy3dlHg2w_00001"), ("2x00lRzlTVQ_00000",))
    assert list(dataset.missing_files) == ["_8Vy3dlHg2w_00001"]
    assert said(dataset)["2x00lRzlTVQ_00000"] == "Reverse+Dive+NoTwis+TUCK"


def test_diving48_lists_hold_labels_of_version_1_as_folders(tmp_path: Path) -> None:
    write(tmp_path, "diving48_train_list_videos.txt", ["32/VNvb5oLOpLg_00009.mp4 31", "15/VNvb5oLOpLg_00003.mp4 15"])
    write(tmp_path, "diving48_val_list_videos.txt", ["44/cs8g1es4vfM_00015.mp4 24"])
    dataset = build("diving48", lay(tmp_path, "videos/VNvb5oLOpLg_00009.mp4"))
    assert [e.truth for e in dataset.examples] == [31, 15, 24]
    assert files(dataset)["VNvb5oLOpLg_00009"] == "videos/VNvb5oLOpLg_00009.mp4"


def test_diving48_version_1_is_rejected(tmp_path: Path) -> None:
    diving(tmp_path)
    (tmp_path / "Diving48_V2_test.json").rename(tmp_path / "Diving48_test.json")
    assert "Diving48_test.json: version 1, whose labels are faulty" in complaint("diving48", tmp_path)
    many = [f"x/a_{i:05}.mp4 1" for i in range(2_096)]
    write(tmp_path, "diving48_val_list_videos.txt", many)
    assert "2,096 dives, but version 2 has 1,970; this is version 1" in complaint("diving48", tmp_path)
    write(tmp_path, "Diving48_vocab.json", [["Back", "15som", "25Twis", "FREE"]])
    assert "class 0 is 'Back+15som+25Twis+FREE', but" in complaint("diving48", tmp_path)


# -------------------------------------------------------------------------------------------------------- EPIC-KITCHENS

EPIC = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


def narration(name: str, start: str, stop: str, verb: int, noun: int) -> str:
    video = name.rpartition("_")[0]
    return f"{name},{video[:3]},{video},{start},{start},{stop},1,113,\"take, plate\",take,{verb},plate,{noun},['p'],[2]"


def epic(root: Path) -> Path:
    place = "epic-kitchens-100-annotations"
    rows = [("P01_01_0", 3, 3), ("P01_01_1", 0, 2), ("P22_107_0", 0, 2)]
    train = [narration(name, "00:00:00.14", "01:02:03.37", verb, noun) for name, verb, noun in rows]
    write(root, f"{place}/EPIC_100_train.csv", [EPIC, *train])
    test = [
        narration("P01_11_0", "00:00:00.00", "00:00:01.89", 0, 2),
        narration("P01_11_1", "00:00:01.5", "00:00:02", 1, 299),
    ]
    write(root, f"{place}/EPIC_100_validation.csv", [EPIC, *test])
    for factor in ("verb", "noun"):
        known = [f"{i},{name},\"['x', 'y']\",z" for i, name in enumerate(labels(f"epic_{factor}"))]
        write(root, f"{place}/EPIC_100_{factor}_classes.csv", ["id,key,instances,category", *known])
    return root


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("P01/videos/P01_01.MP4", "P01/videos/P01_11.MP4"),
        ("videos/P01_01.mp4", "videos/P01_11.mp4"),
        ("P01_01.MP4", "P01_11.webm"),
        ("EPIC-KITCHENS/P01/videos/P01_01.MP4", "EPIC-KITCHENS/P01/videos/P01_11.MP4"),
    ],
)
def test_epic_spans_of_whole_videos(first: str, second: str, tmp_path: Path) -> None:
    dataset = build("epic/verb", lay(epic(tmp_path), first, second))
    assert files(dataset)["P01_01_0"] == files(dataset)["P01_01_1"] == first
    assert files(dataset)["P01_11_0"] == second
    assert dataset.examples[0].span == (0.14, 3723.37)
    assert [e.truth for e in dataset.examples] == [3, 0, 0, 0, 1]
    assert [e.group for e in dataset.examples] == ["P01_01", "P01_01", "P22_107", "P01_11", "P01_11"]
    assert sides(dataset) == (("P01_01_0", "P01_01_1", "P22_107_0"), ("P01_11_0", "P01_11_1"))
    assert list(dataset.missing_files) == ["P22_107_0"]
    assert dataset.axis == ""


def test_epic_clips_that_are_cut_out(tmp_path: Path) -> None:
    dataset = build("epic/noun", lay(epic(tmp_path), "clips/P01_01_1.mp4", "P01/P01_01.MP4"))
    by_id = dataset.by_id()
    assert (by_id["P01_01_1"].span, files(dataset)["P01_01_1"]) == (None, "clips/P01_01_1.mp4")
    assert (by_id["P01_01_0"].span, files(dataset)["P01_01_0"]) == ((0.14, 3723.37), "P01/P01_01.MP4")
    assert said(dataset)["P01_11_1"] == labels("epic_noun")[299]


def test_epic_actions_are_pairs(tmp_path: Path) -> None:
    root = lay(epic(tmp_path), "P01_01.MP4")
    dataset = build("epic/action", root)
    assert dataset.classes == ("take plate", "put extract:vanilla", "open cupboard")
    verbs, nouns = dataset.factors
    assert (verbs, nouns) == ((0, 1, 3), (2, 299, 3))
    assert dataset.factor_names == ("verb", "noun")
    assert dataset.factor_classes == (labels("epic_verb"), labels("epic_noun"))
    assert [e.truth for e in dataset.examples] == [2, 0, 0, 0, 1]
    truth = {e.id: e.truth for e in dataset.examples}
    assert classes_only_in_test(truth, dataset.folds[0], dataset.classes) == ["put extract:vanilla"]
    keys = {build(f"epic/{variant}", root).key for variant in ("verb", "noun", "action")}
    assert keys == {dataset.key}


def test_epic_tables_of_the_detection_task(tmp_path: Path) -> None:
    head = "narration_id,video,start,stop,verb,noun,action"
    write(tmp_path, "c2_training.csv", [head, "P01_01_0,P01_01,4,101,3,3,2413"])
    write(tmp_path, "c2_validation.csv", [head, "P01_11_0,P01_11,1,56,0,2,106"])
    dataset = build("epic/noun", lay(tmp_path, "P01_01.MP4"))
    assert dataset.examples[0].span == pytest.approx((4 / 30, 101 / 30), abs=1e-5)
    assert [e.truth for e in dataset.examples] == [3, 2]


def test_epic_rows_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "epic-kitchens-100-annotations" / "EPIC_100_train.csv"
    for row, text in {
        narration(
            "P01_01_0", "00:00:03.5", "00:00:03.5", 0, 0
        ): ":2: the action ends at 00:00:03.5, not after its start",
        narration("P01_01_0", "3.5", "00:00:03.5", 0, 0): ":2: '3.5' is not a time like 00:05:27.28",
        narration(
            "P01_01_0", "00:00:00", "00:00:01", 97, 0
        ): ":2: label '97' is out of range; class numbers are 0 to 96",
        narration(
            "P01_01_0", "00:00:00", "00:00:01", 0, -1
        ): ":2: label '-1' is out of range; class numbers are 0 to 299",
        narration("../P01_01_0", "00:00:00", "00:00:01", 0, 0): ":2: '../P01_01' is not a video name",
    }.items():
        write(lay(epic(tmp_path), "P01_01.MP4"), str(path.relative_to(tmp_path)), [EPIC, row])
        assert f"{path}{text}" in complaint("epic/verb", tmp_path)
