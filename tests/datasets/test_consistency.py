"""What all videos of a dataset show together: a common factor, times in other units, sides without actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import write_video
from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold, Segment
from vitascope.datasets.consistency import check_temporal, common_factor


def dataset(truths: list[tuple[Segment, ...]], duration: float | None = 10.0, **more: Any) -> Dataset[Any]:
    """The last video is tested."""
    examples = tuple(Example(id=f"v{i}", path="", truth=t, duration=duration) for i, t in enumerate(truths))
    ids = [e.id for e in examples]
    fold = Fold(name="train/test", train=tuple(ids[:-1]), test=tuple(ids[-1:]))
    return Dataset(name="mine", examples=examples, classes=("a",), folds=(fold,), kind="localization", **more)


@given(st.floats(0.2, 5.0), st.lists(st.floats(50, 500), min_size=3, max_size=20), st.data())
def test_a_common_factor_is_found_within_its_range(factor: float, durations: list[float], data: st.DataObject) -> None:
    slack = [data.draw(st.floats(0.5, 2.0)) / d for d in durations]
    found = common_factor([factor * (1 - s) for s in slack], [factor * (1 + s) for s in slack])
    if found is None:
        assert sum(abs(1 - factor) <= factor * s + 1e-12 for s in slack) * 2 > len(slack)
    else:
        assert found.low <= factor <= found.high


def test_a_few_exceptions_do_not_hide_it() -> None:
    low, high = [1.19] * 19 + [0.7], [1.21] * 19 + [0.8]
    found = common_factor(low, high)
    assert found is not None
    assert found.value == pytest.approx(1.2)
    assert found.cause() == ", as if 25 frames per second were taken for 30"
    assert found.cause(60.0) == ", as if 50 frames per second were taken for 60"
    assert found.cause(15.0) == ", as if 12.5 frames per second were taken for 15"
    assert found.cause(7.0) == ""


@pytest.mark.parametrize(
    ("low", "high"),
    [([], []), ([0.99, 0.98, 1.1], [1.01, 1.02, 1.2]), ([1.1, 1.3, 1.5, 1.7], [1.2, 1.4, 1.6, 1.8])],
    ids=["nothing", "most admit 1", "no common one"],
)
def test_no_common_factor(low: list[float], high: list[float]) -> None:
    assert common_factor(low, high) is None


def test_a_side_without_actions_is_refused() -> None:
    acting = (Segment(1.0, 2.0, 0),)
    check_temporal(dataset([acting, (), acting]))
    with pytest.raises(UserError, match="mine: none of the 1 test videos of train/test has an annotated action"):
        check_temporal(dataset([acting, acting, ()]))
    with pytest.raises(UserError, match="none of the 2 training videos"):
        check_temporal(dataset([(), (), acting]))


@pytest.mark.parametrize(
    ("scale", "unit"),
    [(25.0, "look like frames"), (1000.0, "look like milliseconds"), (1.5, "are the times in seconds")],
)
def test_actions_in_another_unit_are_refused(scale: float, unit: str) -> None:
    truths = [(Segment(scale, 2 * scale, 0), Segment(9 * scale, 9.5 * scale, 0)) for _ in range(3)]
    with pytest.raises(UserError, match=f"mine: in 3 of 3 videos actions end after the video.*{unit}"):
        check_temporal(dataset(truths))


def test_a_few_late_actions_pass() -> None:
    check_temporal(dataset([(Segment(1.0, 12.0, 0),), (Segment(1.0, 2.0, 0),), (Segment(1.0, 9.0, 0),)]))


def on_disk(root: Path, annotated: float | None, scale: float = 1.0) -> Dataset[Any]:
    """Videos of 2 s, annotated with another duration or with times in another unit."""
    clip = np.zeros((50, 32, 32, 3), np.uint8)
    made = dataset([(Segment(0.5 * scale, 1.5 * scale, 0),)] * 3, annotated)
    paths = [str(write_video(root / f"{e.id}.mp4", clip, fps=25)) for e in made.examples]
    return replace(made, examples=tuple(replace(e, path=p) for e, p in zip(made.examples, paths, strict=True)))


def test_real_durations_that_differ_by_one_factor_are_refused(tmp_path: Path) -> None:
    check_temporal(on_disk(tmp_path, 2.0))
    with pytest.raises(UserError, match=r"all 3 videos looked at are 1.2 times as long.*as if 25 .* taken for 30"):
        check_temporal(on_disk(tmp_path, 2.0 / 1.2))


def test_without_durations_the_files_tell_the_unit(tmp_path: Path) -> None:
    check_temporal(on_disk(tmp_path, None))
    with pytest.raises(UserError, match=r"actions end after the video.*look like frames"):
        check_temporal(on_disk(tmp_path, None, scale=25.0))


def keyframes(paths: list[Path], times: list[float]) -> Dataset[Any]:
    """A keyframe in each video."""
    examples = tuple(
        Example(id=f"{p.name}@{t:g}", path=str(p), truth=Keyframes((t,), ()), span=(t - 2, t + 2), group=p.name)
        for p, t in zip(paths, times, strict=True)
    )
    fold = Fold(name="train/test", train=(examples[0].id,), test=tuple(e.id for e in examples[1:]))
    return Dataset(name="mine", examples=examples, classes=("a",), folds=(fold,), kind="detection")


def test_keyframes_after_the_end_of_most_videos_are_refused(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{i}.mp4", np.zeros((10, 16, 16, 3), np.uint8)) for i in range(3)]
    check_temporal(keyframes(paths, [0.5, 1.4, 25.0]))
    with pytest.raises(UserError, match=r"in 2 of 3 videos .* after the end, such as 25 s of 1\.0 s in .*1\.mp4; are"):
        check_temporal(keyframes(paths, [0.5, 25.0, 30.0]))
