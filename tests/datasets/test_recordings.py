"""One recording: examples of one source are one group, however many files, names or encodings it has."""

from __future__ import annotations

import os
import random
from itertools import combinations
from pathlib import Path

import numpy as np

from helpers import blob, write_video
from vitascope.core.types import Example
from vitascope.datasets.builders.folder import build
from vitascope.datasets.recordings import with_recordings


def listed(root: Path, rows: list[str], header: str = "path,label,start,end") -> Path:
    (root / "manifest.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return root


def file(path: Path, content: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(content).bytes(5000))
    return path


def groups(root: Path) -> dict[str, str | None]:
    return {e.id: e.group for e in build(str(root)).examples}


def spans(count: int, each: int) -> list[str]:
    return [f"rec/{n}.mp4,{'xy'[n % 2]},{i},{i + 1}" for n in range(count) for i in range(each)]


def test_spans_of_one_file_are_divided_as_with_the_path_as_group(tmp_path: Path) -> None:
    for n in range(8):
        file(tmp_path / "rec" / f"{n}.mp4", n)
    rows = spans(8, 6)
    default = build(str(listed(tmp_path, rows)))
    given = build(str(listed(tmp_path, [f"{r},{r.split(',')[0]}" for r in rows], "path,label,start,end,group")))
    assert default.folds == given.folds
    assert default.digest == given.digest
    assert [e.group for e in default.examples] == [r.split(",")[0] for r in rows]
    for fold in default.folds:
        assert not {i.split("#")[0] for i in fold.train} & {i.split("#")[0] for i in fold.test}


def test_one_example_a_file_has_no_group(tmp_path: Path) -> None:
    for n in range(6):
        file(tmp_path / "ab"[n % 2] / f"{n}.mp4", n)
    assert set(groups(tmp_path).values()) == {None}


def test_all_names_and_copies_of_a_file_are_one_recording(tmp_path: Path) -> None:
    for label in "ab":
        for n in range(3):
            file(tmp_path / label / f"{n}.mp4", hash((label, n)) % 1000)
    (tmp_path / "a" / "soft.mp4").symlink_to(tmp_path / "b" / "0.mp4")
    os.link(tmp_path / "a" / "1.mp4", tmp_path / "b" / "hard.mp4")
    (tmp_path / "b" / "twin.mp4").write_bytes((tmp_path / "a" / "2.mp4").read_bytes())
    found = groups(tmp_path)
    assert found["a/soft.mp4"] == found["b/0.mp4"] == "a/soft.mp4"
    assert found["a/1.mp4"] == found["b/hard.mp4"] == "a/1.mp4"
    assert found["a/2.mp4"] == found["b/twin.mp4"] == "a/2.mp4"
    assert {i for i, group in found.items() if group is None} == {"a/0.mp4", "b/1.mp4", "b/2.mp4"}


def test_folders_of_equal_frames_are_one_recording(tmp_path: Path) -> None:
    for label, names in {"a": "pqt", "b": "rsu"}.items():
        for name in names:
            for i in range(3):
                file(tmp_path / label / name / f"{i:03d}.jpg", i if name in "qs" else ord(name) * 10 + i)
    found = groups(tmp_path)
    assert {i: group for i, group in found.items() if group} == {"a/q": "a/q", "b/s": "a/q"}


def test_encodings_and_thumbnails_are_one_recording(tmp_path: Path) -> None:
    names = [
        "x.mp4",
        "x.webm",
        "x_thumb.jpg",
        "x 720p.h264.mp4",
        "y.mp4",
        "y2.mp4",
        "z_480p.mkv",
        "z-1080p.mp4",
        "480p.mp4",
    ]
    root = tmp_path / "set"
    for n, name in enumerate(names):
        file(root / name, n)
    made = [Example(id=n, path=str(root / n), truth=0) for n in names]
    found = {e.id: e.group for e in with_recordings(made, root)}
    assert [found[n] for n in names] == [*["x 720p.h264.mp4"] * 4, None, None, *["z-1080p.mp4"] * 2, None]


def test_files_of_one_name_in_two_folders_are_not_one_recording(tmp_path: Path) -> None:
    for label in "ab":
        for n in range(3):
            file(tmp_path / label / f"{n:04d}.mp4", ord(label) * 10 + n)
    assert set(groups(tmp_path).values()) == {None}


def test_placeholders_and_files_that_cannot_be_read_are_not_twins(tmp_path: Path) -> None:
    for n in range(8):
        path = tmp_path / "ab"[n % 2] / f"{n}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0" * (0 if n < 4 else 100))
    os.mkfifo(tmp_path / "a" / "pipe.mp4")
    assert set(groups(tmp_path).values()) == {None}


def test_a_given_group_joins_and_never_divides(tmp_path: Path) -> None:
    for n in range(5):
        file(tmp_path / f"{n}.mp4", n)
    rows = [
        "0.mp4,x,0,1,p",
        "0.mp4,x,1,2,q",
        "1.mp4,y,0,1,q",
        "2.mp4,y,0,1,",
        "2.mp4,x,1,2,",
        "3.mp4,x,0,1,r",
        "4.mp4,y,0,1,",
    ]
    found = groups(listed(tmp_path, rows, "path,label,start,end,group"))
    assert list(found.values()) == ["p", "p", "p", "2.mp4", "2.mp4", "r", None]


def test_against_the_closure_of_all_pairs(tmp_path: Path) -> None:
    """Files, groups and contents at random; of one recording is what a chain of common things connects."""
    rng = random.Random(0)
    for n in range(9):
        file(tmp_path / f"{n}.mp4", n // 2 if n < 4 else 100 + n)
    for _ in range(40):
        made = [
            Example(
                id=str(i),
                path=str(tmp_path / f"{rng.randrange(9)}.mp4"),
                truth=0,
                group=rng.choice([None, None, *"pqrs"]),
            )
            for i in range(10)
        ]
        content = {e.id: Path(e.path).read_bytes() for e in made}
        reach = {(a.id, b.id): a == b for a in made for b in made}
        for a, b in combinations(made, 2):
            joined = content[a.id] == content[b.id] or (a.group is not None and a.group == b.group)
            reach[a.id, b.id] = reach[b.id, a.id] = joined
        for k in made:
            for a in made:
                for b in made:
                    reach[a.id, b.id] |= reach[a.id, k.id] and reach[k.id, b.id]
        found = with_recordings(made, tmp_path)
        for a, b in combinations(found, 2):
            assert (a.group is not None and a.group == b.group) == reach[a.id, b.id]


def test_real_videos_of_other_content_stay_apart(tmp_path: Path) -> None:
    for n in range(4):
        write_video(tmp_path / "ab"[n % 2] / f"{n}.mp4", blob(n, n))
    assert set(groups(tmp_path).values()) == {None}
