"""The recognition data sets in every layout that goes round: tiny copies, of which nothing is decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitascope import catalogue, listing
from vitascope.annotations import labels
from vitascope.evaluation import open_dataset
from vitascope.split import check_labels, untrained
from vitascope.types import Dataset

NAMES = [
    *("k400", "k600", "k700", "ssv2", "mit", "mit/305", "diving48", "epic/verb", "epic/noun", "epic/action", "in1k"),
    *("ucf101", "ucf101/1", "ucf101/2", "ucf101/3", "hmdb51", "hmdb51/1", "hmdb51/2", "hmdb51/3", "jester", "coin"),
]


def lay(root: Path, *names: str) -> Path:
    """Empty files by name below `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write(root: Path, name: str, content: Any) -> Path:
    """An annotation file: text as it is, lists of text by line, anything else as json."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        content = "\n".join(content) + "\n"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def build(name: str, root: Path) -> Dataset[int]:
    return catalogue.builder("datasets", name)(root=root)


def files(dataset: Dataset[int]) -> dict[str, str]:
    """Where each example lies below the root."""
    return {e.id: str(Path(e.path).relative_to(dataset.root)) for e in dataset.examples}


def said(dataset: Dataset[int]) -> dict[str, str]:
    """The class of each example."""
    return {e.id: dataset.classes[e.truth] for e in dataset.examples}


def sides(dataset: Dataset[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    (fold,) = dataset.folds
    return fold.train, fold.test


def complaint(name: str, root: Path | None) -> str:
    """The one line that is said of a wrong folder."""
    with pytest.raises(ValueError) as error:
        catalogue.builder("datasets", name)(root=root)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------------------------------------------------- all of them


def test_every_name_is_listed_with_a_line() -> None:
    listed = listing.names("datasets")
    assert set(NAMES) <= set(listed)
    assert all(listed[name] and len(listed[name]) < 100 for name in NAMES)
    assert "epic" not in listed  # which of its questions is meant has to be said


def test_what_the_cards_saw_is_a_name_here() -> None:
    families = {name.partition("/")[0] for name in NAMES}
    seen = set().union(*(card.saw for card in catalogue.cards().values()))
    assert {"k400", "k600", "k700", "ssv2", "mit", "in1k"} <= seen & families


@pytest.mark.parametrize("name", NAMES)
def test_without_a_folder_it_is_said_how_to_give_one(name: str, tmp_path: Path) -> None:
    text = complaint(name, None)
    assert text.startswith(f"{name}: ")
    assert f"{name}=FOLDER" in text
    assert "--data-root FOLDER" in text
    assert f"{name.partition('/')[0]}/" in text
    (tmp_path / "data").mkdir()
    assert "is no folder; did you mean 'data'?" in complaint(name, tmp_path / "dat")


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_told_what_it_lacks(name: str, tmp_path: Path) -> None:
    text = complaint(name, tmp_path)
    assert text.startswith(f"{tmp_path}: no ")
    assert "looked in it and in its annotations/ for" in text or "expected" in text


def test_unknown_variants_name_the_nearest() -> None:
    assert complaint("mit/306", None) == "no dataset 'mit/306'; did you mean 'mit/305'?; see `vitascope ls datasets`"
    assert "did you mean 'epic/verb'?" in complaint("epic/verbs", None)
    assert complaint("epic", None).startswith("no dataset 'epic'; did you mean 'epic/")


def test_a_data_root_holds_a_folder_for_each(tmp_path: Path) -> None:
    ucf(tmp_path / "UCF101")
    assert open_dataset("ucf101/1", tmp_path).name == "ucf101/1"
    assert open_dataset(f"ucf101={tmp_path / 'UCF101'}").name == "ucf101"


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
    assert dataset.absent == {"gone0000000_000001_000011": f"no gone0000000_000001_000011 below {tmp_path}"}
    assert sides(dataset)[1] == ("0wR5jVB-WPk_000417_000427", "3caPS4FHFF8_000036_000046")
    assert [e.group for e in dataset.examples][:2] == ["-aU-xCCzkT0", "_x,y1234567"]
    assert {e.span for e in dataset.examples} == {None}
    assert dataset.key.startswith(f"{name}-")
    assert dataset.key != build(name, kinetics(tmp_path / "elsewhere")).key


def test_a_class_that_is_not_trained_is_allowed_and_can_be_seen(tmp_path: Path) -> None:
    dataset = build("k400", kinetics(tmp_path))
    truth = {e.id: e.truth for e in dataset.examples}
    assert untrained(truth, dataset.folds[0], dataset.classes) == ["massaging person's head"]
    with pytest.raises(ValueError, match=r"1 label\(s\) only in test, never in training"):
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
    assert list(dataset.absent) == ["0wR5jVB-WPk_000417_000427"]


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
    assert list(dataset.absent) == [second.id]  # the bare name tells neither; of the one clip of val it does
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
    assert list(dataset.absent) == ["e"]


def test_kinetics_lists_that_count_otherwise_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", ["abseiling/a.mp4 0", "zumba/d.mp4 341"])
    write(tmp_path, "val.csv", ["e.mp4 0"])
    text = complaint("k400", lay(tmp_path, "a.mp4"))
    assert f"train.csv:2: zumba/d.mp4 is of class 341, in alphabetical order {labels('k400')[341]!r}" in text
    assert "use the authors' csv" in text


def test_kinetics_lists_are_held_to_the_folders_on_disk_too(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", ["a.mp4 0"])
    write(tmp_path, "val.csv", ["e.mp4 341"])
    assert "val.csv:1: clips/abseiling/e.mp4 is of class 341" in complaint(
        "k400", lay(tmp_path, "clips/abseiling/a.mp4", "clips/abseiling/e.mp4")
    )


def test_kinetics_numbers_alone_are_not_believed(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", ["a.mp4,0"])
    write(tmp_path, "val.csv", ["e.mp4,0"])
    lay(tmp_path, "a.mp4", "e.mp4")
    assert "nothing names a class" in complaint("k400", tmp_path)
    own = write(tmp_path, "label_map.txt", list(labels("k400")))
    assert said(build("k400", tmp_path)) == {"a": "abseiling", "e": "abseiling"}
    write(tmp_path, "label_map.txt", ["riding a bike", *labels("k400")[1:]])
    assert complaint("k400", tmp_path).startswith(f"{own}: class 0 is 'riding a bike' there and 'abseiling' in")
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
    assert list(dataset.absent) == ["9"]
    assert (dataset.axis, dataset.published) == ("motion", {"train": 168_913, "test": 24_777})


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
    assert list(dataset.absent) == ["2"]  # frames of unknown rate are no video


def test_ssv2_other_order_of_classes(tmp_path: Path) -> None:
    ssv2(tmp_path)
    turned = {name: str(i) for i, name in enumerate(reversed(labels("ssv2")))}
    path = write(tmp_path, "labels/something-something-v2-labels.json", turned)
    text = complaint("ssv2", tmp_path)
    assert text.startswith(f"{path}: class 0 is 'Wiping something off of something' there and 'Approaching something")


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
    assert list(dataset.absent) == ["clapping/x.mp4"]


def test_the_versions_of_mit_are_told_apart(tmp_path: Path) -> None:
    assert complaint("mit", mit(tmp_path, version="mit_305")).endswith("305 classes are version 2; ask for mit/305")
    assert complaint("mit/305", mit(tmp_path, version="mit")).endswith("339 classes are version 1; ask for mit")
    (tmp_path / "moments_categories.txt").unlink()
    write(tmp_path, "trainingSet.csv", [f"{name}/1.mp4,{name},3,0" for name in labels("mit_305")])
    assert complaint("mit", tmp_path).endswith("just the classes of version 2; ask for mit/305")
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
    assert list(dataset.absent) == ["_8Vy3dlHg2w_00001"]
    assert said(dataset)["2x00lRzlTVQ_00000"] == "Reverse+Dive+NoTwis+TUCK"


def test_diving48_lists_hold_labels_of_version_1_as_folders(tmp_path: Path) -> None:
    write(tmp_path, "diving48_train_list_videos.txt", ["32/VNvb5oLOpLg_00009.mp4 31", "15/VNvb5oLOpLg_00003.mp4 15"])
    write(tmp_path, "diving48_val_list_videos.txt", ["44/cs8g1es4vfM_00015.mp4 24"])
    dataset = build("diving48", lay(tmp_path, "videos/VNvb5oLOpLg_00009.mp4"))
    assert [e.truth for e in dataset.examples] == [31, 15, 24]
    assert files(dataset)["VNvb5oLOpLg_00009"] == "videos/VNvb5oLOpLg_00009.mp4"


def test_diving48_version_1_is_refused(tmp_path: Path) -> None:
    diving(tmp_path)
    (tmp_path / "Diving48_V2_test.json").rename(tmp_path / "Diving48_test.json")
    assert "Diving48_test.json is version 1, whose labels are wrong" in complaint("diving48", tmp_path)
    many = [f"x/a_{i:05}.mp4 1" for i in range(2_096)]
    write(tmp_path, "diving48_val_list_videos.txt", many)
    assert "2,096 dives, version 2 has 1,970; this is version 1" in complaint("diving48", tmp_path)
    write(tmp_path, "Diving48_vocab.json", [["Back", "15som", "25Twis", "FREE"]])
    assert "class 0 is 'Back+15som+25Twis+FREE' there" in complaint("diving48", tmp_path)


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
    assert list(dataset.absent) == ["P22_107_0"]
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
    assert untrained(truth, dataset.folds[0], dataset.classes) == ["put extract:vanilla"]
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
        ): ":2: the action stops at 00:00:03.5, not after its start",
        narration("P01_01_0", "3.5", "00:00:03.5", 0, 0): ":2: '3.5' is not a time like 00:05:27.28",
        narration(
            "P01_01_0", "00:00:00", "00:00:01", 97, 0
        ): ":2: label '97' is out of range; classes are numbered 0 to 96",
        narration(
            "P01_01_0", "00:00:00", "00:00:01", 0, -1
        ): ":2: label '-1' is out of range; classes are numbered 0 to 299",
        narration("../P01_01_0", "00:00:00", "00:00:01", 0, 0): ":2: '../P01_01' is the name of no video",
    }.items():
        write(lay(epic(tmp_path), "P01_01.MP4"), str(path.relative_to(tmp_path)), [EPIC, row])
        assert f"{path}{text}" in complaint("epic/verb", tmp_path)


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
    assert list(dataset.absent) == [f"v_ApplyEyeMakeup_g0{split}_c01"]


def test_ucf101_numbers_are_of_the_folders(tmp_path: Path) -> None:
    write(ucf(tmp_path), "ucfTrainTestlist/trainlist01.txt", ["YoYo/v_YoYo_g08_c01.avi 1"])
    assert complaint("ucf101", tmp_path).endswith("v_YoYo_g08_c01.avi is numbered 1, which is 'ApplyEyeMakeup'")
    write(tmp_path, "ucfTrainTestlist/trainlist01.txt", ["YoYo/v_YoYo_g08_c01.avi 0"])
    assert complaint("ucf101", tmp_path).endswith("label '0' is out of range; classes are numbered 1 to 101")


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
    assert list(dataset.absent) == ["y_wave_f_cm_np1_fr_med_0"]
    write(tmp_path, name.format("val"), [line.format(name="y_wave_f_cm_np1_fr_med_0", label=5)])
    assert complaint("hmdb51", tmp_path).endswith("number 5 is 'climb' in alphabetical order, its name says otherwise")


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
    assert list(dataset.absent) == ["7"]


def test_jester_videos(tmp_path: Path) -> None:
    write(tmp_path, "annotations/train.csv", ["34870;Drumming Fingers"])
    write(tmp_path, "annotations/validation.csv", ["9223;Thumb up"])
    dataset = build("jester", lay(tmp_path, "videos/34870.mp4", "videos/9223.webm"))
    assert files(dataset) == {"34870": "videos/34870.mp4", "9223": "videos/9223.webm"}
    write(tmp_path, "annotations/jester-v1-labels.csv", sorted(labels("jester")))
    assert "class 0 is 'Doing other things' there and 'Swiping Left'" in complaint("jester", tmp_path)


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
    assert list(dataset.absent) == ["bbbbbbbbbbb"]
    assert {e.span for e in dataset.examples} == {None}
    assert "has number 130, which is 'ReplaceBulb'" not in complaint("coin", coin(tmp_path, recipe_type=130))
    assert "class 'ReplaceCDDriveWithSSD' has number 130, which is" in complaint(
        "coin", coin(tmp_path, recipe_type=130)
    )
    assert "subset 'trainig' is neither" in complaint("coin", coin(tmp_path, subset="trainig"))
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
    assert (dataset.published, dataset.absent) == ({"train": 1_281_167, "test": 50_000}, {})


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
    assert list(dataset.absent) == ["ILSVRC2012_val_00000007"]


def test_in1k_other_orders_are_refused(tmp_path: Path) -> None:
    assert "no list of the val images, which are not in folders" in complaint("in1k", flat(tmp_path))
    write(tmp_path, "ILSVRC2012_validation_ground_truth.txt", ["490", "361"])
    assert "counts classes as the development kit does; give val.txt" in complaint("in1k", tmp_path)
    write(tmp_path, "val.txt", ["ILSVRC2012_val_00000002.JPEG 361"])
    assert "ILSVRC2012_val_00000002 is 361 there and 970 by sorted synset" in complaint("in1k", tmp_path)


def test_in1k_strange_folders(tmp_path: Path) -> None:
    lay(in1k(tmp_path), "train/n99999999/x.JPEG")
    assert complaint("in1k", tmp_path).endswith("train/n99999999: none of the 1,000 synsets of ILSVRC2012")
    (tmp_path / "train" / "n99999999" / "x.JPEG").unlink()
    (tmp_path / "train" / "n99999999").rmdir()
    lay(tmp_path, f"train/{SHARK}/{TENCH}_2.JPEG")
    assert complaint("in1k", tmp_path) == f"{tmp_path}: image '{TENCH}_2' is there twice; remove one"
