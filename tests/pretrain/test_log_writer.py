"""The training log: no line is lost to a kill, resumed runs supersede lines, alarms give reasons, mirrors get all."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Score
from vitascope.pretrain.monitoring import divergence
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.display import PLAIN_SECONDS, Display
from vitascope.pretrain.monitoring.log import RECORDER
from vitascope.pretrain.monitoring.log_writer import LogWriter
from vitascope.pretrain.monitoring.loggers import open_mirror, scalars


class Clock:
    """A clock whose seconds pass on request."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stop_reason(history: Iterable[Mapping[str, Any]]) -> str:
    """Return why a run with these lines must stop; empty if it need not."""
    return reduce(divergence.update, history, divergence.DivergenceMonitor()).why


def step(recorder: LogWriter, number: int, *, loss: float = 1.0, **more: Any) -> None:
    records = {"clips_consumed": 32 * number, "losses": {"pixels": loss, "latent": loss / 2}, "loss": loss, "lr": 1e-3}
    records |= {"grad_norm": 0.5, "clips_per_second": 640.0, "waiting": 0.0}
    recorder.step(number, **{**records, **more})


def probe(recorder: LogWriter, number: int, *, rank: float = 20.0, std: float = 0.8, value: float = 50.0) -> None:
    scores = {"motionlab/motion linear": Score(value, value - 3, value + 3), "motionlab/appearance linear": Score(70.0)}
    recorder.probe(
        number,
        clips_consumed=32 * number,
        scores=scores,
        effective_rank=rank,
        token_std=std,
        similarity={"latent": 0.25},
        axes={"motionlab/motion linear": "motion"},
        chance={"motionlab/motion linear": 12.5},
    )


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / RECORDER).read_text().splitlines()]


def test_lines_are_as_promised(tmp_path: Path) -> None:
    clock = Clock()
    with LogWriter(tmp_path, clock=clock) as recorder:
        recorder.start({"name": "tiny", "seed": 3}, params=800_000, total=10)
        clock.now += 2.5
        step(recorder, 1)
        probe(recorder, 1)
        recorder.done(1)
    start, first, probed, done = lines(tmp_path)
    assert start.pop("time").endswith("+00:00")
    assert start == {"kind": "start", "recipe": {"name": "tiny", "seed": 3}, "params": 800_000, "total": 10}
    assert first == {
        "kind": "step",
        "step": 1,
        "seen": 32,
        "losses": {"pixels": 1.0, "latent": 0.5},
        "loss": 1.0,
        "lr": 1e-3,
        "grad_norm": 0.5,
        "clips_per_second": 640.0,
        "waiting": 0.0,
        "seconds": 2.5,
    }
    motion = {"value": 50.0, "low": 47.0, "high": 53.0, "axis": "motion", "chance": 12.5}
    assert probed["scores"]["motionlab/motion linear"] == motion
    assert probed["scores"]["motionlab/appearance linear"] == {"value": 70.0, "low": None, "high": None}
    assert (probed["effective_rank"], probed["token_std"], probed["similarity"]) == (20.0, 0.8, {"latent": 0.25})
    assert done == {"kind": "done", "step": 1}


def test_a_killed_run_loses_no_line(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom vitascope.pretrain.monitoring.log_writer import LogWriter\n"
        "r = LogWriter(sys.argv[1])\nr.start({}, params=1)\n"
        "r.step(1, clips_consumed=1, losses={'a': 1.0}, loss=1.0, lr=0.1, grad_norm=1.0, clips_per_second=1.0, "
        "waiting=0.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert [line["kind"] for line in lines(tmp_path)] == ["start", "step"]


def test_a_resumed_run_overtakes_what_lies_beyond(tmp_path: Path) -> None:
    clock = Clock()
    with LogWriter(tmp_path, clock=clock) as recorder:
        recorder.start({}, params=1)
        for number in (1, 2, 3, 4):
            clock.now += 10
            step(recorder, number, loss=1.0)
            probe(recorder, number, value=float(number))
        recorder.alarm(4, "by hand")
    clock.now += 9999
    with LogWriter(tmp_path, clock=clock) as recorder:
        recorder.resumed(2)
        clock.now += 10
        step(recorder, 3, loss=0.3)
    result = recording.read(tmp_path)
    assert [(line["step"], line["loss"]) for line in result.steps] == [(1, 1.0), (2, 1.0), (3, 0.3)]
    assert [line["step"] for line in result.probes] == [1, 2]
    assert not result.alarms
    assert [line["seconds"] for line in result.steps] == [10, 20, 30], "the hours between are nobody's training time"
    assert len(lines(tmp_path)) == 1 + 8 + 1 + 2, "nothing is rewritten"


def test_a_resumed_run_is_no_longer_done(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as recorder:
        recorder.start({}, params=1)
        step(recorder, 5)
        recorder.done(5)
    assert recording.read(tmp_path).done
    with LogWriter(tmp_path) as recorder:
        recorder.resumed(5)
    result = recording.read(tmp_path)
    assert not result.done
    assert (result.step, result.clips_consumed) == (5, 160)


steps = st.integers(0, 6)
written = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["step", "probe", "alarm", "done"]), steps), st.tuples(st.just("resumed"), steps)
    )
)


@given(written)
@settings(max_examples=200, deadline=None)
def test_the_lines_that_stand(events: list[tuple[str, int]]) -> None:
    made = [{"kind": kind, "step": at, "turn": turn} for turn, (kind, at) in enumerate(events)]

    def stands(turn: int, kind: str, at: int) -> bool:
        later = events[turn + 1 :]
        if (kind, at) in later:
            return False
        return not any(k == "resumed" and (s < at or (s == at and kind in ("alarm", "done"))) for k, s in later)

    expected = [line for line, (kind, at) in zip(made, events, strict=True) if stands(line["turn"], kind, at)]
    assert recording.current_lines(made) == expected


def test_a_torn_line_is_passed_over_and_closed(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as recorder:
        recorder.start({}, params=1)
        step(recorder, 1)
        step(recorder, 2)
    path = tmp_path / RECORDER
    path.write_bytes(path.read_bytes()[:-20])
    with LogWriter(tmp_path) as recorder:
        recorder.resumed(1)
        step(recorder, 2, loss=0.25)
    result = recording.read(tmp_path)
    assert [line["loss"] for line in result.steps] == [1.0, 0.25]


@pytest.mark.parametrize("bad", ['{"kind": "stop"}', "[]", "nothing", '{"kind": "step", "step": "one"}'])
def test_what_is_no_line_is_named(tmp_path: Path, bad: str) -> None:
    (tmp_path / RECORDER).write_text('{"kind": "start", "recipe": {}}\n' + bad + "\n")
    with pytest.raises(ValueError) as error:
        recording.read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / RECORDER}:2: not a line of a training log (")
    assert str(error.value).endswith("); delete that line")
    assert "\n" not in str(error.value)


def test_no_run_is_recorded_over_another(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as recorder:
        recorder.start({}, params=1)
    with LogWriter(tmp_path) as recorder, pytest.raises(ValueError) as error:
        recorder.start({}, params=1)
    assert str(error.value) == (
        f"{tmp_path / RECORDER}: this folder already contains a run; resume it, or choose another folder with -o"
    )
    assert len(lines(tmp_path)) == 1
    with pytest.raises(ValueError, match=r"no recorder.jsonl found"):
        recording.read(tmp_path / "other")


def test_a_full_disk_raises_and_the_next_line_is_complete(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as recorder:
        recorder.start({}, params=1)
        whole = recorder._file

        class Full:
            def __getattr__(self, name: str) -> Any:
                return getattr(whole, name)

            def write(self, data: bytes) -> int:
                return whole.write(data[:10])

        recorder._file = Full()  # type: ignore[assignment]
        with pytest.raises(OSError, match="only part of a line could be written"):
            step(recorder, 1)
        recorder._file = whole
        step(recorder, 2)
    assert [line["step"] for line in recording.read(tmp_path).steps] == [2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_gone_wrong_names_the_target(tmp_path: Path, value: float) -> None:
    with LogWriter(tmp_path) as recorder:
        recorder.start({}, params=1)
        step(recorder, 1)
        assert recorder.why == ""
        step(recorder, 2, losses={"pixels": 1.0, "latent": value}, loss=value)
        text = "not a number" if math.isnan(value) else "inf"
        assert recorder.why == f"diverged: at step 2 the loss of latent ({text}) is not finite"
        assert recorder.alarm(2) == recorder.why
    assert lines(tmp_path)[2]["losses"] == {"pixels": 1.0, "latent": None}, "standard JSON knows no NaN"
    assert "of latent" in recording.read(tmp_path).alarms[0]["why"]
    with LogWriter(tmp_path) as recorder:
        assert recorder.why, "still as it was"
        recorder.resumed(1)
        assert recorder.why == "", "the last good checkpoint knows nothing of it"


def history(losses: list[float]) -> Iterator[dict[str, Any]]:
    for number, loss in enumerate(losses):
        yield {"kind": "step", "step": number, "losses": {"pixels": loss, "latent": 0.1}, "loss": loss}


def test_divergence_is_a_level_and_no_single_batch() -> None:
    learned = [1.0] * 10 + [0.2] * 90
    assert stop_reason(history(learned)) == ""
    assert stop_reason(history([*learned, 6.0, *[0.2] * 30])) == "", "one bad batch"
    assert stop_reason(history([*learned, *[0.9] * 200])) == "", "unlearned, but no worse than it began"
    why = stop_reason(history([*learned, *[3.0] * 30]))
    assert why.startswith("diverged: at step 1")
    assert "times its best of 0.2" in why
    assert "; pixels has risen most, from 0.2" in why


def test_threshold_of_divergence() -> None:
    # smoothed by 0.9 from 0.2 towards 5: 5 - 4.8 * 0.9**k is first above 3 * 0.2 and above 1 at k = 2
    level = [0.2] * 10
    assert stop_reason(history([*level, 5.0])) != "", "0.68 is above 0.6 and above the 0.2 it began with"
    assert stop_reason(history([*level, 4.0])) == "", "0.58 is not"
    started_high = [1.0] * 10 + [0.2] * 200
    assert stop_reason(history([*started_high, 5.0])) == "", "0.68 is not above the 1 it began with"
    assert stop_reason(history([*started_high, 5.0, 5.0])) != "", "1.11 is"


@pytest.mark.parametrize(("level", "later", "far"), [(-0.9, 0.5, False), (-0.1, 3.0, True), (0.0, 0.5, True)])
def test_losses_at_or_below_zero(level: float, later: float, far: bool) -> None:
    assert bool(stop_reason(history([level] * 20 + [later] * 10))) is far


def test_a_gradient_can_be_the_first_to_go() -> None:
    line = {"kind": "step", "step": 7, "losses": {"pixels": 1.0}, "loss": 1.0, "grad_norm": float("inf")}
    assert stop_reason([line]) == "diverged: at step 7 the gradient norm is inf, although every loss is finite"
    line = {"kind": "step", "step": 7, "losses": {"pixels": 1.0}, "loss": float("nan"), "grad_norm": 1.0}
    assert "the loss is not a number, although every target's loss is finite" in stop_reason([line])


def probes(*result: tuple[float, float]) -> list[dict[str, Any]]:
    return [
        {"kind": "probe", "step": 100 * turn, "effective_rank": rank, "token_std": std}
        for turn, (rank, std) in enumerate(result)
    ]


def test_two_consecutive_collapses_stop_a_run() -> None:
    assert stop_reason(probes((1.2, 0.5), (20, 0.5), (1.2, 0.5), (20, 0.5))) == ""
    assert stop_reason(probes((1.51, 0.011), (1.51, 0.011))) == ""
    assert stop_reason(probes((1.2, 0.5), (20, 0.001))) == (
        "collapsed: 2 consecutive probings found effective rank 1.2 (below 1.5) at step 0; "
        "token deviation 0.001 (below 0.01) at step 100"
    )
    assert "effective rank not a number" in stop_reason(probes((float("nan"), 0.5), (float("nan"), 0.5)))


def test_following_is_judging() -> None:
    records = [*history([1.0] * 10 + [0.2] * 50 + [9.0] * 30)]
    monitor = divergence.DivergenceMonitor()
    for count, line in enumerate(records, 1):
        monitor = divergence.update(monitor, line)
        assert monitor.why == stop_reason(records[:count])
    assert monitor.why


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, clock = io.StringIO(), Clock()
    monkeypatch.setattr(sys, "stderr", out)
    with LogWriter(tmp_path, display=Display("mix\x1b[31m", clock=clock)) as recorder:
        recorder.start({}, params=812_345, total=1000)
        step(recorder, 1)
        step(recorder, 2)
        clock.now += PLAIN_SECONDS
        step(recorder, 100, waiting=0.31)
        probe(recorder, 100)
        recorder.alarm(100, "bad\nnews")
    start, first, later, probed, alarm = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert start.endswith("start · 0.81 M parameters")
    assert "step 1 of 1,000 · 32 clips" in first
    assert "loss 1 (pixels 1, latent 0.5)" in first
    assert "data-bound" not in first
    # 900 steps of 32 clips at 640 clips/s: 45 s
    assert "step 100 of 1,000 · 3,200 clips · 1 min to go" in later
    assert "waiting 31%: data-bound" in later
    assert "probe at step 100 · motionlab/motion linear 50.0 [47.0, 53.0] · motionlab/appearance linear 70.0" in probed
    assert alarm.endswith("STOPPED at step 100: bad\\nnews")


def test_a_live_table_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    with LogWriter(tmp_path, display=Display("mix")) as recorder:
        recorder.start({}, params=1)
        step(recorder, 1)
        probe(recorder, 1, value=50)
        probe(recorder, 2, value=52.5)
    last = out.getvalue()[out.getvalue().rindex("step 1") :]
    assert "640 clips/s" in last
    for part in ("weighted sum", "pixels", "motionlab/motion linear", "52.5 [49.5, 55.5]", "+2.5", "effective rank"):
        assert part in last


def test_scalars_are_named_by_group() -> None:
    line = {"kind": "step", "step": 3, "losses": {"pixels": 0.5}, "loss": 0.7, "lr": 0.1, "grad_norm": float("inf")}
    assert scalars(line) == {"loss/pixels": 0.5, "train/loss": 0.7, "train/lr": 0.1}
    result = scalars({"kind": "probe", "step": 3, "scores": {"a b": {"value": 4.0}}, "token_std": 0.5})
    assert result == {"probe/a b": 4.0, "features/token_std": 0.5}
    assert scalars({"kind": "alarm", "step": 3, "why": "x"}) == {}


@pytest.mark.parametrize(
    ("name", "blocked", "text"),
    [
        (
            "tensorboard",
            "torch.utils.tensorboard",
            "TensorBoard is not installed: pip install 'vitascope[tensorboard]'",
        ),
        ("wandb", "wandb", "Weights & Biases is not installed: pip install 'vitascope[wandb]'"),
    ],
)
def test_a_missing_mirror_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, blocked: str, text: str
) -> None:
    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(ValueError) as error:
        open_mirror(name, tmp_path)
    assert str(error.value) == text
    with pytest.raises(ValueError, match="did you mean 'tensorboard'"):
        open_mirror("tensorbord", tmp_path)


def test_tensorboard_purges_superseded_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[tuple[Any, ...]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            records.append(("open", Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, at: int) -> None:
            records.append((name, value, at))

        def add_text(self, name: str, text: str, at: int) -> None:
            records.append((name, text, at))

        def close(self) -> None:
            records.append(("close",))

    fake = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)  # type: ignore[arg-type]
    with LogWriter(tmp_path, mirrors=[open_mirror("tensorboard", tmp_path)]) as recorder:
        recorder.start({}, params=1)
        recorder.resumed(0)
        step(recorder, 1)
        recorder.alarm(1, "enough")
    assert records[:3] == [("open", "tensorboard", None), ("close",), ("open", "tensorboard", 1)]
    assert ("loss/pixels", 1.0, 1) in records
    assert records[-2:] == [("alarm", "enough", 1), ("close",)]


def test_wandb_logs_by_the_runs_own_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[tuple[str, Any]] = []

    class Run:
        config = types.SimpleNamespace(update=lambda recipe, allow_val_change: records.append(("config", recipe)))

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **more: records.append((name, args or more))

    def init(**given: Any) -> Run:
        records.append(("init", given))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))  # type: ignore[arg-type]
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for turn in (0, 1):
        with LogWriter(tmp_path, mirrors=[open_mirror("wandb", tmp_path)]) as recorder:
            if not turn:
                recorder.start({"seed": 1}, params=1)
                step(recorder, 1)
            else:
                recorder.resumed(1)
    opened = [given for name, given in records if name == "init"]
    assert opened[0] == opened[1], "the same run goes on"
    assert (opened[0]["project"], opened[0]["resume"]) == ("vitascope", "allow")
    assert ("config", {"seed": 1}) in records
    logged = next(args[0] for name, args in records if name == "log")
    assert logged["step"] == 1
    assert logged["loss/latent"] == 0.5
