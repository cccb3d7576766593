"""The page and the picture of files of predictions: all numbers of the files, and labels that do nothing."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from helpers import vitascope
from vitascope.core.types import Score
from vitascope.evaluation.scored_files.scored import Scored
from vitascope.report import scored_page

NASTY = "<script>alert(1)</script>"
TRUTH = f"v,1,0.1,0.1,0.5,0.9,run,0\nv,2,0.1,0.1,0.5,0.9,{NASTY},0\nw,1,0.5,0.1,0.9,0.9,{NASTY},0\n"
FOUND = f"v,1,0.1,0.1,0.5,0.9,run,0.9\nv,2,0.1,0.1,0.5,0.8,{NASTY},0.8\nw,1,0.0,0.1,0.3,0.9,{NASTY},0.7\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("boxes")
    texts = {"truth": TRUTH, "good": FOUND, "bad": FOUND.replace("v,1,0.1,0.1,0.5", "v,1,0.6,0.1,0.9")}
    paths = {name: folder / f"{name}.csv" for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text)
    return paths


@pytest.fixture
def score(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vitascope.evaluation.scored_files.detection.DRAWS", 50)

    def run(*more: object, code: int = 0):
        given = ("frame-ap", "--truth", files["truth"], "--predictions", files["good"], files["bad"])
        return vitascope("score", *given, *more, code=code)

    return run


def test_the_page_has_what_json_has(score, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    data = json.loads(score("--json", "-o", page).stdout)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for file in data["files"]:
        for value in file["scores"].values():
            assert f"<b>{value['value']:.1f}</b><small>[{value['low']:.1f}, {value['high']:.1f}]</small>" in text
        assert repr(file["exact"]["official"]) in text
    (pair,) = data["comparisons"]
    assert f">+{pair['value']:.1f}</td>" in text
    assert f">−{pair['value']:.1f}</td>" in text
    assert re.search(r"<strong>good\.csv</strong> scores highest: 75\.0", text)
    assert "but not significantly higher than bad.csv." in text
    assert "Gain without an error type" in text


def test_one_file_is_a_page_too(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitascope.evaluation.scored_files.detection.DRAWS", 50)
    given = ("--truth", files["truth"], "--predictions", files["good"], "-o", tmp_path / "one.html")
    vitascope("score", "frame-ap", *given)
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "1 file of predictions" in text
    assert "Row minus column" not in text


def test_pictures_and_endings(score, tmp_path: Path) -> None:
    score("-o", tmp_path / "p.svg")
    ET.parse(tmp_path / "p.svg")
    score("-o", tmp_path / "p.png")
    assert Image.open(io.BytesIO((tmp_path / "p.png").read_bytes())).size[0] == 1920
    error = score("-o", tmp_path / "p.pdf", code=2).stderr
    assert "no file ending in .pdf; choose from .html, .md, .svg, .png" in error
    assert not (tmp_path / "p.pdf").exists()


def test_names_keep_as_much_of_the_folders_as_tells_them_apart() -> None:
    def named(*names: str) -> list[str]:
        return scored_page.short_names([Scored(name, {"mAP": Score(1.0)}, {}, lambda w: w, 1) for name in names])

    assert named("a/b/x.csv", "a/c/y.csv") == ["x.csv", "y.csv"]
    assert named("a/b/x.csv", "a/c/x.csv") == ["b/x.csv", "c/x.csv"]
    assert named("x.csv") == ["x.csv"]
