"""Tables of encoders, on the terminal and in the documentation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from helpers import vitascope
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


@pytest.mark.parametrize("kind", ["encoders", "probes", "datasets", "recipes"])
@pytest.mark.parametrize("width", [80, 100, 160, 0])
def test_there_is_one_line_for_each_name(kind: str, width: int) -> None:
    header, *lines = tables.names_lines(kind, width)
    about = tables.lines(kind)
    assert header.split()[0] == "name"
    assert [line.split()[0] for line in lines] == list(about)
    assert not width or max(map(len, (header, *lines))) <= width
    ends = [line[header.index("what it is") :] for line in lines]
    for end, text in zip(ends, about.values(), strict=True):
        assert end == text or (width and end.endswith("…") and text.startswith(end[:-1]))


@pytest.mark.parametrize("width", [80, 200])
def test_numbers_of_encoders_are_whole_at_any_width(width: int) -> None:
    (line,) = (line for line in tables.names_lines("encoders", width) if line.startswith("videoprism/base "))
    assert line.split()[1:5] == ["16x288", "768", "114.4M", f"{cards()['videoprism/base'].gflops:.0f}"]


def test_the_terminal_s_width_is_that_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitascope.cli.main.console", Console(width=80))
    monkeypatch.setenv("COLUMNS", "80")
    for kind in ("encoders", "probes", "datasets", "recipes"):
        printed = vitascope("ls", kind).stdout.splitlines()
        assert max(map(len, printed)) <= 80
        assert any("vitascope describe NAME" in line for line in printed)


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
