"""The report of pretraining runs: paths, curves and numbers are those logged, and every name is escaped."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from vitascope import report
from vitascope.core.text import compact
from vitascope.core.types import Score
from vitascope.pretrain.monitoring import log as training_log
from vitascope.report.analysis import training_runs
from vitascope.report.charts import plots, tradeoff, training_curves
from vitascope.report.charts.plots import Axis
from vitascope.report.sections import pretraining

FIXTURES = Path(__file__).parents[1] / "fixtures"
MADE = runpy.run_path(str(FIXTURES / "fake_training.py"))
fake_training, write, NASTY, ENDS = MADE["fake_training"], MADE["write"], MADE["NASTY"], MADE["ENDS"]
fake_run = runpy.run_path(str(FIXTURES / "fake_run.py"))["fake_run"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = fake_training(tmp_path_factory.mktemp("runs") / "a <run>", steps=2000, every=200)
    report.write(path)
    return path


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[training_runs.TrainingRun]:
    return training_runs.group_by_recipe(training_log.find_logs(folder))


class Elements(HTMLParser):
    """The elements of a page with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, kind: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.elements if kind in (a.get("class") or "").split()]


@pytest.fixture(scope="module")
def page(folder: Path) -> Elements:
    return Elements((folder / "report.html").read_text(encoding="utf-8"))


def start(**recipe: Any) -> dict[str, Any]:
    return {"kind": "start", "recipe": recipe, "params": 1000}


def step(number: int, loss: float | None, **more: Any) -> dict[str, Any]:
    entries = {"lr": 1e-3, "grad_norm": 1.0, "clips_per_second": 100.0, "waiting": 0.1, "seconds": 1.0}
    return {
        "kind": "step",
        "step": number,
        "seen": 10 * number,
        "losses": {"pixels": loss},
        "loss": loss,
        **entries,
        **more,
    }


def probe(number: int, **scores: float) -> dict[str, Any]:
    entries = {name.replace("_", " "): {"value": value} for name, value in scores.items()}
    return {
        "kind": "probe",
        "step": number,
        "seen": 10 * number,
        "scores": entries,
        "effective_rank": 9.0,
        "token_std": 1.0,
    }


def test_three_files_and_the_same_bytes_again(folder: Path) -> None:
    before = {name: path.read_bytes() for name, path in report.write(folder).items()}
    assert before == {name: (folder / f"report.{name}").read_bytes() for name in ("html", "md", "tex")}
    assert before == {name: path.read_bytes() for name, path in report.write(folder).items()}


def test_a_run_folder_or_a_folder_of_them(folder: Path, tmp_path: Path) -> None:
    assert len(training_log.find_logs(folder)) == 2 * len(ENDS)
    assert [one.name for one in training_log.find_logs(folder / "pixels")] == ["seed-0", "seed-1"]
    (one,) = training_log.find_logs(folder / "pixels" / "seed-0")
    assert (one.name, one.step, one.clips_consumed, one.done) == ("seed-0", 2000, 2000 * 256, True)
    assert training_log.find_logs(tmp_path) == []
    with pytest.raises(ValueError, match=r"no results\.jsonl in it; create one with"):
        report.write(tmp_path)


def test_runs_of_one_recipe_share_a_color(runs: list[training_runs.TrainingRun]) -> None:
    assert [row.label for row in training_runs.recipe_rows(runs)] == sorted(ENDS)
    assert [row.index for row in training_runs.recipe_rows(runs)] == [0, 1, 2, 3, 4]
    assert [f.label for f in runs][:2] == ["image-teacher/seed-0", "image-teacher/seed-1"]
    assert runs[0].row == runs[1].row


def test_recipes_that_differ_in_more_than_seeds_do_not(tmp_path: Path) -> None:
    inner = [{"stream": {"seed": seed, "size": size}, "name": "mine"} for seed, size in ((0, 32), (1, 32), (0, 48))]
    for place, recipe in enumerate(inner):
        write(tmp_path / f"r{place}", [start(**recipe), step(1, 1.0)])
    runs = training_runs.group_by_recipe(training_log.find_logs(tmp_path), first=3)
    assert [f.row.index for f in runs] == [3, 3, 4]
    assert [f.row.label for f in runs] == ["r0", "r0", "r2"], "one name for two recipes would mislead"
    write(tmp_path / "r3", [step(1, 1.0)])
    write(tmp_path / "r4", [step(1, 1.0)])
    assert len(training_runs.recipe_rows(training_runs.group_by_recipe(training_log.find_logs(tmp_path)))) == 4, (
        "of no recipe nothing is known"
    )


def test_without_a_name_runs_are_called_what_their_folders_share(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / f"mix-seed-{seed}", [start(seed=seed, size=3), step(1, 1.0)])
    assert [
        row.label for row in training_runs.recipe_rows(training_runs.group_by_recipe(training_log.find_logs(tmp_path)))
    ] == ["mix"]


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("motionlab/motion linear", {}, ("motionlab/motion", "linear", "motion")),
        ("motionlab/appearance-tiny knn", {}, ("motionlab/appearance-tiny", "knn", "appearance")),
        ("motionlab/still:attentive", {}, ("motionlab/still", "attentive", "appearance")),
        ("my clips linear", {}, ("my clips", "linear", "")),
        ("my clips linear", {"axis": "motion"}, ("my clips", "linear", "motion")),
        ("alone", {}, ("alone", "", "")),
    ],
)
def test_names_of_scores(name: str, told: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert (*training_runs.split_name(name), training_runs.axis_of(name, told)) == expected


def test_the_path_is_that_of_the_probes(folder: Path, runs: list[training_runs.TrainingRun]) -> None:
    pictures = tradeoff.tradeoffs(runs)
    assert [one.method for one in pictures] == ["linear", "knn"], "linear is preferred, both have all runs"
    plot = pictures[0].plot
    for run, trail, point in zip(runs, plot.trails, plot.points, strict=True):
        file = folder / run.log.name / "recorder.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        told = [line["scores"] for line in lines if line["kind"] == "probe"]
        assert len(trail.dots) == len(told)
        for dot, scores in zip(trail.dots, told, strict=True):
            across, up = (scores[f"motionlab/{axis} linear"]["value"] for axis in ("appearance", "motion"))
            assert dot.x == pytest.approx(100 * (across - plot.x.low) / (plot.x.high - plot.x.low), abs=0.01)
            assert dot.y == pytest.approx(100 - 100 * (up - plot.y.low) / (plot.y.high - plot.y.low), abs=0.01)
        assert (point.x, point.y) == (trail.dots[-1].x, trail.dots[-1].y)
        assert trail.stopped == bool(run.log.alarms)
    assert plot.x.chance == pytest.approx(MADE["CHANCE"]["appearance"])
    assert (plot.x.order_free, plot.y.order_free) == (None, pytest.approx(MADE["ORDER_FREE"]["motion"]))
    assert sum(trail.stopped for trail in plot.trails) == 1


def test_one_label_a_recipe_and_not_that_of_a_stopped_run(runs: list[training_runs.TrainingRun]) -> None:
    plot = tradeoff.tradeoffs(runs)[0].plot
    assert sorted(p.label for p in plot.points if p.label) == sorted(ENDS)
    (stopped,) = [p for p, t in zip(plot.points, plot.trails, strict=True) if t.stopped]
    assert stopped.label == ""
    tops = sorted(p.y / 100 * plot.height + p.nudge for p in plot.points if p.label)
    assert all(b - a >= plots.LINE - 0.2 for a, b in pairwise(tops))


@given(st.floats(0, 40), st.floats(5, 60), st.floats(0, 40), st.floats(5, 60))
@settings(max_examples=60, deadline=None)
def test_on_a_contour_the_mean_is_its_value(x_low: float, x_width: float, y_low: float, y_width: float) -> None:
    x, y = Axis(x_low, x_low + x_width, ()), Axis(y_low, y_low + y_width, ())
    lines = tradeoff.contours(x, y)
    assert lines
    for line in lines:
        for across, down in ((line.x1, line.y1), (line.x2, line.y2)):
            at = x_low + across / 100 * x_width, y_low + (100 - down) / 100 * y_width
            assert sum(at) / 2 == pytest.approx(float(line.text), abs=0.06)
            assert -0.01 <= across <= 100.01
            assert -0.01 <= down <= 100.01


def test_means_over_several_data_sets_have_no_interval(tmp_path: Path) -> None:
    line = probe(1, **{"motionlab/motion_knn": 40.0, "motionlab/appearance_knn": 50.0, "motionlab/still_knn": 70.0})
    line["scores"]["motionlab/motion knn"] |= {"low": 38.0, "high": 43.0}
    write(tmp_path, [start(), line])
    (run,) = training_runs.group_by_recipe(training_log.find_logs(tmp_path))
    (place,) = training_runs.tradeoff_points(run, "knn")
    assert place == training_runs.TradeoffPoint(10, Score(60.0), Score(40.0, 38.0, 43.0))
    assert place.mean == 50.0


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=200, deadline=None)
def test_scales_hold_what_they_are_made_for(low: float, width: float) -> None:
    high = low + width
    scale = training_curves.linear(low, high)
    slack = 1e-6 * (scale.high - scale.low) + 1e-9 * abs(low)
    assert scale.low <= low + slack
    assert scale.high >= high - slack
    assert scale.high - scale.low <= 3 * max(width, abs(high) * 1e-12) + 1e-9 or width < 1e-9 * abs(low)
    assert 2 <= len(scale.ticks) <= 7
    assert [t.at for t in scale.ticks] == sorted({t.at for t in scale.ticks})


def test_a_log_scale_is_one() -> None:
    scale = training_curves.logarithmic(0.01, 100)
    assert [(t.text, t.at) for t in scale.ticks] == [("0.01", 0), ("0.1", 25), ("1", 50), ("10", 75), ("100", 100)]
    assert [t.text for t in training_curves.logarithmic(0.9, 30).ticks] == ["1", "2", "5", "10", "20"]
    assert scale.at(0) == 0, "what lies beyond the end stands at it"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234, "1230"),
        (15_000, "15\N{NO-BREAK SPACE}k"),
        (2_048_000, "2.05\N{NO-BREAK SPACE}M"),
        (1e-5, "1e−05"),
    ],
)
def test_magnitudes(value: float, text: str) -> None:
    assert compact(value) == text


def test_steps_are_drawn_as_means_within_their_reach(tmp_path: Path) -> None:
    # 1,000 steps in 100 bins: ten each, here nine of 1 and one of 3
    write(tmp_path, [start(), *(step(n, 3.0 if n % 10 == 5 else 1.0) for n in range(1, 1001))])
    plot = training_curves.step_plot(
        training_runs.group_by_recipe(training_log.find_logs(tmp_path)), "loss", lambda line: line["loss"]
    )
    assert plot is not None
    (course,) = plot.curves
    middle = course.line.split(" ")[50]
    x, y = map(float, middle.split(","))
    assert x == pytest.approx(50.5, abs=0.1)
    assert y == pytest.approx(100 - plot.y.at(1.2), abs=0.1)
    assert len(course.band.split(" ")) == 2 * training_curves.BINS
    assert len(course.line.split(" ")) == training_curves.BINS


def test_losses_of_each_source_have_plots_of_their_own(tmp_path: Path) -> None:
    of = [{"videos": {"pixels": 0.4}, "stills": {"pixels": 0.8}}, {"videos": {"pixels": 0.2}}]
    write(tmp_path, [start(), *({**step(n, 0.5), "by_source": told} for n, told in enumerate(of, 1))])
    drawn = pretraining.pretraining(training_log.find_logs(tmp_path))
    assert drawn is not None
    (gallery,) = [one for one in drawn.galleries if one.title == "Losses by source"]
    stills, videos = gallery.plots
    assert (stills.title, videos.title) == ("pixels on stills", "pixels on videos")
    assert videos.curves[0].line == f"50,{100 - videos.y.at(0.4):g} 100,{100 - videos.y.at(0.2):g}"
    assert stills.curves[0].line == f"50,{100 - stills.y.at(0.8):g}"


def test_orders_of_magnitude_get_a_log_scale(tmp_path: Path) -> None:
    write(tmp_path, [start(), *(step(n, 10.0 ** (-n / 10)) for n in range(40))])
    runs = training_runs.group_by_recipe(training_log.find_logs(tmp_path))
    plot = training_curves.step_plot(runs, "loss", lambda line: line["loss"])
    assert plot is not None
    assert (plot.y.log, plot.note) == (True, "log scale")
    ys = [float(p.split(",")[1]) for p in plot.curves[0].line.split(" ")]
    falls = [b - a for a, b in pairwise(ys)]
    assert max(falls) - min(falls) < 0.05, "an exponential is a straight line on it"


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, [start(), step(1, 1.0), step(2, None), {"kind": "alarm", "step": 2, "why": "gone"}])
    runs = training_runs.group_by_recipe(training_log.find_logs(tmp_path))
    plot = training_curves.step_plot(runs, "pixels", lambda line: line["losses"]["pixels"])
    assert plot is not None
    assert len(plot.curves[0].line.split(" ")) == 1
    assert plot.curves[0].stop is not None
    assert plot.curves[0].stop.tip.endswith("gone")
    assert training_curves.step_plot(runs, "nothing", lambda line: None) is None
    report.write(tmp_path)


@pytest.mark.parametrize(
    "lines",
    [
        [start()],
        [step(1, 1.0)],
        [start(), probe(0)],
        [start(), probe(1, **{"motionlab/motion_knn": 12.5})],
        [start(), probe(0, **{"a/motion_knn": 50.0, "a/appearance_knn": 50.0})],
        [start(), {**probe(3, x_knn=1.0), "effective_rank": None}, step(0, 0.0, grad_norm=None)],
    ],
)
def test_little_is_enough(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    text = report.write(write(tmp_path, lines))["html"].read_text(encoding="utf-8")
    assert "1 pretraining run," in text
    assert "nan" not in re.sub(r"<script.*</script>|<style.*</style>", "", text, flags=re.DOTALL)
    Console(quiet=True).print(report.overview(tmp_path))


def test_the_page_has_every_picture(page: Elements) -> None:
    for title in ("Appearance against motion, over training", "Probes over training", "Features over training"):
        assert title in page.text
    for title in ("effective rank", "token deviation", "learning rate", "gradient norm", "clips per second", "pixels"):
        assert title in page.text
    probes = 2 * (10 * 9 + 5)  # linear and knn; nine whole runs and half of one
    assert len(page.of("trail")) == probes - 2 * 10, "a leg less than dots in every path"
    assert len(page.of("contour")) >= 4


def test_names_are_escaped(folder: Path, tmp_path: Path, page: Elements) -> None:
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert NASTY in page.text, "the recipe's note is shown"
    told = probe(1, **{f"{NASTY}/motion_knn": 1.0, "a/appearance_knn": 2.0})
    alarm = {"kind": "alarm", "step": 1, "why": f"{NASTY}\x1b[1m"}
    write(tmp_path, [start(name=NASTY), step(1, 1.0, losses={NASTY: 1.0}), told, alarm])
    for name, path in report.write(tmp_path).items():
        text = path.read_text(encoding="utf-8")
        assert "\x1b" not in text
        if name == "html":
            bad = Elements(text)
            assert [tag for tag, _ in bad.elements].count("script") == 1
            assert bad.text.count(NASTY) >= 3, "in the key findings, the legends and the titles"
        else:
            assert NASTY not in text
    for attributes in (a for _, a in page.elements):
        assert not any(name.startswith("on") for name in attributes)


def test_the_key_finding_is_about_means_over_seeds(runs: list[training_runs.TrainingRun]) -> None:
    told = pretraining.pretraining([f.log for f in runs])
    assert told is not None
    text = "".join(run.text for run in told.findings[0])
    ends = {f.label: training_runs.tradeoff_points(f, "linear")[-1] for f in runs}
    means = {
        name: [
            sum(getattr(ends[f"{name}/seed-{s}"], axis).value for s in (0, 1)) / 2 for axis in ("appearance", "motion")
        ]
        for name in ENDS
    }
    best = [max(means, key=lambda name: means[name][axis]) for axis in (0, 1)]
    assert best == ["image-teacher", "mixture"]
    assert f"image-teacher is highest on appearance with {means['image-teacher'][0]:.1f}\N{NO-BREAK SPACE}%" in text
    assert f"mixture is highest on motion with {means['mixture'][1]:.1f}\N{NO-BREAK SPACE}%" in text
    assert f"and on the mean of both with {sum(means['mixture']) / 2:.1f}\N{NO-BREAK SPACE}%" in text
    assert text.endswith("; means over 2 seeds.")
    assert "".join(run.text for run in told.findings[1]).startswith(
        "latent/seed-1 was stopped at step 1,000: collapsed"
    )


def test_the_table_holds_the_last_probe(folder: Path, runs: list[training_runs.TrainingRun]) -> None:
    table = pretraining.table(runs)
    assert table.heads[:5] == ("run", "state", "clips", "clips/s", "waiting")
    line = dict(zip(table.heads, next(row for row in table.rows if row[0] == "mixture/seed-0"), strict=True))
    last = training_log.read(folder / "mixture" / "seed-0").probes[-1]
    told = last["scores"]["motionlab/motion linear"]
    assert line["motionlab/motion linear"] == f"{told['value']:.1f} [{told['low']:.1f}, {told['high']:.1f}]"
    assert line["effective rank"] == f"{last['effective_rank']:.1f}"
    assert (line["state"], line["clips"]) == ("done", "512\N{NO-BREAK SPACE}k")
    assert next(row[1] for row in table.rows if row[0] == "latent/seed-1") == "stopped"
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert line["effective rank"] in text
    assert text.startswith("# Vitascope\n\nWith the linear probe, **image-teacher** is highest")
    assert "\\begin{tabular}{lllllllllll}" in (folder / "report.tex").read_text(encoding="utf-8")


def test_beside_results_both_are_on_one_page(tmp_path: Path) -> None:
    fake_run(tmp_path)
    alone = report.write(tmp_path)["md"].read_text(encoding="utf-8")
    fake_training(tmp_path, seeds=1, steps=400, every=100)
    written = report.write(tmp_path)
    page = Elements(written["html"].read_text(encoding="utf-8"))
    assert "Task by task" in page.text
    assert "Probes over training" in page.text
    assert page.of("trail")
    rows = {a["data-row"] for _, a in page.elements if a.get("data-row")}
    assert rows == {str(n) for n in range(3 + len(ENDS))}, "no run has the number of an encoder"
    both = written["md"].read_text(encoding="utf-8")
    assert both.endswith("\n")
    assert "## Pretraining runs" in both
    assert "## Pretraining runs" not in alone
    lines = [json.loads(line) for line in report.json_lines(tmp_path)]
    assert [("run" in line) for line in lines].count(True) == len(ENDS)
    assert [("encoder" in line) for line in lines].count(True) == len(lines) - len(ENDS)


def test_the_command_line_draws_without_torch(folder: Path) -> None:
    code = (
        "import sys\nfrom vitascope.cli.main import main\n"
        f"sys.argv = ['vitascope', 'report', {str(folder)!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "sys.exit(3 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Pretraining runs" in done.stdout
    assert str(folder / "report.html") in done.stdout.replace("\n", "")
