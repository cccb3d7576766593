"""Published scores: the file holds what the paper prints, and it stands beside one's own on the same task only."""

from __future__ import annotations

import importlib
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from vitascope import report
from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.encoders import families
from vitascope.evaluation.results import read
from vitascope.report.analysis import published

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_actors.py"))
TABLE_11 = {
    "UMTs2 ViT-B": 21.88,
    "TWLV-I ViT-B": 20.50,
    "UMTs2 ViT-L": 26.38,
    "V-JEPA ViT-L": 22.57,
    "TWLV-I ViT-L": 27.39,
    "DFN ViT-H": 23.41,
    "V-JEPA ViT-H": 22.59,
    "InternVideo2s2 ViT-g": 28.68,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = FAKE["fake_actors"](tmp_path_factory.mktemp("runs") / "ava", dataset="ava")
    return path


def test_table_11(run: Path) -> None:
    (found,) = published.published(read(run)[0])
    assert {row.encoder: row.value for row in found.rows} == TABLE_11
    assert found.source == "TWLV-I, arXiv 2408.11318v2, table 11"


def test_the_models_are_ours() -> None:
    for paper in published.papers().values():
        for row in (row for table in paper.tables for row in table.rows if row.model):
            family, _, variant = row.model.partition("/")
            models = importlib.import_module(f"{families.__name__}.{family}").MODELS
            assert variant in models, row.model


def test_only_the_same_task_and_score(run: Path) -> None:
    mine = read(run)[0]
    for other in (
        replace(mine, dataset="ava/2.1"),
        replace(mine, probe="detect/tubes"),
        replace(mine, limited=True),
        replace(mine, variant={"train_fraction": "5%"}),
        replace(mine, scores={"mAP": Score(1.0), **mine.scores}),
    ):
        assert published.published(other) == []


def test_gray_rows_in_every_format(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = report.write(run, formats=["html", "md", "tex"])
    page = written["html"].read_text(encoding="utf-8")
    rows = re.findall(r'<tr class="published".*?<bdi>(.*?)</bdi>.*?data-value="([\d.]+)"', page, re.DOTALL)
    assert {name: float(value) for name, value in rows} == TABLE_11
    assert "Gray: published, TWLV-I, arXiv 2408.11318v2, table 11." in page
    for name in ("md", "tex"):
        text = written[name].read_text(encoding="utf-8")
        assert all(f"{value:.2f}" in text for value in TABLE_11.values())
        assert "Published: TWLV-I, arXiv 2408.11318v2, table 11." in text
    first, second = FAKE["ENCODERS"]
    (comparison,) = report.compare([run], first, second)
    assert comparison.published[0].endswith("DFN ViT-H 23.41, V-JEPA ViT-H 22.59, InternVideo2s2 ViT-g 28.68")
    assert comparison.published[0] in report.compare_text([comparison])


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ("21.88%", "'21.88%' is no number"),
        ("21.88 20.50", "2 cells for 1 columns"),
        (21.88, "text"),
    ],
)
def test_a_damaged_file_is_named(cells: object, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = json.loads((published.FOLDER / "twlv1.json").read_text())
    place = next(i for i, table in enumerate(paper["tables"]) if table["table"] == "11")
    paper["tables"][place]["rows"][0]["cells"] = cells
    (tmp_path / "odd.json").write_text(json.dumps(paper))
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    published.papers.cache_clear()
    with pytest.raises(UserError, match=rf"odd\.json: tables\[{place}\]\.rows\[0\]\.cells.*{why}"):
        published.papers()
    published.papers.cache_clear()


def table(number: str) -> dict[str, list[float]]:
    """The cells of a table of the report, without daggers, by row."""
    (found,) = (t for t in published.find_paper("twlv1").tables if t.table == number)
    return {row.encoder: [float(c) for c in row.cells.replace("†", "").split() if c != "-"] for row in found.rows}


PROTOCOLS = Path(__file__).parents[3] / "shared" / "PROTOCOLS.md"


@pytest.mark.skipif(not PROTOCOLS.is_file(), reason="../shared/PROTOCOLS.md is absent")
@pytest.mark.parametrize("number", ["6", "9", "10"])
def test_the_tables_that_were_recovered_apart(number: str) -> None:
    text = PROTOCOLS.read_text(encoding="utf-8")
    (block,) = re.findall(
        rf"^Table {number}, .*?\n\n(?=\S|$)" if number != "6" else r"^Table 6.*?^Table 7", text, re.M | re.S
    )
    lines = (
        block.replace("\n", " ").split(";") if number != "6" else [x for x in block.split("\n") if x.count("|") == 9]
    )
    numbers = [[float(x) for x in re.findall(r"\d+\.\d+", line.partition("[P]")[2] or line)] for line in lines]
    width = {"6": 6}.get(number, 8)
    assert [row for row in numbers if len(row) == width] == list(table(number).values())


def test_the_daggers_are_those_of_the_cards() -> None:
    printed = runpy.run_path(str(Path(__file__).parents[1] / "encoders" / "test_daggers.py"))["PRINTED"]
    for name, rows in printed.items():
        (found,) = (t for t in published.find_paper("twlv1").tables if f"table {t.table}" == name)
        signs = {
            row.encoder: "".join("-" if c == "-" else "†" if "†" in c else "." for c in row.cells.split())
            for row in found.rows
        }
        assert signs == rows


def test_printed_means_against_recomputed_ones() -> None:
    wrong = {
        name: [(mean.encoder, mean.text, round(value, 2)) for mean, value in published.recomputed_means(paper)]
        for name, paper in published.papers().items()
    }
    assert wrong.pop("twlv1") == [("TWLV-I (+SSv2) ViT-L", "66.88", 67.48)]
    assert not any(wrong.values())
    means = [one for paper in published.papers().values() for one in published.scores(paper) if one.of]
    assert len(means) == 12 + 12 + 9, "twelve means of table 3, as many of table 5, nine of V-JEPA 2"


def test_known_errata_are_marked() -> None:
    every = published.scores(published.find_paper("twlv1"))
    doubtful = {(one.table, one.encoder, one.family, one.score): one.doubt for one in every if one.doubt}
    for model in ("UMTs1 ViT-B", "UMTs2 ViT-B"):
        assert "SSv2 again" in doubtful["3", model, "diving48", "top-1"]
        same = [one.text for one in every if one.table == "3" and one.encoder == model]
        assert same[4:6] == same[6:8]
    assert "67.48" in doubtful["5", "TWLV-I (+SSv2) ViT-L", "", "mean"]
    assert ("3", "TWLV-I ViT-L", "k400", "top-1") not in doubtful


def test_every_paper_is_whole() -> None:
    names = {"twlv1", "vjepa", "vjepa2", "vjepa21", "videoprism", "pe"}
    assert published.papers().keys() == names
    assert {t.table for t in published.find_paper("twlv1").tables} == {"3", "5", "6", "9", "10", "11", "12"}
    for paper in published.papers().values():
        assert paper.source
        assert paper.read
        every = published.scores(paper)
        keys = [(o.table, o.encoder, o.datasets, o.probe, o.score) for o in every]
        assert len(set(keys)) == len(keys)
        for axis in paper.scorecard.axes if paper.scorecard else ():
            assert any((o.table, o.score) == (axis.table, axis.score) and axis.dataset in o.datasets for o in every)
    with pytest.raises(UserError, match="no published tables 'twlv'; did you mean 'twlv1'"):
        published.find_paper("twlv")
