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
    "UMT-B": 21.88,
    "TWLV-I-B": 20.50,
    "UMT-L": 26.38,
    "V-JEPA-L": 22.57,
    "TWLV-I-L": 27.39,
    "DFN-H": 23.41,
    "V-JEPA-H": 22.59,
    "InternVideo2-g": 28.68,
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
        replace(mine, probe="detect/roi"),
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
    assert comparison.published[0].endswith("DFN-H 23.41, V-JEPA-H 22.59, InternVideo2-g 28.68")
    assert comparison.published[0] in report.compare_text([comparison])


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = json.loads((published.FOLDER / "twlv1.json").read_text())
    paper["tables"][0]["rows"][0]["value"] = "21.88 %"
    (tmp_path / "odd.json").write_text(json.dumps(paper))
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    published.papers.cache_clear()
    with pytest.raises(UserError, match=r"odd\.json: tables\[0\]\.rows\[0\]\.value"):
        published.papers()
    published.papers.cache_clear()
