"""Scorecard: whom an encoder is compared with, what is drawn of it, and a paper's own pictures."""

from __future__ import annotations

import re
import runpy
import shutil
from dataclasses import replace
from io import BytesIO
from math import hypot
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vitascope import report
from vitascope.cli.main import app
from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.evaluation.results import append
from vitascope.report.analysis import leaderboard, published, ranking, scorecard
from vitascope.report.analysis.scorecard import Contender, Value
from vitascope.report.charts import drawing, plane
from vitascope.report.charts.drawing import Area, Drawing, Label, Line, Mark
from vitascope.report.charts.radar import CENTER, RADIUS, Spoke, point, radar
from vitascope.report.sections.scorecard import of_run

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAKE = runpy.run_path(str(FIXTURES / "fake_run.py"))
PUBLISHED = runpy.run_path(str(FIXTURES / "fake_published.py"))


def contender(row: int, params: float, **values: float) -> Contender:
    return Contender(row, f"e{row}", int(params), {n: Value(Score(v), f"{v:.1f}") for n, v in values.items()})


def test_competitors_are_those_within_twice_the_size() -> None:
    front = contender(0, 303.9e6)
    others = [contender(i, size) for i, size in enumerate((86e6, 216e6, 305e6, 607e6, 632e6, 0), 1)]
    assert [one.row for one in scorecard.same_scale(front, others)] == [2, 3, 4]
    assert [one.row for one in scorecard.same_scale(contender(0, 5e9), others)] == [5, 4, 3], "the nearest"
    assert scorecard.same_scale(contender(0, 0), others) == others, "of unknown size"


def test_figure_1_has_the_encoders_of_the_size_of_vit_l() -> None:
    tasks, contenders = scorecard.of_paper(published.find_paper("twlv1"))
    front = next(one for one in contenders if one.name == "TWLV-I ViT-L")
    near = {one.name for one in scorecard.same_scale(front, contenders)}
    assert {name.split()[-1] for name in near} == {"ViT-L", "Hiera-L"}
    assert {"V-JEPA ViT-L", "UMTs2 ViT-L", "MVD ViT-L"} <= near
    assert len(tasks) == 11
    assert front.values["AVA"].text == "27.39"
    assert front.values["THUMOS14"].text == "58.75", "self-contained"


def test_the_leader_has_most_tasks_and_the_highest_share_of_the_best() -> None:
    few = contender(0, 1, a=99.0)
    high, low = contender(1, 1, a=80.0, b=10.0), contender(2, 1, a=40.0, b=20.0)
    assert scorecard.leader([few, high, low]) == low, "0.40 and 1 of the best, against 0.81 and 0.5"


def test_the_radar_puts_every_score_at_its_share_of_the_rim() -> None:
    spokes = [
        Spoke("a", {0: Score(50.0, 40.0, 60.0), 1: Score(80.0)}, {}),
        Spoke("b", {0: Score(30.0, 25.0, 40.0)}, {}),
        Spoke("c", {0: Score(20.0, 10.0, 20.0), 1: Score(5.0)}, {}),
    ]
    drawn = radar(spokes, 0, ("front", "rest"), "of a test")
    marks = [s for s in drawn.shapes if isinstance(s, Mark)]
    shares = {(m.row, round(hypot(m.at[0] - CENTER[0], m.at[1] - CENTER[1]) / RADIUS, 3)) for m in marks}
    assert shares == {(0, 0.625), (1, 1.0), (0, 0.75), (0, 1.0), (1, 0.25)}
    (band,) = (s for s in drawn.shapes if isinstance(s, Area) and s.hole)
    assert band.points[0] == point(0, 3, 60 / 80)
    assert band.hole[0] == point(0, 3, 40 / 80)
    dashed = [s for s in drawn.shapes if isinstance(s, Line) and s.dashed]
    assert len(dashed) == 2, "one between a and c, which alone are neighbors with a competitor, and one in the legend"


def test_long_names_take_two_lines_outside_the_rim() -> None:
    spokes = [Spoke(f"motionlab/{name}", {0: Score(50.0)}, {}) for name in ("still", "appearance", "motion")]
    labels = [s for s in radar(spokes, 0, ("", ""), "").shapes if isinstance(s, Label) and s.bold]
    assert [s.text for s in labels] == ["motionlab/still", "motionlab/", "appearance", "motionlab/", "motion"]
    for first, second in ((labels[1], labels[2]), (labels[3], labels[4])):
        assert second.at[1] > first.at[1] > point(1, 3, 1.0)[1]
        assert abs(first.at[0] - CENTER[0]) > abs(point(1, 3, 1.0)[0] - CENTER[0])


def test_a_radar_without_intervals_has_no_band() -> None:
    spokes = [Spoke(n, {0: Score(50.0)}, {}) for n in "abc"]
    assert not [s for s in radar(spokes, 0, ("", ""), "").shapes if isinstance(s, Area) and s.hole]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = FAKE["fake_run"](tmp_path_factory.mktemp("runs") / "mine")
    return path


def test_of_a_run_with_its_tested_differences(run: Path) -> None:
    board = leaderboard.build(leaderboard.load_results([run]))
    rankings = {c.task: ranking.analyze(c).ranking for c in board.main()}
    view = of_run(board, rankings)
    assert view is not None
    assert view.name == "hf:lab/<b>big</b> & co"
    assert [line.task for line in view.lines] == ["motionlab/appearance:knn", "motionlab/motion:knn", "mine:linear"]
    motion = view.lines[1]
    assert (motion.rival, motion.gap.sign) == ("vit/small", 1)
    gap = rankings["motionlab/motion:knn"].difference(1, 0)
    assert gap is not None
    assert motion.gap.text == f"+{gap.value:.1f}"
    assert motion.gap.interval.startswith("[+")
    assert view.lines[0].gap.sign == 0, "not significant"
    assert "<b>" not in view.svg
    chosen = of_run(board, rankings, "vit/small")
    assert chosen is not None
    assert chosen.name == "vit/small"
    with pytest.raises(UserError, match="did you mean 'vit/small'"):
        of_run(board, rankings, "vit/smal")
    assert of_run(replace(board, columns=board.columns[:2]), rankings) is None, "two tasks"


def test_labels_are_without_options_unless_they_tell_tasks_apart(tmp_path: Path) -> None:
    probes = ("knn", "attentive+time=learned", "linear+lr=0.1", "linear+lr=0.3")
    tasks = tuple(("made/set", probe, "", ("up", "down")) for probe in probes)
    run = FAKE["fake_run"](tmp_path / "run", tasks=tasks, n=12, odd=False)
    names, _ = scorecard.of_board(leaderboard.build(leaderboard.load_results([run])))
    assert list(names) == ["set:knn", "set:attentive", "set:linear+lr=0.1", "set:linear+lr=0.3"]


def test_the_page_of_a_run_has_the_scorecard(run: Path) -> None:
    text = report.write(run, formats=["html"])["html"].read_text(encoding="utf-8")
    (section,) = re.findall(r'<section id="scorecard".*?</section>', text, re.DOTALL)
    assert "best competitor" in section
    assert 'class="sketch"' in section
    assert FAKE["NASTY"] not in section


def test_the_pictures_of_a_paper_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["report", "--published", "twlv1"])
    assert ran.exit_code == 0, ran.output
    folder = tmp_path / "published"
    stems = {"twlv1-scorecard", "twlv1-appearance-motion", "twlv1-appearance-motion-2"}
    assert {p.name for p in folder.iterdir()} == {"twlv1.html", *(f"{s}.{e}" for s in stems for e in ("svg", "png"))}
    page = (folder / "twlv1.html").read_text(encoding="utf-8")
    assert "TWLV-I ViT-L</strong> is ahead of all 7 encoders of its size on 10 of 11 benchmarks." in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page), "no request leaves"
    assert page.count("<details") == 7, "a table each"
    for stem in stems:
        picture = (folder / f"{stem}.svg").read_bytes()
        assert len(picture) < 60_000
        assert ElementTree.fromstring(picture).tag.endswith("svg")
        with Image.open(folder / f"{stem}.png") as image:
            assert image.size[0] == 1120
    drawn = (folder / "twlv1-appearance-motion.svg").read_text(encoding="utf-8")
    # means of 70.77 and 28.83, and of 52.50 and 22.86
    assert "V-JEPA ViT-L†\nappearance 49.8\nmotion 37.7" in drawn


@pytest.mark.parametrize("stem", ["twlv1-scorecard", "twlv1-appearance-motion", "twlv1-appearance-motion-2"])
def test_the_pictures_of_the_documentation_are_current(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "png", lambda picture: b"")
    kept = Path(__file__).parents[2] / "docs" / f"{stem}.svg"
    assert kept.read_bytes() == report.write_published("twlv1", tmp_path)[stem].read_bytes(), "copy it to docs/"


def test_own_rows_stand_beside_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "png", lambda picture: b"")
    for dataset in ("k400", "mit", "ssv2", "diving48"):
        one = PUBLISHED["published_score"]("twlv1", "3", "vjepa/large", dataset, "top-1")
        append(tmp_path, PUBLISHED["as_published"](one))
        if dataset != "mit":
            append(tmp_path, replace(PUBLISHED["as_published"](one), encoder="lab/<i>own</i>", protocol=f"p{dataset}"))
    written = report.write_published("twlv1", tmp_path / "published", [tmp_path])
    page = written["html"].read_text(encoding="utf-8")
    assert "vjepa/large (here)" in page
    assert "lab/&lt;i&gt;own&lt;/i&gt; (linear probing: no result on mit)" in page
    assert page.count('class="text matched"') == 4
    assert "<i>own" not in page
    other = report.write_published("pe", tmp_path / "pe", [tmp_path])["html"].read_text(encoding="utf-8")
    assert "none of the results is in the tables of Perception Encoder: they are of in1k:zeroshot" in other


def test_a_run_or_a_paper_is_asked_for() -> None:
    ran = CliRunner().invoke(app, ["report"])
    assert isinstance(ran.exception, UserError)
    assert "a run folder, --published twlv1, or both" in str(ran.exception)


def test_a_wrong_paper_leaves_nothing_half_written(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("report.*"))
    before = sorted(folder.rglob("*"))
    ran = CliRunner().invoke(app, ["report", str(folder), "--published", "twlv"])
    assert "did you mean 'twlv1'" in str(ran.exception)
    ran = CliRunner().invoke(app, ["report", str(folder), "-m", "vit/smal"])
    assert "did you mean 'vit/small'" in str(ran.exception)
    assert sorted(folder.rglob("*")) == before


def test_every_paper_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "png", lambda picture: b"")
    for name, paper in published.papers().items():
        written = report.write_published(name, tmp_path)
        assert (f"{name}-scorecard" in written) == (paper.scorecard is not None)
        assert len([stem for stem in written if "appearance" in stem]) == len(paper.planes)


def test_labels_of_a_plane_do_not_cover_each_other() -> None:
    marks = [(100.0, 200.0), (104.0, 203.0), (103.0, 208.0), (540.0, 60.0)]
    placed = plane.place_labels(marks, ["one of three", "two of three", "three of three", "at the edge"])
    boxes = [one.box for one in placed]
    for i, a in enumerate(boxes):
        assert a[0] >= 0
        assert a[2] <= plane.WIDTH
        for b in boxes[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_svg_and_png_show_the_same() -> None:
    shapes = (
        Area(((10, 10), (90, 10), (90, 90), (10, 90)), 0, 1.0, ((40, 40), (60, 40), (60, 60), (40, 60))),
        Line(((0, 95), (100, 95)), 1, 4, dashed=True),
        Mark((20, 20), 2, 'a "tip" <b>'),
        Label((5, 98), "a < b"),
    )
    picture = Drawing(100, 100, shapes, "of <all> kinds")
    pixels = np.asarray(Image.open(BytesIO(drawing.png(picture))))
    assert tuple(pixels[150, 60]) == (0, 104, 173), "the area"
    assert tuple(pixels[100, 100]) == (255, 255, 255), "its hole"
    assert tuple(pixels[40, 40]) == (0, 138, 104), "the mark"
    assert {tuple(p) for p in pixels[190, ::2]} >= {(255, 255, 255), (204, 79, 0)}, "dashes"
    root = ElementTree.fromstring(drawing.svg(picture, standalone=True))
    assert root.get("aria-label") == "of <all> kinds"
    names = [child.tag.rpartition("}")[2] for child in root]
    assert names == ["style", "rect", "path", "polyline", "polygon", "text"]
