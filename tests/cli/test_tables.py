"""Tables of encoders, on the terminal and in the documentation."""

import json
from dataclasses import replace
from pathlib import Path

from vitascope.cli import tables
from vitascope.core.types import Score
from vitascope.encoders.catalog import ENCODERS, cards
from vitascope.encoders.weights import native_card
from vitascope.evaluation.results import Result

REPORT = ("umt", "vjepa", "internvideo2", "dfn", "videoprism", "videomae", "omnimae", "hiera", "mvd")
PROVEN = (*REPORT, "vjepa2", "clip", "siglip2", "dinov2", "dinov3", "pe")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"


def test_the_page_shows_the_cards_as_they_are() -> None:
    table = tables.encoders_markdown(cards())
    assert table in PAGE.read_text(encoding="utf-8"), "run `python docs/generate.py`"


def test_the_page_shows_each_family_shown_right() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = text.partition("<!-- fixtures -->")[2].partition("<!-- end fixtures -->")[0]
    assert not [family for family in PROVEN if f"| {family}/" not in shown]
    assert "failed" not in shown


def test_every_name_is_plain_data_and_every_model_has_its_card() -> None:
    rows = json.loads(tables.as_json(tables.names("encoders")))
    assert set(rows) == set(ENCODERS.names())
    umt = rows["umt/large-s2"]
    assert (umt["frames"], umt["size"], umt["dim"], umt["params"]) == (16, 224, 1024, 303_100_928)
    assert umt["pretraining_datasets"] == ["k400", "k600", "k700"]
    assert "without motion" in rows["pixels/thumbnail"]["about"]
    assert {name for name in rows if name.startswith("tiny/")} == set(native_card.shipped_cards())
    ours = rows["tiny/twlv1"]
    assert (ours["frames"], ours["dim"], ours["params"]) == (12, 128, 1_263_744)


def test_the_table_has_a_line_for_each() -> None:
    table = tables.names_table("encoders")
    assert table.row_count == len(ENCODERS.names())


def test_what_is_missing_is_named_and_bounds_the_score() -> None:
    whole = Result(
        encoder="vit/tiny",
        dataset="mine",
        probe="knn",
        version=1,
        scores={"top1": Score(50.0)},
        settings={},
        protocol="p",
        n=80,
        expected=80,
    )
    incomplete = replace(whole, expected=100, missing={f"{i}.mp4": "no such file" for i in range(20)})
    assert list(tables.coverage_lines([whole])) == []
    assert [line.replace("\xa0", " ") for line in tables.coverage_lines([incomplete])] == [
        "mine, missing: 0.mp4 (no such file), and 19 more",
        "vit/tiny on mine:knn, 50.0: 80.0 % of the test set; with the missing videos it could be 40.0–60.0",
    ]
