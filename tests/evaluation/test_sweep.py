"""Sweeps: what is trained and what is kept, processes that fail or are interrupted, tables against the statistics."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import Done, vitascope
from vitascope.core.errors import UserError
from vitascope.core.text import margin, with_interval
from vitascope.core.types import Score
from vitascope.evaluation import results
from vitascope.evaluation import sweep as sweeps
from vitascope.evaluation.sweep import records
from vitascope.evaluation.sweep import run as sweep_run
from vitascope.evaluation.sweep.processes import Chain, run_chains
from vitascope.evaluation.sweep.records import Examples, Sweep, SweepRun
from vitascope.evaluation.sweep.tables import markdown
from vitascope.metrics.training_seeds import difference_over_seeds, mean_over_seeds

Tick = Callable[[Sequence[str]], None]
LOOKS = ("disc", "star", "cross")
MOVES = ("up", "down", "spin")
IDS = tuple(f"test/{i}" for i in range(30))


def made(rows: Mapping[str, int], tasks: Sequence[str] = ("lab/looks:knn", "lab/moves:knn")) -> Sweep:
    """A sweep of random outcomes; `rows` are the seeds of each recipe."""
    rng = np.random.default_rng(0)
    labels = {"lab/looks": LOOKS * 10, "lab/moves": MOVES * 10}
    runs = tuple(
        SweepRun(
            recipe=recipe,
            seed=seed,
            steps=100,
            clips=3200,
            tflops=7.0,
            without=("star", "spin"),
            outcomes={task: "".join(map(str, rng.integers(2, size=30))) for task in tasks},
        )
        for recipe, seeds in rows.items()
        for seed in range(seeds)
    )
    return Sweep(runs=runs, examples={name: Examples(ids=IDS, labels=labels[name]) for name in labels})


def of(sweep: Sweep, recipe: str, dataset: str) -> np.ndarray:
    """Runs x examples, percent."""
    digits = [run.outcomes[f"lab/{dataset}:knn"] for run in sweep.runs if run.recipe == recipe]
    return np.array([[100.0 * int(d) for d in row] for row in digits])


def test_a_table_has_the_scores_of_seeds_and_examples_together() -> None:
    sweep = made({"a": 3, "b": 2})
    (table,) = sweeps.tables(sweep, "a")
    means = {name: (of(sweep, name, "looks") + of(sweep, name, "moves")) / 2 for name in "ab"}
    parts = ["looks", "moves", "mean", "looks, held out", "moves, held out"]
    assert table.heads == ("recipe", "seeds", "steps", "TFLOP", *parts, "a minus this (mean)")
    held_out = of(sweep, "b", "looks")[:, 1::3], of(sweep, "b", "moves")[:, 2::3]
    whole = of(sweep, "b", "looks"), of(sweep, "b", "moves"), means["b"]
    expected = [with_interval(mean_over_seeds(rows)) for rows in (*whole, *held_out)]
    gap = difference_over_seeds(means["a"], means["b"])
    assert table.rows[1] == ("b", "2", "100", "7.0", *expected, margin(Score(gap.value, gap.low, gap.high)))
    assert table.rows[0][-1] == "–"
    assert markdown(table).splitlines()[1] == "| --- |" + " ---: |" * 9


def test_recipes_that_lack_a_task_have_no_score_and_other_examples_have_no_mean() -> None:
    sweep = made({"a": 1, "b": 1})
    lacking = SweepRun(**{**sweep.runs[1].__dict__, "outcomes": {"lab/moves:knn": "1" * 30}})
    (table,) = sweeps.tables(Sweep(runs=(sweep.runs[0], lacking), examples=sweep.examples))
    row = dict(zip(table.heads, table.rows[1], strict=True))
    assert (row["looks"], row["mean"]) == ("–", "–")
    assert row["moves"].startswith("100.0 [")
    others = {**sweep.examples, "lab/moves": Examples(ids=IDS[::-1], labels=MOVES * 10)}
    (table,) = sweeps.tables(Sweep(runs=sweep.runs, examples=others))
    assert "mean" not in table.heads


def test_a_sweep_is_written_and_read(tmp_path: Path) -> None:
    sweep = made({"a": 2})
    records.write(sweep, tmp_path / "sweep.json")
    assert sweeps.read(tmp_path) == sweeps.read(tmp_path / "sweep.json") == sweep
    text = vitascope("sweep", tmp_path / "sweep.json", "--reference", "a").stdout
    assert text.startswith("knn: percent of test examples")
    assert "a minus this (mean)" in text
    assert "| recipe |" in vitascope("sweep", tmp_path / "sweep.json", "--markdown").stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(version=9), "version 9, this program reads 1"),
        (lambda data: data["runs"][0].update(seed="one"), "seed"),
        (lambda data: data["runs"][0]["outcomes"].update({"lab/looks:knn": "10"}), "do not match its examples"),
        (lambda data: data["examples"].pop("lab/looks"), "do not match its examples"),
        (lambda data: data["runs"][0]["outcomes"].update({"lab/looks:knn": "2" * 30}), "do not match its examples"),
        (lambda data: data.pop("runs"), "runs"),
        (lambda data: data.update(runs=[]), "no runs in it"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.json"
    records.write(made({"a": 1}), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    assert message in vitascope("sweep", path, code=2).stderr


def test_what_cannot_be_shown_or_started_is_said(tmp_path: Path) -> None:
    records.write(made({"alone": 1}), tmp_path / "sweep.json")
    assert "did you mean 'alone'" in vitascope("sweep", tmp_path / "sweep.json", "--reference", "alon", code=2).stderr
    assert "no such file" in vitascope("sweep", tmp_path / "none.json", code=2).stderr
    for given, message in (
        (["motionlab_tiny_pixel"], "did you mean 'motionlab_tiny_pixels'"),
        (["motionlab_tiny_stills"], "trains an image teacher"),
        (["pretraining:recipe", "--set", "lrr=1"], "did you mean 'lr'"),
        (["pretraining:recipe+seed=3"], "a sweep sets the seeds; say which by --seed"),
        (["pretraining:recipe", "--set", "seed=3"], "a sweep sets the seeds"),
        (["motionlab_tiny_imag+init=none.json"], "did you mean 'motionlab_tiny_image'"),
        (["pretraining:recipe", "--table-only"], "no run of these recipes is finished"),
    ):
        assert message in vitascope("sweep", *given, "-o", tmp_path / "new", code=2).stderr
    assert not (tmp_path / "new").exists()


def code(text: str) -> tuple[str, ...]:
    """The command that runs Python code, without site packages, which start slowly."""
    return (sys.executable, "-S", "-c", text)


def test_chains_run_side_by_side_and_a_failure_stops_its_own_chain_only(tmp_path: Path) -> None:
    most = []
    version, wrong = code("print('fine')"), code("import sys; sys.exit('error: of the user')")
    chains = [
        Chain("one", (version, version), tmp_path / "one" / "log"),
        Chain("two", (wrong, version), tmp_path / "two" / "log"),
        Chain("three", (version,), tmp_path / "three" / "log"),
    ]
    succeeded: list[str] = []
    failed = run_chains(chains, 2, lambda running: most.append(len(running)), succeeded.append)
    assert sorted(succeeded) == ["one", "three"]
    assert list(failed) == ["two"]
    assert failed["two"] == "exit code 1: of the user"
    assert (tmp_path / "one" / "log").read_text() == "fine\nfine\n"
    assert (tmp_path / "three" / "log").read_text() == "fine\n"
    assert max(most) == 2


def test_an_interrupt_stops_what_runs(tmp_path: Path) -> None:
    def interrupt(running: Sequence[str]) -> None:
        raise KeyboardInterrupt

    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        run_chains([Chain("one", (code("import time; time.sleep(60); print('awake')"),), log)], 1, interrupt, print)
    assert "awake" not in log.read_text()


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run chains in this process, which saves starting others; the commands run. Later evaluations copy the first."""
    commands: list[str] = []
    scores: list[Path] = []

    def run(chains: Sequence[Chain], jobs: int, tick: Tick, succeeded: Callable[[str], None]) -> dict[str, str]:
        for chain in chains:
            for command in chain.commands:
                commands.append(command[3])
                if command[3] == "evaluate":
                    scores.append(Path(command[command.index("-o") + 1]))
                if len(scores) > 1 and command[3] == "evaluate":
                    shutil.copytree(scores[0], scores[-1])
                else:
                    vitascope(*command[3:])
            tick([chain.name])
            succeeded(chain.name)
        return {}

    monkeypatch.setattr(sweep_run, "run_chains", run)
    return commands


def test_a_sweep_trains_evaluates_and_goes_on_with_more_seeds(
    tmp_path: Path, videos: Path, in_this_process: list[str]
) -> None:
    def sweep(*more: object) -> Done:
        given = ("--data", videos, "-t", "knn", "--set", "steps=3", "--device", "cpu", "-o", tmp_path / "sweep", "-q")
        return vitascope("sweep", "pretraining:recipe", *given, *more)

    sweep("--seeds", 1)
    assert in_this_process == ["pretrain", "evaluate"]
    in_this_process.clear()
    text = sweep("--seeds", 2).stdout
    assert in_this_process == ["pretrain", "evaluate"]
    in_this_process.clear()
    assert sweep("--seeds", 2).stdout == sweep("--seeds", 2, "--table-only").stdout == text
    assert not in_this_process
    found = sweeps.read(tmp_path / "sweep")
    assert [(run.recipe, run.seed) for run in found.runs] == [("pretraining:recipe", 0), ("pretraining:recipe", 1)]
    assert {run.steps for run in found.runs} == {3}
    assert all(run.clips == 24 and 0 < run.tflops < 1 for run in found.runs)
    assert text.splitlines()[1].split() == ["recipe", "seeds", "steps", "TFLOP", f"{videos.name}"]

    folder = tmp_path / "sweep" / "pretraining-recipe" / "seed-0" / "scores"
    (result,) = results.read(folder)
    (digits,) = found.runs[0].outcomes.values()
    assert list(found.runs[0].outcomes) == [result.task]
    assert 100 * digits.count("1") / len(digits) == pytest.approx(result.headline.value)
    assert found.examples[result.dataset].labels.count("right") == 6

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "sweep" / "sweep.json", elsewhere)
    assert sweep("--seeds", 2, "-o", elsewhere).stdout == text
    assert sweeps.read(elsewhere) == found
    assert not in_this_process
    sweep("--seeds", 1, "--set", "lr=1e-4", "-o", elsewhere)
    assert in_this_process == ["pretrain", "evaluate"]
    assert [run.seed for run in sweeps.read(elsewhere).runs] == [0, 1]
    assert sweeps.read(elsewhere).runs[1] == found.runs[1]

    columns = results.read_predictions(folder / result.predictions)
    results.write_predictions(folder / result.predictions, {**columns, "outcome": [50.0] * result.n})
    with pytest.raises(UserError, match="right or wrong for each example"):
        records.outcomes_of([result], folder, {})


def test_settings_of_one_recipe_are_rows_of_their_own(tmp_path: Path, videos: Path, in_this_process: list[str]) -> None:
    names = ["pretraining:recipe+steps=3", "pretraining:recipe+steps=2+license=../mine"]
    given = ("--data", videos, "-t", "knn", "--device", "cpu", "--seeds", 1, "-o", tmp_path / "sweep", "-q")
    lines = vitascope("sweep", *names, *given).stdout.splitlines()
    assert in_this_process == ["pretrain", "evaluate"] * 2
    assert [line.split()[0] for line in lines if "pretraining" in line] == names
    assert [run.steps for run in sweeps.read(tmp_path / "sweep").runs] == [3, 2]
    first, second = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert re.fullmatch(r"pretraining-recipe\+steps=2\+license=\.\.-mine-[0-9a-f]{16}", first)
    assert second == "pretraining-recipe+steps=3"


def test_seeds_come_before_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def fail(chains: Sequence[Chain], jobs: int, tick: Tick, succeeded: Callable[[str], None]) -> dict[str, str]:
        started.extend(chain.name for chain in chains)
        return dict.fromkeys(started, "exit code 2: the disk is full")

    monkeypatch.setattr(sweep_run, "run_chains", fail)
    given = ("pretraining:recipe", "pretraining:centered", "--seeds", 2, "-o", tmp_path, "-q")
    message = vitascope("sweep", *given, code=2).stderr
    names = ("pretraining:recipe", "pretraining:centered")
    assert started == [f"{name} seed {seed}" for seed in (0, 1) for name in names]
    assert "pretraining:recipe seed 0 failed (and 3 other runs): exit code 2: the disk is full" in message
