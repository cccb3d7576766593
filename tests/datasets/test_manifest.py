"""The manifest reports the state of a dataset on disk correctly, also after an interruption."""

from __future__ import annotations

import csv
import hashlib
import importlib
import itertools
import os
import random
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import processes
from helpers import blob, write_video
from vitascope.cli import tables
from vitascope.core.actors import Keyframes
from vitascope.core.types import Dataset, Example, Fold, Span
from vitascope.datasets.audit import duplicates, file_journal, manifest
from vitascope.datasets.audit.file_probe import content_digest
from vitascope.datasets.audit.manifest import COLUMNS, Survey, journal, survey
from vitascope.datasets.builders import folder

ODD = "odd, 'name' \"quoted\" видео 映像.mp4"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest and one example of every problem."""
    root = tmp_path_factory.mktemp("sets") / "broken set"
    for i in range(4):
        write_video(root / f"good {i}.mp4", blob(i, i))
    write_video(root / ODD, blob(0.3, 5))
    write_video(root / "one.mp4", blob(0.1, 1, frames=1))
    shutil.copy(root / "good 0.mp4", root / "copy of 0.mp4")
    shutil.copy(root / "good 1.mp4", root / "leak.mp4")
    whole = (root / "good 2.mp4").read_bytes()
    (root / "torn.mp4").write_bytes(whole[: whole.index(b"moov") - 100])  # the index is at the end
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("not a video at all\n")
    (root / "extra").mkdir()
    write_video(root / "extra" / "left over.mp4", blob(2.0, 2))
    (root / "extra" / "notes.txt").write_text("no media")
    (root / "link.mp4").symlink_to("nowhere.mp4")
    lines = [
        ("good 0.mp4", "a", "train", "", ""),
        ("good 1.mp4", "a", "train", "", ""),
        ("good 2.mp4", "b", "train", "", ""),
        (ODD, "b", "train", "", ""),
        ("copy of 0.mp4", "a", "train", "", ""),
        ("one.mp4", "a", "train", "", ""),
        ("torn.mp4", "b", "train", "", ""),
        ("empty.mp4", "b", "train", "", ""),
        ("gone.mp4", "a", "train", "", ""),
        ("good 3.mp4", "a", "test", "", ""),
        ("good 3.mp4", "a", "test", "0.2", "0.9"),
        ("good 3.mp4", "a", "test", "0.5", "0.51"),
        ("good 3.mp4", "a", "test", "7", "8"),
        ("good 3.mp4", "a", "test", "0.3", "9"),
        ("leak.mp4", "b", "test", "", ""),
        ("text.mp4", "b", "test", "", ""),
        ("link.mp4", "b", "test", "", ""),
    ]
    with open(root / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split", "start", "end"), *lines])
    return root


def check(dataset: Dataset[int], output: Path, *, workers: int = 1, **options: object) -> Survey:
    return survey(dataset, output=output, workers=workers, quiet=True, **options)  # type: ignore[arg-type]


def lines(output: Path) -> list[dict[str, str]]:
    with open(output, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(broken: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Survey, Path]:
    output = tmp_path_factory.mktemp("out") / "broken.csv"
    return check(folder.build(str(broken)), output, workers=2), output


EXPECTED = {
    "good 0.mp4": ("duplicate", "the same bytes as copy of 0.mp4"),
    "copy of 0.mp4": ("duplicate", "the same bytes as good 0.mp4"),
    "good 1.mp4": ("duplicate", "duplicate across train and test: the same bytes as leak.mp4, which is labeled 'b'"),
    "leak.mp4": ("duplicate", "duplicate across train and test: the same bytes as good 1.mp4, which is labeled 'a'"),
    "good 2.mp4": ("ok", ""),
    ODD: ("ok", ""),
    "one.mp4": ("too short", "1 frame, fewer than 2"),
    "torn.mp4": ("unreadable", "the index ('moov') is missing"),
    "empty.mp4": ("unreadable", "the file is empty (0 bytes)"),
    "text.mp4": ("unreadable", "text, not a video"),
    "gone.mp4": ("missing", "no such file"),
    "link.mp4": ("missing", "broken symbolic link"),
    "good 3.mp4": ("ok", ""),
    "good 3.mp4#0.2-0.9": ("ok", ""),
    "good 3.mp4#0.5-0.51": ("too short", "1 frame in the span, fewer than 2"),
    "good 3.mp4#7-8": ("too short", "the span starts at 7 s, after the video ends at 1.200 s"),
    "good 3.mp4#0.3-9": ("ok", "the span ends at 9 s, after the video ends at 1.200 s"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_status_and_reason_of_every_problem(name: str, found: tuple[Survey, Path]) -> None:
    (row,) = [r for r in found[0].rows if r.id == name]
    status, why = EXPECTED[name]
    assert row.status == status
    assert row.why.startswith(why) if why else row.why == ""


def test_the_manifest_matches_the_files(broken: Path, found: tuple[Survey, Path]) -> None:
    rows = lines(found[1])
    assert tuple(rows[0]) == COLUMNS
    assert {r["id"] for r in rows} == {*EXPECTED, ""}
    for row in rows:
        path = broken / row["path"]
        if row["digest"]:
            data = path.read_bytes()
            assert int(row["bytes"]) == len(data)
            assert row["digest"] == hashlib.blake2b(data, digest_size=16).hexdigest()
        if row["status"] in ("ok", "duplicate"):
            assert (row["frames"], row["fps"], row["width"], row["height"]) == ("12", "10.0000", "48", "48")
            assert float(row["duration"]) == pytest.approx(1.2)
    spans = {(r["start"], r["end"]) for r in rows if r["path"] == "good 3.mp4"}
    assert spans == {("", ""), ("0.2", "0.9"), ("0.5", "0.51"), ("7", "8"), ("0.3", "9")}


def test_a_file_that_no_example_refers_to_is_unexpected(found: tuple[Survey, Path]) -> None:
    (row,) = [r for r in lines(found[1]) if r["status"] == "unexpected"]
    assert row["path"] == "extra/left over.mp4"
    assert int(row["bytes"]) > 500


def test_the_splits_add_up(found: tuple[Survey, Path]) -> None:
    train, test = found[0].split_counts
    assert train == ("train", 9, None, 8, 1, 2, 1, 3, 0)
    assert test == ("test", 8, None, 7, 1, 1, 2, 1, 1)
    assert [row.id for row in found[0].leaks] == ["leak.mp4"]
    assert not found[0].passed


def test_the_summary_begins_with_the_leaks(found: tuple[Survey, Path]) -> None:
    summary = list(tables.survey_lines(found[0]))
    assert summary[0] == "LEAK: 1 test example is also in the training set"
    at = summary.index("duplicate: 4")
    assert summary[at + 1].startswith("  leak.mp4: duplicate across train and test")
    assert "missing: 2" in summary
    assert "  gone.mp4: no such file" in summary
    assert "unexpected: 1" in summary


def test_a_second_run_reads_nothing_and_writes_the_same_manifest(
    broken: Path, found: tuple[Survey, Path], tmp_path: Path
) -> None:
    before = found[1].read_bytes()
    again = check(folder.build(str(broken)), found[1])
    assert (again.read, again.bytes) == (0, 0)
    assert found[1].read_bytes() == before
    check(folder.build(str(broken)), tmp_path / "fresh.csv")
    assert (tmp_path / "fresh.csv").read_bytes() == before


def clips(root: Path, count: int = 2) -> Path:
    for label, i in itertools.product("ab", range(count)):
        write_video(root / label / f"{i}.mp4", blob(i + (label == "b"), i))
    return root


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    dataset = folder.build(str(clips(tmp_path / "set")))
    assert check(dataset, tmp_path / "m.csv").read == 4
    write_video(tmp_path / "set" / "a" / "0.mp4", blob(1.5, 3, frames=20))
    again = check(dataset, tmp_path / "m.csv")
    assert again.read == 1
    assert [r["frames"] for r in lines(tmp_path / "m.csv")] == ["20", "12", "12", "12"]


def test_a_partial_line_in_the_journal_is_skipped(tmp_path: Path) -> None:
    dataset = folder.build(str(clips(tmp_path / "set")))
    check(dataset, tmp_path / "m.csv")
    whole, kept = (tmp_path / "m.csv").read_bytes(), journal(tmp_path / "m.csv")
    for cut, lost in ((1, 0), (40, 1), (200, 1)):  # the end of the line, and more than that
        data = kept.read_bytes()
        kept.write_bytes(data[:-cut])
        assert check(dataset, tmp_path / "m.csv").read == lost
        assert (tmp_path / "m.csv").read_bytes() == whole


def test_a_killed_run_resumes_to_the_same_manifest(tmp_path: Path) -> None:
    root, output = clips(tmp_path / "set", count=12), tmp_path / "m.csv"
    dataset = folder.build(str(root))
    check(dataset, tmp_path / "undisturbed.csv")
    run = partial(survey, dataset, output=output, workers=2, quiet=True)
    process = processes.start(processes.dying, "vitascope.datasets.audit.file_journal.FileJournal.add", 11, run)
    assert processes.ended(process) == processes.KILLED
    assert journal(output).read_bytes().count(b"\n") == 10
    assert not output.exists()
    assert check(dataset, output).read == 14
    assert output.read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("m.")) == ["m.csv", "m.files.jsonl"]


STUCK = """
import time
from vitascope.datasets.audit.file_probe import probe

def stuck(request):
    if request.path.endswith("a/0.mp4"):
        time.sleep(60)
    return probe(request)
"""


def test_a_file_that_timed_out_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = folder.build(str(clips(tmp_path / "set")))
    (tmp_path / "never_returning.py").write_text(STUCK)
    monkeypatch.syspath_prepend(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(file_journal, "probe", importlib.import_module("never_returning").stuck)
        found = check(dataset, tmp_path / "m.csv", timeout=0.5)
    assert [r.status for r in found.rows] == ["unreadable", "ok", "ok", "ok"]
    assert "no progress for 0.5 s" in found.rows[0].why
    again = check(dataset, tmp_path / "m.csv")
    assert (again.read, again.passed) == (1, True)


def synthetic(root: Path, names: list[tuple[str, int]], folds: list[tuple[list[str], list[str]]]) -> Dataset[int]:
    return Dataset(
        name="own",
        examples=tuple(Example(id=n, path=str(root / n), truth=t) for n, t in names),
        classes=("a", "b"),
        folds=tuple(Fold(name=f"list {i + 1}", train=tuple(a), test=tuple(b)) for i, (a, b) in enumerate(folds)),
        root=str(root),
        official_counts={"train": 3, "test": 1},
    )


def test_folders_of_frames_and_pictures(tmp_path: Path) -> None:
    root = tmp_path / "set"
    rng = np.random.default_rng(0)
    for name in ("walk", "run", "walk again", "stray"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 255, (16, 24, 3), np.uint8)).save(root / name / f"{i:03d}.png")
    shutil.rmtree(root / "walk again")
    shutil.copytree(root / "walk", root / "walk again")
    shutil.copy(root / "run" / "000.png", root / "still.png")
    shutil.copy(root / "run" / "001.png", root / "still.mp4")
    names = [("walk", 0), ("run", 1), ("walk again", 0), ("still.png", 1), ("still.mp4", 1)]
    found = check(synthetic(root, names, [(["walk", "run"], ["walk again", "still.png", "still.mp4"])]), tmp_path / "m")
    assert [r.status for r in found.rows] == ["duplicate", "ok", "duplicate", "ok", "too short", "unexpected"]
    assert found.rows[5].path == "stray"
    assert found.rows[5].why.startswith("a folder of 3 images")
    size = sum(p.stat().st_size for p in (root / "walk").iterdir())
    assert (found.rows[0].report.bytes, found.rows[0].report.frames) == (size, 3)
    assert content_digest(str(root / "walk")) == content_digest(str(root / "walk again"))
    (root / "walk again" / "001.png").rename(root / "walk again" / "009.png")
    assert content_digest(str(root / "walk")) != content_digest(str(root / "walk again"))
    assert [t.official for t in found.split_counts] == [3, 1]


def test_a_limited_survey_reads_some_examples_and_reports_it(broken: Path, tmp_path: Path) -> None:
    found = check(folder.build(str(broken)), tmp_path / "m.csv", limit=5)
    assert sum(bool(r.id) for r in found.rows) == 5
    assert [r.path for r in found.rows if not r.id] == ["extra/left over.mp4"]
    assert next(tables.survey_lines(found)).startswith("limited: 5 of 17 examples")


def test_a_file_that_is_not_a_manifest_is_not_overwritten(broken: Path) -> None:
    before = (broken / "manifest.csv").read_bytes()
    with pytest.raises(ValueError, match="name another file"):
        check(folder.build(str(broken)), broken / "manifest.csv")
    with pytest.raises(ValueError, match="is a folder"):
        check(folder.build(str(broken)), broken)
    assert (broken / "manifest.csv").read_bytes() == before


def test_a_file_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    root = clips(tmp_path / "set")
    with open(os.fsencode(root) + b"/caf\xe9.mp4", "wb") as file:
        file.write(b"12345")
    found = check(folder.build(str(root)), tmp_path / "m.csv")
    (row,) = [r for r in lines(tmp_path / "m.csv") if r["status"] == "unexpected"]
    assert (row["path"], row["bytes"]) == ("caf\\udce9.mp4", "5")
    tables.as_json(tables.survey_data(found)).encode()
    "\n".join(tables.survey_lines(found)).encode()


def test_a_cyclic_link_terminates(tmp_path: Path) -> None:
    root = clips(tmp_path / "set")
    (root / "a" / "round").symlink_to(root, target_is_directory=True)
    names = [(f"{label}/{i}.mp4", t) for t, label in enumerate("ab") for i in range(2)]
    ids = [n for n, _ in names]
    dataset = synthetic(root, names, [(ids[::2], ids[1::2])])
    assert list(manifest.unexpected(dataset)) == []


def test_the_most_serious_duplicate_is_reported() -> None:
    """Against every pair of examples, on random groups of equal content."""
    rng = random.Random(0)
    for _ in range(60):
        folds = [{f"{i}": rng.choice(["train", "test", ""]) for i in range(12)} for _ in range(2)]
        copies = [
            duplicates.ExampleContent(
                id=f"{i}",
                path=rng.choice("pqrs"),
                label=rng.choice("xyz"),
                content=(rng.choice("mn"),),
                sides=tuple((f, fold[f"{i}"]) for f, fold in enumerate(folds) if fold[f"{i}"]),
            )
            for i in range(12)
        ]
        found = duplicates.find_duplicates(copies)
        for one in copies:
            equal = [c for c in copies if c.id != one.id and c.content == one.content]
            across = [c for c in equal if {(f, duplicates.OTHER[s]) for f, s in one.sides} & set(c.sides)]
            apart = [c for c in equal if c.path != one.path]
            relabeled = [c for c in apart if c.label != one.label]
            worst = across or relabeled or apart
            if not worst:
                assert one.id not in found
                continue
            twin = found[one.id]
            assert twin.other in worst
            assert (twin.fold is not None) == bool(across)
            if twin.fold is not None:
                assert {(twin.fold, "train"), (twin.fold, "test")} <= {*one.sides, *twin.other.sides}


def of_folds(*folds: tuple[str, str]) -> Dataset[int]:
    ids = sorted({i for sides in folds for i in "".join(sides)})
    return synthetic(Path("x"), [(i, 0) for i in ids], [(list(a), list(b)) for a, b in folds])


def test_split_names() -> None:
    assert duplicates.example_splits(of_folds(("ab", "c"))) == {"a": ("train",), "b": ("train",), "c": ("test",)}
    crossed = of_folds(("ab", "c"), ("bc", "a"), ("ca", "b"))
    assert duplicates.split_names(crossed) == ("list 1", "list 2", "list 3")
    assert duplicates.example_splits(crossed) == {"a": ("list 2",), "b": ("list 3",), "c": ("list 1",)}
    lists = of_folds(("ab", "c"), ("ac", "d"))
    assert duplicates.split_names(lists) == ("list 1 train", "list 1 test", "list 2 train", "list 2 test")
    assert duplicates.example_splits(lists)["c"] == ("list 1 test", "list 2 train")


def test_two_examples_of_one_video_are_duplicates_only_across_train_and_test(tmp_path: Path) -> None:
    write_video(tmp_path / "set" / "a.mp4", blob(0, 0))

    def status(span: Span | None, other: Span | None, test: list[str]) -> list[str]:
        path = str(tmp_path / "set" / "a.mp4")
        examples = tuple(Example(id=i, path=path, truth=0, span=s) for i, s in (("1", span), ("2", other)))
        fold = Fold(name="f", train=tuple({"1", "2"} - set(test)), test=tuple(test))
        dataset = Dataset(name="own", examples=examples, classes=("a",), folds=(fold,))
        return [r.status for r in check(dataset, tmp_path / "m.csv").rows]

    assert status((0.0, 0.5), (0.0, 0.5), []) == ["ok", "ok"]
    assert status((0.0, 0.5), (0.0, 0.5), ["2"]) == ["duplicate", "duplicate"]
    assert status((0.0, 0.5), (0.5, 1.0), ["2"]) == ["ok", "ok"]
    assert status(None, (0.0, 0.5), ["2"]) == ["ok", "ok"]


def test_the_collection_of_broken_files(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "robustness"
    if not (root / "manifest.csv").is_file():
        pytest.skip("the collection of odd and broken files is absent: there is no ../shared/data/robustness")
    with open(root / "manifest.csv", newline="", encoding="utf-8") as file:
        expect = {row["file"]: row["expect"] for row in csv.DictReader(file)}
    ids = [name for name in expect if name not in ("real/8k24fps_300ms.mp4", "real/long_1080p_lowbitrate.mp4")]  # slow
    dataset = synthetic(root, [(i, 0) for i in ids], [(ids[:100], ids[100:])])
    found = check(dataset, tmp_path / "m.csv", workers=2, timeout=20)
    allowed = {
        "decode": {"ok", "duplicate", "too short"},
        "decode_partial_and_warn": {"ok", "unreadable"},
        "skip_no_video": {"ok", "unreadable", "too short"},
        "clean_error": {"unreadable", "missing"},
        "unsupported_ok": {"ok", "unreadable"},
    }
    assert not [(r.id, r.status, r.why) for r in found.rows if r.id and r.status not in allowed[expect[r.id]]]
    frames = {"real/webm.webm", "generated/one_frame.mp4", "generated/audio_2s_video_1frame.mp4"}
    assert frames <= {r.id for r in found.rows if r.status == "too short"}


def test_a_keyframe_after_the_end_is_too_short_and_its_context_may_be_cut(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "a.mp4", np.zeros((12, 16, 16, 3), np.uint8)))
    times = (0.2, 1.1, 2.0)
    examples = tuple(
        Example(id=f"a@{t:g}", path=path, truth=Keyframes((t,), ()), span=(t - 2, t + 2), group="a") for t in times
    )
    fold = Fold(name="train/test", train=("a@0.2",), test=("a@1.1", "a@2"))
    dataset = Dataset(name="mine", examples=examples, classes=("x",), folds=(fold,), kind="detection")
    rows = check(dataset, tmp_path / "m.csv").rows
    assert [(r.status, r.why) for r in rows] == [
        ("ok", ""),
        ("ok", ""),
        ("too short", "the keyframe at 2 s is after the video ends at 1.200 s"),
    ]
