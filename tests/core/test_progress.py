"""Progress lines: contents and width."""

import time

import pytest

from vitascope.core.progress import EncodingProgress, ProgressLine, TrainingProgress


def pace(done: int = 30, seconds: float = 10.0) -> EncodingProgress:
    return EncodingProgress(
        "pixels/motion-energy on motionlab/motion",
        120,
        done=done,
        failed=2,
        clips=60,
        decode_busy=0.9,
        encode_busy=0.25,
        started=time.monotonic() - seconds,
    )


def test_the_whole_line() -> None:
    line = pace(seconds=10.01).line()
    assert line.startswith("pixels/motion-energy on motionlab/motion · 30/120 · 2 failed · 6.0 clips/s · ETA 0:30 · ")
    assert line.endswith("decode 90% busy, encode 25% busy: decode limits")


@pytest.mark.parametrize("width", [20, 59, 79, 110])
def test_a_narrow_line_fits_and_keeps_the_count(width: int) -> None:
    line = pace().line(width)
    assert len(line) <= width
    assert line.startswith("30/120 · 2 failed · ")
    assert pace().line(500) == pace().line()


def test_the_last_line_has_the_duration() -> None:
    assert " · in 1:02:03 · " in pace(done=120, seconds=3723.1).line()
    assert "ETA -:--" in pace(done=0).line()


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (True, False):
        with ProgressLine(pace(), quiet=quiet):
            pass
        assert bool(capsys.readouterr().err) is not quiet


def test_a_training_counts_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(TrainingProgress("localize: a on b", 3), quiet=False) as live:
        for _ in range(3):
            live.step()
    output = capsys.readouterr().err
    assert output.startswith("localize: a on b · 3/3 · ")
    assert " steps/s · in 0:00" in output
    with ProgressLine(TrainingProgress("", 3), quiet=True) as live:
        live.step()
    assert not capsys.readouterr().err
    narrow = TrainingProgress("localize: a on b", 300, done=30, started=time.monotonic() - 10.01).line(30)
    assert narrow.startswith("30/300 · 3.0 steps/s · ETA 1:")
