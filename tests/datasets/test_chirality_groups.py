"""The csv files of Chirality in Action: rows of videos and of groups, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitascope.core.types import Example
from vitascope.datasets.chirality_groups import files, matched, read_groups

BY_VIDEO = (
    "id,label,template,placeholders,chiral_triplet_id,chiral_label\n"
    "138629,folding a shirt,Folding [something],\"['a shirt']\",12055391,1.0\n"
    "151669,unfolding it,Unfolding [something],[],12055391,0.0\n"
    "18557,moving up,Moving [something] up,[],3f20f09b,0.0\n"
    "115257,moving down,Moving [something] down,[],3f20f09b,1.0\n"
    "7,holding,Holding [something],[],,\n"
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_for_each_video(tmp_path: Path) -> None:
    groups = read_groups([write(tmp_path / "cia-ssv2-validation.csv", BY_VIDEO)])
    assert {g.name: dict(g.side) for g in groups} == {
        "Unfolding something / Folding something": {"138629": 1, "151669": 0},
        "Moving something up / Moving something down": {"18557": 0, "115257": 1},
    }


def test_a_row_for_each_group(tmp_path: Path) -> None:
    text = "triplet_id,noun_abstract,id_forward,id_reverse\n12055391,shirt,1;2,3\n3f20f09b,box, 4 ,5;6;1\n"
    groups = read_groups([write(tmp_path / "chiral_groups-epic.csv", text)])
    assert [(g.name, dict(g.side)) for g in groups] == [
        ("12055391", {"1": 1, "2": 1, "3": 0}),
        ("3f20f09b", {"4": 1, "5": 0, "6": 0, "1": 0}),
    ]


def test_groups_of_the_same_actions_keep_their_ids_apart(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'open' if i % 2 else 'close'},{'ab'[i // 2]},{float(i % 2)}\n" for i in range(4))
    groups = read_groups([write(tmp_path / "cia.csv", "id,narration,chiral_triplet_id,chiral_label\n" + rows)])
    assert [g.name for g in groups] == ["close / open (a)", "close / open (b)"]


def test_the_other_side_is_found_beside_it(tmp_path: Path) -> None:
    names = [tmp_path / f"cia-ssv2-{word}.csv" for word in ("validation", "train")]
    write(names[0], BY_VIDEO)
    assert files(str(names[0])) == names[:1]
    write(names[1], BY_VIDEO)
    assert files(str(names[0])) == names
    assert files(f"{names[1]}, {names[0]}") == names[::-1]


def test_ids_are_those_of_the_dataset_or_names_of_files(tmp_path: Path) -> None:
    groups = read_groups([write(tmp_path / "a.csv", BY_VIDEO)])
    plain = [Example(id=i, path="", truth=0) for i in ("138629", "151669", "9")]
    assert [dict(g.side) for g in matched(groups, plain, "a.csv")] == [{"138629": 1, "151669": 0}, {}]
    below = [Example(id=f"up/{i}.webm", path="", truth=0) for i in ("18557", "9")]
    assert [dict(g.side) for g in matched(groups, below, "a.csv")] == [{}, {"up/18557.webm": 0}]
    twice = [Example(id=f"{folder}/18557.webm", path="", truth=0) for folder in ("up", "down")]
    with pytest.raises(ValueError, match=r"a.csv: 18557 fits both up/18557.webm and down/18557.webm"):
        matched(groups, twice, "a.csv")
    with pytest.raises(ValueError, match=r"none of its 4 videos \(138629, ...\) is among the 1 examples \(x, ...\)"):
        matched(groups, [Example(id="x", path="", truth=0)], "a.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,chiral_triplet_id\n1,a\n", r"no columns id, chiral_triplet_id, chiral_label or triplet_id"),
        ("id,chiral_triplet_id,chiral_label\n1,a,2.0\n", r"cia.csv:2: chiral_label '2.0' is neither 0.0 nor 1.0"),
        ("id,chiral_triplet_id,chiral_label\n1,a,1.0\n1,a,0.0\n", r"cia.csv:3: 1 is on both sides of group a"),
        ("id,chiral_triplet_id,chiral_label\n1,,\n", "no groups; rows need id, chiral_triplet_id and chiral_label"),
        ("id,chiral_triplet_id,chiral_label\n1,a\n", "2 cells, but 3 columns"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_groups([write(tmp_path / "cia.csv", text)])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cia.csv: no such file; download the csv files of bpiyush/chirality-in-act"):
        read_groups([tmp_path / "cia.csv"])
