"""Boxes of a person detector: csv in several layouts, pickles of proposals, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from vitascope.core.errors import UserError
from vitascope.datasets.readers.person_boxes import PersonBoxes, read_person_boxes

ROWS = [("a", 902.0, 0.1, 0.2, 0.3, 0.9, 0.75), ("b", 903.5, 0.0, 0.0, 1.0, 0.5, 0.5)]


def check(found: PersonBoxes, scores: bool = True) -> None:
    assert [found.videos[v] for v in found.video] == [r[0] for r in ROWS]
    np.testing.assert_array_equal(found.time, [r[1] for r in ROWS])
    np.testing.assert_allclose(found.box, [r[2:6] for r in ROWS])
    np.testing.assert_allclose(found.score, [r[6] if scores else 1.0 for r in ROWS])


def row(values: tuple, *after: object) -> str:
    return ",".join(map(str, (*values, *after)))


@pytest.mark.parametrize(
    "lines",
    [
        [row(r) for r in ROWS],
        [row(r[:6], "", r[6]) for r in ROWS],
        [row(r[:6], 12, r[6]) for r in ROWS],
        ["video,time,x1,y1,x2,y2,score", *(row(r) for r in ROWS)],
        ["score,video_id,timestamp,xmin,ymin,xmax,ymax", *(row((r[6], *r[:6])) for r in ROWS)],
        ["video,time,x1,y1,x2,y2,action,score", *(row(r[:6], "", r[6]) for r in ROWS)],
    ],
)
def test_tables(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    check(read_person_boxes(tmp_path / "boxes.csv"))


@pytest.mark.parametrize("header", [[], ["video,time,x1,y1,x2,y2"]])
def test_tables_without_scores(tmp_path: Path, header: list[str]) -> None:
    (tmp_path / "boxes.csv").write_text("\n".join([*header, *(row(r[:6]) for r in ROWS)]))
    check(read_person_boxes(tmp_path / "boxes.csv"), scores=False)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("columns", [4, 5])
def test_proposals(tmp_path: Path, protocol: int, columns: int) -> None:
    content = {"a,0902": np.array([ROWS[0][2 : 2 + columns]]), "c,0001": np.zeros((0, 5))}
    content["b,903.5"] = np.array([ROWS[1][2 : 2 + columns]])
    (tmp_path / "boxes.pkl").write_bytes(pickle.dumps(content, protocol))
    check(read_person_boxes(tmp_path / "boxes.pkl"), scores=columns == 5)


def test_boxes_are_cut_at_the_frame_and_those_without_area_left_out(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("a,1,-0.1,0.2,1.04,0.5,0.9\na,1,0.5,0.2,0.5,0.9,0.9\na,2,1.1,0,1.2,1,0.9\n")
    found = read_person_boxes(tmp_path / "boxes.csv")
    np.testing.assert_array_equal(found.box, [[0.0, 0.2, 1.0, 0.5]])
    assert found.dropped == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,1,10,20,110,220,0.9", "pixels, not fractions"),
        ("a,1,0.1,0.1,0.2,0.2,12,7", "not between 0 and 1; is it in another column"),
        ("a,1,0.1,0.1,0.2,0.2,nan", "not a finite number"),
        ("a,1,0.1,0.1,0.2", "5 cells; expected video, time, x1, y1, x2, y2, and then a score"),
        ("a,b,0.1,0.1,0.2,0.2,0.5\na,1,0,0,1,1,1", "no column 'video'"),
    ],
)
def test_bad_tables(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "boxes.csv").write_text(line + "\n")
    with pytest.raises(UserError, match=words):
        read_person_boxes(tmp_path / "boxes.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "is a dictionary such as"),
        ({}, "is a dictionary such as"),
        ({"a": np.zeros((1, 5))}, "entry 'a': expected"),
        ({"a,1": np.zeros((1, 3))}, "entry 'a,1': expected"),
        ({"a,x": np.zeros((1, 5))}, "entry 'a,x': expected"),
        ({"a,1": "text"}, "entry 'a,1': expected"),
        ({"a,1": np.full((1, 5), np.nan)}, "not finite"),
        ({"a,1": Path("x")}, "refused: its pickle would run pathlib"),
    ],
)
def test_bad_pickles(tmp_path: Path, content: object, words: str) -> None:
    (tmp_path / "boxes.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=words):
        read_person_boxes(tmp_path / "boxes.pkl")


def test_the_excerpt_of_fairs_proposals() -> None:
    path = Path(__file__).parents[1] / "fixtures" / "annotations" / "ava" / "ava_proposals_sample.pkl"
    found = read_person_boxes(path)
    assert found.videos == ("0f39OWEqJ24", "_-Z6wFjXtGQ")
    assert found.time.tolist() == [902.0, 903.0, 902.0, 902.0, 902.0]
    np.testing.assert_array_equal(found.box[0], [0.011, 0.157, 0.655, 0.983])
    np.testing.assert_array_equal(found.score, [0.998163, 0.997048, 0.281325, 0.994488, 0.996238])
