"""Pairs of opposite classes: the lists that come along, and those that users type or write into files."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from vitascope.core.types import Example
from vitascope.datasets import class_pairs
from vitascope.datasets.class_pairs import ClassPair, class_sides, fitting, listed, read_pairs, suggestions
from vitascope.datasets.readers.annotation_files import labels
from vitascope.motionlab.scene import MOTIONS, REVERSE

OFFICIAL = {"ssv2": "ssv2", "jester": "jester", "epic": "epic_verb", "charades": "charades"}
COUNTS = {
    "ssv2": 22,
    "jester": 10,
    "epic": 11,
    "charades": 27,
    "motionlab": 8,
    "motionlab2": 9,
    "hand_gesture_landmarks": 6,
}
HARD = ("a", "b", "a, b", "c: d", "c", "d", "Moving something up", "x (y) z", "e:f,g:h", "e", "f", "g", "h")


@pytest.mark.parametrize("family", OFFICIAL)
def test_listed_classes_are_official_ones(family: str) -> None:
    official = labels(OFFICIAL[family])
    names = [*chain(*listed(family))]
    assert not {*names} - {*official}
    assert len(names) == len({*names}) or family == "ssv2"
    assert len(fitting(family, official)) == len(listed(family)) == COUNTS[family]


def test_all_lists_are_known_and_name_no_pair_twice() -> None:
    assert {*class_pairs.families()} == {*COUNTS}
    for family, count in COUNTS.items():
        pairs = {frozenset(pair) for pair in listed(family)}
        assert len(pairs) == len(listed(family)) == count
        assert all(len(pair) == 2 for pair in pairs)


def test_pairs_of_motionlab_are_its_reversals() -> None:
    expected = {frozenset(pair) for pair in REVERSE.items() if len({*pair}) == 2}
    assert {frozenset(pair) for pair in listed("motionlab")} == expected
    assert {*chain(*listed("motionlab"))} <= {*MOTIONS}


def test_left_and_right_of_ssv2_are_the_authors_map() -> None:
    """The three pairs of the flip map that is published with the labels."""
    swapped = {tuple(sorted(pair)) for pair in listed("ssv2") if "left" in pair[0] and "right" in pair[1]}
    assert len(swapped) == 3


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a:b", [("a", "b")]),
        ("a:b,", [("a", "b")]),
        ("a:b,c:d", [("a", "b"), ("c", "d")]),
        (" a : b , c : d ", [("a", "b"), ("c", "d")]),
        ("a, b:c: d", [("a, b", "c: d")]),
        ('"a, b":"c: d",e:f', [("a, b", "c: d"), ("e", "f")]),
        ('"a, b":c', [("a, b", "c")]),
        ("moving something UP:x (y) z", [("Moving something up", "x (y) z")]),
        ('"e:f,g:h":a', [("e:f,g:h", "a")]),
        ("e:f,g:h", [("e", "f"), ("g", "h")]),
        ("e:f,g:h:a", [("e:f,g:h", "a")]),
    ],
)
def test_typed_pairs(text: str, pairs: list[tuple[str, str]]) -> None:
    found = read_pairs(text, HARD, "chirality")
    assert [(HARD[p.first], HARD[p.second]) for p in found] == pairs


@pytest.mark.parametrize("pair", listed("ssv2"))
def test_every_pair_of_ssv2_can_be_typed_without_quotes(pair: tuple[str, str]) -> None:
    official = labels("ssv2")
    text = f"{pair[0]}:{pair[1]},Opening something:Folding something"
    found = read_pairs(text, official, "chirality")
    assert (official[found[0].first], official[found[0].second]) == pair
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Movin something up:a", r"'Movin something up' is not one of the 13 classes .*mean 'Moving something up'"),
        ("a", r"chirality: 'a' is not class:opposite; put quotes around names with , or :"),
        ("a:", "'a:' is not class:opposite"),
        ("a:a", "'a' is paired with itself"),
        ("a:b,b:a", "'b' and 'a' are paired twice"),
        ("a:b," * 300, "more than 400 parts; write the pairs in a file"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(text, HARD, "chirality")


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n"a, b","c: d"\n',
        'class,opposite\na,b\n"a, b","c: d"\n',
        "note\topposite\tclass\nx\tb\ta\ny\tc: d\ta, b\n",
        '\ufeffClass;Opposite\r\na;b\r\n"a, b";"c: d"\r\n',
    ],
)
def test_pairs_in_a_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    assert read_pairs(str(path), HARD, "chirality") == [ClassPair(0, 1), ClassPair(2, 3)]


def test_a_wrong_file_says_the_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("class,opposite\na,b\na,Moving something upp\n")
    with pytest.raises(ValueError, match=r"mine.csv:3: 'Moving something upp' is not one .*mean 'Moving something up'"):
        read_pairs(str(path), HARD, "chirality")
    path.write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"mine.csv:1: 'a' stands alone; write two classes a line"):
        read_pairs(str(path), HARD, "chirality")
    path.write_text("class,opposite\n")
    with pytest.raises(ValueError, match="no pairs in it; write two classes a line"):
        read_pairs(str(path), HARD, "chirality")


def test_sides_of_one_and_of_several_labels() -> None:
    one = [Example(id=str(i), path="", truth=i % 3) for i in range(6)]
    (sides,) = class_sides([ClassPair(2, 0)], one, ("x", "y", "z"))
    assert sides.name == "z / x"
    assert sides.side == {"0": 1, "2": 0, "3": 1, "5": 0}
    truths = ((0,), (2,), (0, 2), (1,), (), (0, 1))
    several = [Example(id=str(i), path="", truth=t) for i, t in enumerate(truths)]
    (sides,) = class_sides([ClassPair(0, 2)], several, ("x", "y", "z"))
    assert sides.side == {"0": 0, "1": 1, "5": 0}


def test_opposites_are_suggested_by_their_names() -> None:
    classes = (
        "Open_Door",
        "close door",
        "door",
        "swipe-left",
        "swipe-right",
        "up left",
        "down right",
        "01_cw",
        "02_ccw",
    )
    assert suggestions(classes) == [
        ("Open_Door", "close door"),
        ("swipe-left", "swipe-right"),
        ("up left", "down right"),
        ("01_cw", "02_ccw"),
    ]
    assert "'Open_Door:close door'" in class_pairs.how_to(classes, "chirality")
    assert "use -t chirality+known=jester" in class_pairs.how_to(labels("jester"), "chirality")
    assert "'one class:its opposite'" in class_pairs.how_to(("x", "y"), "chirality")
