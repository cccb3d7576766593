"""Reading of lists, tables and JSON files as they circulate, and lookup of videos by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.core.media import stem
from vitascope.core.names import loose
from vitascope.datasets.catalog import DATASETS
from vitascope.datasets.readers import annotation_files
from vitascope.datasets.readers import video_files as footage
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    find_annotations,
    labels,
)
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, assemble, relative_path, require_videos

NAMES = [
    *("k400", "k600", "k700", "ssv2", "mit", "mit_305", "diving48", "epic_verb", "epic_noun"),
    *("charades", "in1k", "ucf101", "hmdb51", "jester", "coin"),
]
COUNTS = [400, 600, 700, 174, 339, 305, 48, 97, 300, 157, 1000, 101, 51, 27, 180]
ABC = ClassOrder(("alpha", "beta (not gamma)", "don't"))


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(("name", "count"), list(zip(NAMES, COUNTS, strict=True)))
def test_labels_are_as_many_as_the_authors_say_and_tell_their_source(name: str, count: int) -> None:
    names = labels(name)
    assert len(names) == len({loose(n) for n in names}) == count
    assert all(n == n.strip() and n for n in names)
    file = annotation_files.LABELS / f"{name}.txt"
    assert file.read_text(encoding="utf-8").startswith("# source: ")


@pytest.mark.parametrize("name", ["k400", "k600", "k700", "ssv2", "diving48", "hmdb51"])
def test_alphabetical_orders(name: str) -> None:
    assert list(labels(name)) == sorted(labels(name))


def test_orders_by_name_and_number() -> None:
    assert [ABC.index(n, "x") for n in ("Alpha", "beta_(not_gamma)", "beta not gamma", "dont")] == [0, 1, 1, 2]
    assert [ABC.parse(n, "x") for n in "012"] == [0, 1, 2]
    with pytest.raises(
        ValueError, match=r"^f:3: 'alpa' is not one of the 3 classes of this dataset; did you mean 'alpha'\?$"
    ):
        ABC.index("alpa", "f:3")
    for wrong in ("3", "-1", "1.0", "x", ""):
        with pytest.raises(ValueError, match=r"is out of range; class numbers are 0 to 2$"):
            ABC.parse(wrong, "f:3")
    ABC.check(["ALPHA", "beta_(not_gamma)", "don't"], Path("f"))
    with pytest.raises(ValueError, match=r"^f: class 1 is 'gamma', but 'beta \(not gamma\)' in the official order"):
        ABC.check(["alpha", "gamma"], Path("f"))
    with pytest.raises(ValueError, match=r"^f: 2 classes, but the dataset has 3$"):
        ABC.check(["alpha", "beta not gamma"], Path("f"))


def test_classes_that_loose_spelling_merges_are_refused_with_both_names() -> None:
    order = ClassOrder(("temp+", "temp-", "Open", "open"))
    assert [order.index(n, "x") for n in order.classes] == [0, 1, 2, 3]
    for label, pair in (
        ("temp", "'temp+' and 'temp-'"),
        ("OPEN", "'Open' and 'open'"),
        ("temp!", "'temp+' and 'temp-'"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"f:3: {label!r} fits both {pair}; spell it as in the list")):
            order.index(label, "f:3")


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ,;"), min_size=1), st.integers(0, 2))
def test_paths_may_hold_what_parts_them_from_the_number(text: str, number: int) -> None:
    path = f"{text.strip() or 'x'}.mp4"
    for between in (" ", ",", ", ", ";"):
        match = annotation_files.NUMBERED.match(f"{path}{between}{number}")
        assert match is not None
        assert (match[1], match[2]) == (path, str(number))


def test_an_error_in_a_list_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    for text, said in {
        "a.mp4 0\n\nb.mp4\n": ":3: 'b.mp4' is not a path and a class number",
        "a.mp4 0\nb.mp4 3\n": ":2: label '3' is out of range; class numbers are 0 to 2",
    }.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError) as error:
            list(annotation_files.numbered_lines(path, ABC))
        assert str(error.value) == f"{path}{said}"
    path.write_bytes("a é 0\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not UTF-8 .*; save it as UTF-8$"):
        list(annotation_files.numbered_lines(path, ABC))


def test_an_error_in_a_table_names_column_and_line(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    for text, said in {
        "label,youtubeid\nx,y\n": ": no column 'youtube_id'; did you mean 'youtubeid'?; "
        "its columns are label, youtubeid",
        "": ": no column 'label'; its columns are none",
        'label,youtube_id\n"a\nb",c\nd\n': ":4: 1 cells, but the header has 2",
    }.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError) as error:
            list(annotation_files.read_table(path, "label", "youtube_id"))
        assert str(error.value) == f"{path}{said}"
    path.write_text("\ufeffa;b\n\nc\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r":3: 'c' has fewer than 2 columns$"):
        list(annotation_files.read_rows(path, ";", min_columns=2))


def test_invalid_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text, kind, said in (
        ("[\n1,", list, r": invalid JSON \(.*, line 2\)"),
        ("{}", list, ": expected a JSON array of videos$"),
        ("[]", dict, ": expected a JSON object of videos$"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=said):
            annotation_files.read_json(path, kind, "videos")
    for record, said in (
        ({}, "x: no field 'id'"),
        ("x", 'x: expected an object, not "x"'),
        ({"id": ["a"]}, 'x: id: expected text or a whole number, not ["a"]'),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            annotation_files.require_fields(record, "x", "id")
    assert annotation_files.require_fields({"id": 3}, "x", "id") == ["3"]


def test_annotation_files_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "Annotations/Train.CSV", "val.csv", "annotations.txt", "labels/deep/test.json", "labels/x.mp4")
    place = find_annotations(tmp_path, "deep")
    assert place.find("nothing.csv", "train.csv") == tmp_path / "Annotations" / "Train.CSV"
    assert place.find("test.json") == tmp_path / "labels" / "deep" / "test.json"
    assert place.find_all("train.csv", "no.csv", "VAL.csv") == [
        tmp_path / "Annotations" / "Train.CSV",
        tmp_path / "val.csv",
    ]
    assert place.find("x.mp4") is None
    with pytest.raises(ValueError) as error:
        place.require("list of the clips", "a.csv", "b.csv")
    assert str(error.value) == (f"{tmp_path}: no list of the clips; put a.csv or b.csv there or into annotations/")


def test_a_list_at_the_top_comes_before_one_below(tmp_path: Path) -> None:
    touch(tmp_path, "train.csv", "annotations/train.csv")
    assert find_annotations(tmp_path).find("train.csv") == tmp_path / "train.csv"
    assert isinstance(find_annotations(tmp_path), AnnotationFiles)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b/x.mp4", "x"),
        ("x.y.webm", "x.y"),
        ("Kill_Bill_Vol._1", "Kill_Bill_Vol._1"),
        (".mp4", ".mp4"),
        ("frames/00012", "00012"),
        ("-_a.MKV", "-_a"),
    ],
)
def test_stem(path: str, name: str) -> None:
    assert stem(path) == name


def test_videos_are_found_by_name_in_the_likest_folder(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("train/air drumming/x.mp4", "train/zumba/x.webm", "val/air_drumming/x.mkv", "deep/er/y.z.MP4"),
        *("notes/x.txt", ".hidden/y.mp4", "frames/w/img_00001.jpg", "frames/w/img_00002.jpg", "pictures/thumb.jpg"),
        "pictures/v.mp4",
    )
    footage = Footage(tmp_path)
    assert footage.find("train/air_drumming/x.mp4") == "train/air drumming/x.mp4"
    assert footage.find("val/air drumming/x.mp4") == "val/air_drumming/x.mkv"
    assert footage.find("train/Zumba/x.avi") == "train/zumba/x.webm"
    assert footage.find("y.z") == "deep/er/y.z.MP4"
    assert footage.find("gone.mp4", ("y.z",)) == "deep/er/y.z.MP4"
    assert footage.find("y") is None
    assert footage.find("w") is None
    assert footage.find("v") == "pictures/v.mp4"
    assert Footage(tmp_path, frames=True).find("elsewhere/w") == "frames/w"


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "a.mp4")
    root = touch(tmp_path / "root", "train.csv")
    os.symlink(tmp_path / "disk", root / "videos")
    os.symlink(root, root / "again")
    os.symlink(tmp_path, root / "above")
    os.symlink(tmp_path / "disk", root / "twice")
    footage = Footage(root)
    assert footage.find("a.mp4") in ("videos/a.mp4", "twice/a.mp4")  # one folder, read once
    os.symlink(tmp_path / "gone", root / "dangling.mp4")
    assert Footage(root).find("dangling.mp4") == "dangling.mp4"


@pytest.mark.parametrize("path", ["../x.mp4", "a/../../x.mp4", "..", "a\\..\\..\\x.mp4"])
def test_paths_outside_the_root_are_rejected(path: str) -> None:
    with pytest.raises(ValueError, match=r"^list:7: .* is outside the folder of the dataset; move or link the videos"):
        relative_path(path, "list:7")


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("a/./b//x.mp4", "a/b/x.mp4"),
        ("/nfs/somebody/k400/train/zumba/x.mp4", "train/zumba/x.mp4"),
        ("C:\\data\\train\\zumba\\x.mp4", "train/zumba/x.mp4"),
        ("s3://bucket/train/zumba/x.mp4", "train/zumba/x.mp4"),
        ("/x.mp4", "x.mp4"),
    ],
)
def test_paths_of_other_machines_keep_their_last_folders(path: str, kept: str) -> None:
    assert relative_path(path, "list:7") == kept


def entry(name: str, side: footage.Side, **more: object) -> LabeledVideo:
    return LabeledVideo(id=name, side=side, truth=0, file=f"videos/{name}.mp4", where=f"list:{name}", **more)  # type: ignore[arg-type]


def test_assembling(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4")
    entries = [entry("a", "train", group="g"), entry("b", "train", group="h"), entry("c", "test", group="g")]
    dataset = assemble("x/y", entries, ("k",), footage=Footage(tmp_path), axis="", official_counts={"test": 9})
    assert [e.group for e in dataset.examples] == [None, "h", None]  # the split divides g
    assert dataset.missing_files == {"a": f"no a below {tmp_path}", "c": f"no c below {tmp_path}"}
    assert [e.path for e in dataset.examples] == [f"{tmp_path}/{p}" for p in ("videos/a.mp4", "b.mp4", "videos/c.mp4")]
    assert (dataset.root, dataset.official_counts) == (str(tmp_path), {"test": 9})
    assert dataset.key.startswith("x-")
    assert require_videos(dataset) is dataset


def test_invalid_datasets(tmp_path: Path) -> None:
    def say(entries: list[LabeledVideo]) -> str:
        with pytest.raises(ValueError) as error:
            require_videos(assemble("x", entries, ("k",), footage=Footage(tmp_path), axis="", official_counts={}))
        return str(error.value)

    assert say([entry("a", "train"), entry("a", "test")]) == "list:a: 'a' is listed twice; first in list:a"
    assert say([entry("a", "train")]) == f"{tmp_path}: the annotations of x list no test examples"
    assert say([]) == f"{tmp_path}: the annotations of x list no train examples"
    assert say([entry("a", "train"), entry("b", "test")]) == (
        f"{tmp_path}: none of the 2 videos of x was found; expected e.g. {tmp_path}/videos/a.mp4, "
        "or a file of that name anywhere below the folder"
    )


@pytest.mark.parametrize(
    ("name", "train", "val", "line"),
    [
        ("ssv2", "train.csv", "val.csv", "{}.mp4 19"),
        ("diving48", "train.txt", "test.txt", "{}.mp4 19"),
        ("mit", "trainingSet.csv", "validationSet.csv", "clapping/{}.mp4,clapping,3,0"),
        ("jester", "train.csv", "validation.csv", "{};Thumb Up"),
        ("k400", "train.csv", "val.csv", "abseiling/{}.mp4 0"),
        ("hmdb51", "split1_train.txt", "split1_val.txt", "a_wave_{} 77 50"),
    ],
)
def test_every_list_rejects_duplicates_and_paths_outside_the_root(
    name: str, train: str, val: str, line: str, tmp_path: Path
) -> None:
    for texts, said in (
        (("1", "2", "1"), "is listed twice; first in"),
        (("1", "2", "../../../1"), "is outside the folder"),
    ):
        if name == "hmdb51":
            texts = tuple(t if t[0] != "." else "/../../../../1_wave_x" for t in texts)
        (tmp_path / train).write_text("\n".join(line.format(t) for t in texts), encoding="utf-8")
        (tmp_path / val).write_text(line.format("9"), encoding="utf-8")
        with pytest.raises(ValueError, match=said) as error:
            DATASETS.builder(name)(root=touch(tmp_path, "1.mp4"))
        assert f"{tmp_path / train}:3: " in str(error.value)
