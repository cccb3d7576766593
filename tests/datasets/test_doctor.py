"""What is doubtful about a dataset is said in one line, with the number of test examples concerned."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import blob, vitascope, write_video
from vitascope.core.types import Dataset, Example, Fold
from vitascope.datasets.audit.doctor import diagnose
from vitascope.datasets.audit.leaks import divided_sources, overlapping_spans
from vitascope.datasets.audit.name_patterns import suggested_sources
from vitascope.datasets.builders.folder import build
from vitascope.datasets.readers.mstcn_labels import custom_dataset
from vitascope.datasets.readers.video_files import Footage, LabeledVideo, Side, assemble
from vitascope.metrics import stats


def of(examples: list[Example[int]], *folds: tuple[str, str]) -> Dataset[int]:
    """A dataset whose folds are given by one letter for each example: train ids and test ids."""
    made = tuple(Fold(name=f"fold {n}", train=tuple(train), test=tuple(test)) for n, (train, test) in enumerate(folds))
    return Dataset(name="own", examples=tuple(examples), classes=("a", "b"), folds=made)


def kinds(dataset: Dataset[Any]) -> dict[str, tuple[int, int]]:
    return {w.kind: (w.touched, w.tested) for w in diagnose(dataset)}


def test_against_every_pair_of_examples() -> None:
    rng = random.Random(0)
    for _ in range(60):
        examples = []
        for i in "abcdefghij":
            start = rng.choice([None, *range(6)])
            span = None if start is None else (float(start), start + rng.choice([1.0, 2.5]))
            examples.append(Example(id=i, path=rng.choice("pqrs"), truth=0, span=span))
        sides = [{e.id: rng.choice(["train", "test", ""]) for e in examples} for _ in range(2)]
        folds = [("".join(i for i in s if s[i] == "train"), "".join(i for i in s if s[i] == "test")) for s in sides]
        dataset, by_id = of(examples, *folds), {e.id: e for e in examples}

        def overlap(a: Example[int], b: Example[int]) -> bool:
            (s, t), (u, v) = (e.span or (0.0, float("inf")) for e in (a, b))
            return a.path == b.path and max(s, u) < min(t, v)

        one_file = {i for train, test in folds for i in test for j in train if by_id[i].path == by_id[j].path}
        at_once = {i for train, test in folds for i in test for j in train if overlap(by_id[i], by_id[j])}
        assert set(divided_sources(dataset, lambda e: e.path).pairs) == one_file
        assert set(overlapping_spans(dataset).pairs) == at_once


def test_spans_that_touch_do_not_overlap() -> None:
    spans = {"a": (0.0, 1.0), "b": (1.0, 2.0), "c": (1.9, 3.0)}
    examples = [Example(id=i, path="v.mp4", truth=0, span=s) for i, s in spans.items()]
    assert kinds(of(examples, ("a", "b"))) == {"leak": (1, 1)}
    assert kinds(of(examples, ("a", "bc"))) == {"leak": (2, 2)}
    assert kinds(of(examples, ("b", "ac"))) == {"leak": (2, 2), "overlap": (1, 2)}


def test_a_given_split_of_a_folder_is_kept_and_its_leak_is_said(tmp_path: Path) -> None:
    for n in range(7):
        write_video(tmp_path / f"{n}.mp4", blob(n, n, frames=24))
    rows = [f"{n}.mp4,{'xy'[n % 2]},{s},{i},{i + 1}" for n in range(7) for i, s in enumerate(("train", "test"))]
    rows[-1] = rows[-1].replace("test", "train")
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    dataset = build(str(tmp_path))
    assert kinds(dataset) == {"leak": (6, 6)}
    (warning,) = diagnose(dataset)
    said = "LEAK: 6 of 6 test examples share their recording with training examples (e.g. 0.mp4#1-2 and 0.mp4#0-1)"
    assert warning.text.startswith(said)
    done = vitascope("check", tmp_path, "-o", tmp_path / "m.csv", "--quiet", "--workers", 1, code=1)
    assert warning.text in done.stdout


def test_the_groups_that_an_official_split_divides_are_said_and_the_digest_stays(tmp_path: Path) -> None:
    (tmp_path / "a_1.mp4").write_bytes(b"")
    sides: dict[str, Side] = {"a_1": "train", "a_2": "test", "b_1": "test", "b_2": "test", "c_1": "train"}
    videos = [
        LabeledVideo(id=i, side=side, truth=int(i[0] != "a"), file=f"{i}.mp4", group=i[0]) for i, side in sides.items()
    ]
    dataset = assemble("own", videos, ("x", "y"), footage=Footage(tmp_path), axis="", official_counts={"train": 2})
    assert kinds(dataset) == {"leak": (1, 3), "groups": (3, 3)}
    assert {e.id: e.group for e in dataset.examples} == {"a_1": None, "a_2": None, "b_1": "b", "b_2": "b", "c_1": "c"}
    assert dataset.digest == replace(dataset, divided_groups={}).digest


CUTS = {
    "{v}_{i:06d}_{j:06d}": "{v}",
    "{v}_{i}.5_{j}.5": "{v}",
    "v_Dance_g0{s}_c0{i}": "v_Dance_g0{s}",
    "person0{s}_dance_d{i}_uncomp": "person0{s}",
    "scene0{s}_take{i}": "scene0{s}",
    "scene0{s}take{i}": "scene0{s}",
    "2024-trip-{s}-part{i}": "2024-trip-{s}",
    "S001C00{i}P00{s}R001A010": "p00{s}",
    "a01_s0{s}_e0{i}": "s0{s}",
}
PLAIN = (
    *(
        "c{n:02d}",
        "video_{n:04d}",
        "{n}",
        "{l}_{n:03d}",
        "{l}{n}",
        "{l}_clip{n}",
        "IMG_{n:04d}",
        "VID_20240101_{n:06d}",
    ),
    *("clip ({n})", "sk_color_{n:04d}", "fi{n:03d}", "frame_{n}_x", "2024-01-{n:02d}_dance", "{l}-take-{n}"),
)


def named(names: list[str], labels: list[int]) -> list[Example[int]]:
    return [Example(id=f"{t}/{n}.mp4", path=f"/set/{t}/{n}.mp4", truth=t) for n, t in zip(names, labels, strict=True)]


@pytest.mark.parametrize("form", CUTS)
def test_names_of_cuts_offer_their_source(form: str) -> None:
    places = [(s, i) for s in range(1, 7) for i in range(1, 4)]
    names = [form.format(v=f"xQ-{s}a_Z", s=s, i=i, j=i + 10) for s, i in places]
    examples = named(names, [s % 2 for s, _ in places])
    pattern = suggested_sources(examples)
    assert pattern is not None
    expected = [CUTS[form].format(v=f"xQ-{s}a_Z", s=s) for s, _ in places]
    assert [pattern.sources[e.id] for e in examples] == expected
    apart = Dataset(name="own", examples=tuple(examples), classes=("x", "y"), folds=(_odd(examples, places),))
    (warning,) = (w for w in diagnose(apart) if w.kind == "names")
    assert (warning.touched, warning.tested) == (6, 6)
    assert "`group`" in warning.text
    by_source = Fold(name="f", train=tuple(e.id for e in examples[:9]), test=tuple(e.id for e in examples[9:]))
    assert "names" not in kinds(replace(apart, folds=(by_source,)))
    grouped = tuple(replace(e, group=str(s)) for e, (s, _) in zip(examples, places, strict=True))
    assert "names" not in kinds(replace(apart, examples=grouped))


def _odd(examples: list[Example[int]], places: list[tuple[int, int]]) -> Fold:
    test = tuple(e.id for e, (_, i) in zip(examples, places, strict=True) if i == 2)
    return Fold(name="f", train=tuple(e.id for e in examples if e.id not in test), test=test)


@pytest.mark.parametrize("form", PLAIN)
def test_plain_names_offer_nothing(form: str) -> None:
    labels = [n % 3 for n in range(30)]
    names = [form.format(n=n, l=("run", "walk", "sit")[t]) for n, t in enumerate(labels)]
    assert suggested_sources(named(names, labels)) is None


@pytest.mark.parametrize("others", [2, 3])
def test_one_name_in_ten_may_follow_no_pattern(others: int) -> None:
    """Wherever it stands: the search ends as soon as too many do not."""
    cuts = [f"scene{s}_take{i}" for s in range(1, 7) for i in range(1, 4)]
    names = [*(f"other {'abc'[i]}" for i in range(others)), *cuts]
    for order in (names, names[::-1]):
        pattern = suggested_sources(named(order, [len(n) % 2 for n in order]))
        assert (pattern is not None) == (others <= len(names) / 10)


def test_few_recordings_are_said_once() -> None:
    examples = [Example(id=c, path=f"{c}.mp4", truth=0, group="pqr"[n % 3]) for n, c in enumerate("abcdefghi")]
    dataset = of(examples, ("bcefhi", "adg"), ("adg", "bcefhi"))
    assert kinds(dataset) == {"groups": (9, 9)}
    assert "3 recordings or groups in 2 folds" in diagnose(dataset)[0].text
    assert "from 6 on they can" in diagnose(dataset)[0].text
    assert stats.least_p(5) > 0.05 > stats.least_p(6)
    assert not diagnose(of([replace(e, group=None) for e in examples], ("bcefhi", "adg")))


def test_videos_for_training_only_are_no_mistake_of_a_plain_split(tmp_path: Path) -> None:
    (tmp_path / "groundTruth").mkdir()
    (tmp_path / "splits").mkdir()
    (tmp_path / "fps.txt").write_text("10")
    (tmp_path / "mapping.txt").write_text("0 sit\n1 run\n")
    for name in "abcd":
        (tmp_path / "groundTruth" / f"{name}.txt").write_text("sit\nrun\n")

    def split(number: int, train: str, test: str) -> None:
        for side, ids in (("train", train), ("test", test)):
            (tmp_path / "splits" / f"{side}.split{number}.bundle").write_text("".join(f"{i}.txt\n" for i in ids))

    split(1, "abc", "d")
    assert custom_dataset("own", tmp_path).notes == ()
    split(2, "abd", "c")
    (note,) = custom_dataset("own", tmp_path).notes
    assert note == "2 of 4 videos are for training only: none of the splits tests them"


def test_check_says_how_many_recordings_there_are(tmp_path: Path) -> None:
    for n in range(4):
        write_video(tmp_path / f"{n}.mp4", blob(n, n, frames=24))
    rows = [f"{n}.mp4,{'xy'[n % 2]},{i},{i + 1}" for n in range(4) for i in range(2)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label,start,end", *rows]))
    done = vitascope("check", tmp_path, "-o", tmp_path / "m.csv", "--quiet", "--workers", 1)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("groups:"))
    assert line == "groups: 8 examples of 4 recordings or groups; no fold divides one"
    assert "LEAK" not in done.stdout
