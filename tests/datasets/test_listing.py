"""Lists of videos as people and programs write them: read whole, or refused with the line."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.core.types import Dataset
from vitascope.datasets.builders.folder import build
from vitascope.datasets.open import open_dataset
from vitascope.datasets.readers import tables
from vitascope.datasets.readers.listing import KNOWN, read_list

FILES = [f"v/{i}.mp4" for i in range(4)]
LABELS = ["left", "right", "left", "right"]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def write(root: Path, text: str | bytes, name: str = "manifest.csv", files: list[str] = FILES) -> Path:
    touch(root, *files)
    data = text if isinstance(text, bytes) else text.encode()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    return root


def pairs(dataset: Dataset[int]) -> dict[str, str]:
    """Label by id."""
    assert not dataset.missing_files
    return {e.id: dataset.classes[e.truth] for e in dataset.examples}


EXPECTED = dict(zip(FILES, LABELS, strict=True))
LINES = [",".join(pair) for pair in EXPECTED.items()]
TEXT = "\n".join(["path,label", *LINES])
FORMS = {
    "commas": TEXT,
    "semicolons": TEXT.replace(",", ";"),
    "tabs": TEXT.replace(",", "\t"),
    "bars": TEXT.replace(",", "|"),
    "a hint of Excel": "sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n"),
    "UTF-8 with mark": "\ufeff" + TEXT,
    "UTF-16": TEXT.encode("utf-16"),
    "old line ends": TEXT.replace("\n", "\r"),
    "blank lines and cells": TEXT.replace("\n", ",,\n\n,,\n").replace("path,label,,", "path,label"),
    "capitals": TEXT.replace("path,label", "Path, LABEL"),
    "quotes": TEXT.replace("left", '"left"').replace("right", '"right"'),
    "spaces after commas": TEXT.replace(",", ", "),
    "no header, commas": "\n".join(LINES),
    "no header, spaces": "\n".join(LINES).replace(",", " "),
    "no header, tabs": "\n".join(LINES).replace(",", "\t"),
    "no header, semicolons": "\n".join(LINES).replace(",", ";"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same(form: str, tmp_path: Path) -> None:
    dataset = build(str(write(tmp_path, FORMS[form])))
    assert pairs(dataset) == EXPECTED
    assert len([n for n in dataset.notes if "is taken as" in n]) == (2 if form == "capitals" else 0)


@given(
    st.lists(st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ,;|'\""), min_size=1, max_size=8))
)
def test_what_a_writer_of_tables_quotes_is_read_back(labels: list[str]) -> None:
    for delimiter in ",;\t|":
        file = io.StringIO()
        rows = [(f"{i}.mp4", label.strip() or "x") for i, label in enumerate(labels)]
        csv.writer(file, delimiter=delimiter).writerows([("path", "label"), *rows])
        text = file.getvalue()
        assert tables.sniff(text.splitlines()[0], KNOWN) == (delimiter, ["path", "label"])
        read = [cells for _, cells in tables._delimited(text, Path("m.csv"), 1, delimiter)]
        assert read == [["path", "label"], *map(list, rows)]


BAD = {
    "path,label\nv/0.mp4,open, door\nv/1.mp4,shut\n": (
        'manifest.csv:2: 3 cells, but 2 columns; put quotes around a cell that contains commas, as in "open, door"'
    ),
    "path;label\nv/0.mp4;a\nv/1.mp4;b;c\n": "manifest.csv:3: 3 cells, but 2 columns; put quotes around a cell",
    "path,label,group\nv/0.mp4,a,g\nv/1.mp4,b\n": "manifest.csv:3: 2 cells, but 3 columns; fill in the others",
    "v/0.mp4,open, door\nv/1.mp4,shut\n": "manifest.csv:1: 3 cells, but 2 columns",
    "v/0.mp4\tleft\nv/1.mp4\n": "manifest.csv:2: 1 cell, but 2 columns",
    "path,label,label\nv/0.mp4,a,b\n": "the columns 'label' and 'label' both stand for 'label'; remove or rename one",
    "path,Label,LABEL\nv/0.mp4,a,b\n": "the columns 'Label' and 'LABEL' both stand for 'label'",
    'path,label\nv/0.mp4,"open\nv/1.mp4,x\nv/2.mp4,y\n': "invalid CSV (unexpected end of data)",
    'path,label\nv/0.mp4,"open\nv/1.mp4,x"\nv/2.mp4,y\n': "a line break in label 'open' ...; is a quote missing?",
    "path,label\nv/0\0.mp4,a\n": "not text, it contains zero bytes",
    "path,label,start\nv/0.mp4,a,1;5\nv/1.mp4,b,2\n": "start '1;5' is not a number",
}


@pytest.mark.parametrize("text", BAD, ids=list(BAD.values()))
def test_what_does_not_fit_names_the_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        build(str(write(tmp_path, text)))
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_in_place_of_a_manifest_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(touch(tmp_path, "a/1.mp4") / "manifest.csv")
    with pytest.raises(ValueError, match=r"manifest\.csv: a named pipe, not a regular file"):
        build(str(tmp_path))
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "manifest.csv").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"manifest\.csv: a device, not a regular file"):
        build(str(tmp_path))


def test_labels_with_spaces_and_decimal_commas(tmp_path: Path) -> None:
    lines = "\n".join(f"{file} open the {label}" for file, label in EXPECTED.items())
    assert set(build(str(write(tmp_path / "a", lines))).classes) == {"open the left", "open the right"}
    text = "path;label;start;end\n" + "\n".join(f"{f};{n};0,5;1,25" for f, n in EXPECTED.items())
    assert build(str(write(tmp_path / "b", text))).examples[0].span == (0.5, 1.25)


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    dataset = build(
        str(write(tmp_path, TEXT.replace("label\n", "label,splits,note\n").replace("t\n", "t,train,x\n") + ",a,b"))
    )
    assert "not used: splits, note" in dataset.layout
    assert dataset.notes == ("manifest.csv: column 'splits' is not used; did you mean 'split'?",)


@pytest.mark.parametrize("listed", ["NFC", "NFD"])
def test_files_are_found_in_either_normal_form(listed: str, tmp_path: Path) -> None:
    stored = "NFD" if listed == "NFC" else "NFC"
    names = [unicodedata.normalize(stored, f"vid\u00e9os/\u00e9{i}.mp4") for i in range(4)]
    text = "path,label\n" + "".join(
        f"{unicodedata.normalize(listed, name)},{label}\n" for name, label in zip(names, LABELS, strict=True)
    )
    dataset = build(str(write(tmp_path, text, files=names)))
    assert list(pairs(dataset)) == [unicodedata.normalize("NFC", name) for name in names]
    assert [e.path for e in dataset.examples] == [str(tmp_path / name) for name in names]
    assert not dataset.notes


def test_files_in_other_capitals_are_found_with_a_note(tmp_path: Path) -> None:
    dataset = build(str(write(tmp_path, TEXT, files=[f"V/{i}.MP4" for i in range(4)])))
    assert list(pairs(dataset)) == FILES
    assert dataset.examples[0].path == str(tmp_path / "V/0.MP4")
    assert dataset.notes == ("4 paths found only regardless of capitals, e.g. 'v/0.mp4' as 'V/0.MP4'",)


def test_a_file_is_not_given_to_two_rows(tmp_path: Path) -> None:
    text = TEXT + "\nV/0.mp4,left\nv/1.MP4,left"
    dataset = build(str(write(tmp_path, text)))
    assert dataset.missing_files == {"V/0.mp4": "no such file", "v/1.MP4": "no such file"}
    with pytest.raises(ValueError, match=r"two/v: '0\.mp4' fits both '0\.MP4' and '0\.Mp4'; rename one"):
        build(str(write(tmp_path / "two", TEXT, files=[*FILES[1:], "v/0.MP4", "v/0.Mp4"])))


def test_labels_and_groups_that_look_alike_are_two_and_named(tmp_path: Path) -> None:
    rows = [f"v/{i}.mp4,{'Open' if i % 2 else 'open'},{'P1' if i % 2 else 'p1'}{i // 2}" for i in range(4)]
    dataset = build(str(write(tmp_path, "\n".join(["path,label,group", *rows]))))
    assert dataset.classes == ("Open", "open")
    assert dataset.notes == (
        "the labels 'Open' and 'open' differ only in capitals or spacing, and are taken as two",
        "the groups 'p10' and 'P10' differ only in capitals or spacing, and are taken as two",
    )


@pytest.mark.parametrize("where", ["", "train"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_of_the_hub(kind: str, where: str, tmp_path: Path) -> None:
    """One table beside the files, or one in each folder of a split."""
    for split in (where, "test") if where else ("",):
        root = touch(tmp_path / split, *FILES)
        records = [{"file_name": f, "label": n, "text": "a, b"} for f, n in EXPECTED.items()]
        path = root / f"metadata.{kind}"
        if kind == "csv":
            with open(path, "w", newline="") as file:
                csv.writer(file).writerows([records[0], *(r.values() for r in records)])
        elif kind == "jsonl":
            path.write_text("\n".join(map(json.dumps, records)))
        else:
            pyarrow.parquet.write_table(pa.Table.from_pylist(records), path)
    dataset = build(str(tmp_path))
    if where:
        assert pairs(dataset) == {f"{s}/{f}": n for s in ("train", "test") for f, n in EXPECTED.items()}
        assert dataset.folds[0].test == tuple(f"test/{f}" for f in FILES)
    else:
        assert pairs(dataset) == EXPECTED


def test_metadata_without_labels_takes_them_from_the_folders(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"train/{c}/{i}.mp4" for c in "ab" for i in range(3)), "test/a/9.mp4", "test/b/9.mp4")
    for split, names in (("train", [f"{c}/{i}.mp4" for c in "ab" for i in range(2)]), ("test", ["a/9.mp4", "b/9.mp4"])):
        rows = [json.dumps({"video_file_name": n, "cover_file_name": "x.jpg", "group": n, "start": 1}) for n in names]
        (root / split / "metadata.jsonl").write_text("\n".join(rows))
    dataset = build(str(root))
    assert dataset.classes == ("a", "b")
    assert [(e.group, e.span) for e in dataset.examples[:3]] == [
        (name, (1.0, float("inf"))) for name in ("a/9.mp4", "b/9.mp4", "a/0.mp4")
    ]
    assert dataset.folds[0].test == ("test/a/9.mp4#1-inf", "test/b/9.mp4#1-inf")
    assert any(
        "metadata.jsonl has no column of labels: the folder of each video is its label" in n for n in dataset.notes
    )
    (root / "README.md").write_text("---\nconfigs:\n- config_name: default\n  drop_labels: true\n---\n# Videos\n")
    with pytest.raises(ValueError, match=r"README\.md has drop_labels: true"):
        build(str(root))


def test_folders_that_are_no_labels_give_videos_without(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/0.mp4", "a/1.mp4", "b/0.mp4", "b/1.mp4")
    named = build(str(root), labeled=False)
    assert named.classes == ("a", "b")
    (root / "README.md").write_text("---\nconfigs:\n- config_name: default\n  drop_labels: true\n---\n# Videos\n")
    with pytest.raises(ValueError, match=r"README\.md has drop_labels: true"):
        build(str(root))
    nameless = build(str(root), labeled=False)
    assert nameless.classes == ("no label",)
    assert nameless.key == named.key
    assert sorted(e.id for e in nameless.examples) == sorted(e.id for e in named.examples)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("left_file_name,right_file_name,label", "'left_file_name' and 'right_file_name' both name files"),
        ("left_file_name,label", ""),
    ],
)
def test_columns_that_name_files(header: str, says: str, tmp_path: Path) -> None:
    root = touch(tmp_path, "0.mp4", "1.mp4", "2.mp4", "3.mp4")
    rows = [",".join([f"{i}.mp4"] * header.count("file_name") + ["ab"[i % 2]]) for i in range(4)]
    (root / "metadata.csv").write_text("\n".join([header, *rows]))
    if says:
        with pytest.raises(ValueError, match=says):
            build(str(root))
    else:
        assert pairs(build(str(root))) == {f"{i}.mp4": "ab"[i % 2] for i in range(4)}


@pytest.mark.parametrize(
    "names", [("train.csv", "val.csv"), ("k400_train_paths.csv", "k400_val_paths.csv"), ("train.txt", "test.txt")]
)
@pytest.mark.parametrize("place", ["", "annotations/"])
def test_lists_per_split(names: tuple[str, str], place: str, tmp_path: Path) -> None:
    for name, files in zip(names, (FILES, ["w/0.mp4", "w/1.mp4"]), strict=True):
        lines = [f"{file} {i % 2}" for i, file in enumerate(files)]
        write(tmp_path, "\n".join(lines), f"{place}{name}", files)
    dataset = build(str(tmp_path))
    assert dataset.classes == ("0", "1")
    (fold,) = dataset.folds
    assert (fold.train, fold.test) == (tuple(FILES), ("w/0.mp4", "w/1.mp4"))


def test_lists_per_split_in_another_encoding(tmp_path: Path) -> None:
    for split, files in (("train", FILES[:2]), ("val", FILES[2:])):
        text = "path;label\n" + "".join(f"{f};{EXPECTED[f]}\n" for f in files)
        write(tmp_path, text.encode("utf-16"), f"{split}.csv")
    assert pairs(build(str(tmp_path))) == EXPECTED


def test_lists_of_folders_with_a_number_of_frames(tmp_path: Path) -> None:
    for i in range(4):
        touch(tmp_path, f"frames/clip {i}/00001.jpg")
    write(tmp_path, "".join(f"frames/clip {i} 37 {i % 2}\n" for i in range(4)), files=[])
    dataset = build(str(tmp_path))
    assert pairs(dataset) == {f"frames/clip {i}": str(i % 2) for i in range(4)}


def test_absolute_paths_need_a_stated_folder(tmp_path: Path) -> None:
    videos, lists = touch(tmp_path / "disk", *FILES), tmp_path / "lists"
    write(lists, "\n".join(f"{videos}/{f} {n}" for f, n in EXPECTED.items()), "all.csv", [])
    with pytest.raises(ValueError, match=rf"is outside {lists}; move or link .* as in {lists}={videos}/v$"):
        open_dataset(lists / "all.csv")
    dataset = open_dataset(f"{lists / 'all.csv'}={videos}")
    assert pairs(dataset) == EXPECTED
    assert dataset.examples[0].path == str(videos / FILES[0])
    write(lists, TEXT, "relative.csv", [])
    assert pairs(open_dataset(f"{lists / 'relative.csv'}={videos}")) == EXPECTED
    write(lists, TEXT.replace("v/0", "../../x"), "away.csv", [])
    with pytest.raises(ValueError, match="is outside"):
        open_dataset(f"{lists / 'away.csv'}={videos}")


def test_only_lists_have_their_videos_elsewhere(tmp_path: Path) -> None:
    folders = touch(tmp_path / "folders", "a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4")
    with pytest.raises(
        ValueError, match=r"only a list of paths needs the folder of its videos to be stated; leave out"
    ):
        open_dataset(f"{folders}={tmp_path}")
    with pytest.raises(ValueError, match="is not a folder; give the folder of the videos that"):
        open_dataset(f"{folders}={tmp_path}/none")


def test_a_list_is_given_in_place_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "mine.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "mine.csv").write_text("x")
    with pytest.raises(ValueError, match=r"if mine\.csv lists them, give it in place of the folder"):
        build(str(tmp_path / "empty"))
    assert pairs(build(str(tmp_path / "mine.csv"))) == EXPECTED


@given(st.text(max_size=60))
def test_no_text_is_a_bug_of_ours(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            read_list(path)
        except ValueError as error:
            assert type(error).__name__ == "UserError"
            assert "\n" not in str(error)
