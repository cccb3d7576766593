"""Effect of motion from hand-made predictions: sensitivity, dependence, classes, and what may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.core.types import Score
from vitascope.evaluation.results import Result, write_predictions
from vitascope.metrics import stats
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import motion_effect, variants
from vitascope.report.analysis.motion_effect import MotionEffect, PairedOutcomes

LABELS = ("push", "push", "push", "hold", "hold", "hold")
REAL = (1, 1, 1, 1, 1, 0)
PLAIN = {"k": 20, "train": {"sampler": {"type": "Uniform"}}, "test": {"sampler": {"type": "Uniform"}}}


def wrapped(how: str, sides: str) -> dict[str, Any]:
    around = {"sampler": {"type": how.capitalize(), "inner": {"type": "Uniform"}}}
    return {**PLAIN, "test": around, **({"train": around} if sides == "both" else {})}


def result(
    folder: Path,
    right: Sequence[int],
    *,
    encoder: str = "e",
    how: str = "",
    sides: str = "",
    probe: Mapping[str, Any] | None = None,
    groups: Sequence[str] = ("",) * 6,
) -> Result:
    name = f"linear+{sides}:{how}" if how else "linear"
    path = folder / f"{encoder}-{name.replace(':', '-')}.parquet"
    outcomes = [100.0 * r for r in right]
    columns = {"id": [str(i) for i in range(6)], "group": groups, "label": LABELS, "outcome": outcomes}
    write_predictions(path, columns)
    settings = dict(probe or (wrapped(how, sides) if how else PLAIN))
    return Result(
        encoder=encoder,
        dataset="d",
        probe=name,
        version=1,
        scores={"top-1": Score(float(np.mean(outcomes)))},
        settings={"probe": {"name": name, **settings}, "card": {"name": encoder}, "dataset": {"digest": "d"}},
        protocol=name,
        variant={"altered": how, "sides": sides, "of": "d:linear"} if how else {},
        n=6,
        expected=6,
        predictions=str(path),
    )


def only(results: Sequence[Result]) -> MotionEffect:
    (one,), missing = motion_effect.motion_effects(boards.build(results))
    assert missing == []
    return one


def test_sensitivity_is_the_accuracy_lost_on_an_altered_test_set(tmp_path: Path) -> None:
    shuffled = result(tmp_path, (1, 0, 0, 1, 0, 0), how="shuffled", sides="test")
    one = only([result(tmp_path, REAL), shuffled, result(tmp_path, REAL, how="reversed", sides="test")])
    loss = one.sensitivity[0]["shuffled"]
    assert (loss.real, loss.altered) == pytest.approx((500 / 6, 200 / 6))
    assert loss.gap.value == pytest.approx(50)
    assert loss.gap.p == pytest.approx(2 * 0.5**3), "McNemar's exact test of three against none"
    assert loss.p == pytest.approx(2 * loss.gap.p), "Holm over two alterations"
    assert one.sensitivity[0]["reversed"].gap.value == 0
    assert one.dependence == {}
    low, high = loss.gap.low, loss.gap.high
    assert low is not None
    assert high is not None
    assert low < 50 < high


def test_motion_use_is_the_smaller_drop_of_reversed_and_frozen(tmp_path: Path) -> None:
    """An encoder that only flicker harms uses no motion."""
    shuffled = result(tmp_path, (0, 0, 0, 0, 0, 0), how="shuffled", sides="test")
    frozen = result(tmp_path, (1, 0, 0, 1, 0, 0), how="frozen", sides="test")
    backwards = result(tmp_path, (1, 1, 1, 1, 0, 0), how="reversed", sides="test")
    drops = only([result(tmp_path, REAL), shuffled, frozen, backwards]).sensitivity[0]
    use = motion_effect.motion_use(drops)
    assert use is not None
    assert use.gap == drops["reversed"].gap
    assert use.gap.value == pytest.approx(100 / 6)
    assert use.p == max(drops["reversed"].p, drops["frozen"].p)
    assert motion_effect.motion_use({"frozen": drops["frozen"], "shuffled": drops["shuffled"]}) is None


def test_pairs_are_matched_by_example_and_drawn_by_group(tmp_path: Path) -> None:
    groups = ("a", "a", "b", "b", "c", "c")
    real, other = (1, 1, 1, 1, 1, 0), (0, 0, 1, 0, 1, 1)
    results = [
        result(tmp_path, real, groups=groups),
        result(tmp_path, other, how="frozen", sides="test", groups=groups),
    ]
    gap = only(results).sensitivity[0]["frozen"].gap
    by_hand = stats.paired(
        np.array(real) * 100.0, np.array(other) * 100.0, groups, rng=np.random.default_rng(motion_effect.SEED)
    )
    assert gap == pytest.approx(by_hand)
    assert gap.units == 3


def test_dependence_is_measured_with_the_best_encoder_and_by_class(tmp_path: Path) -> None:
    results = [
        result(tmp_path, REAL, encoder="best"),
        result(tmp_path, (0, 0, 0, 1, 1, 1), encoder="best", how="frozen", sides="both"),
        result(tmp_path, (1, 1, 0, 0, 0, 0), encoder="weak"),
        result(tmp_path, (0, 0, 0, 0, 0, 0), encoder="weak", how="frozen", sides="both"),
    ]
    one = only(results)
    need = one.dependence["frozen"]
    assert need.row == 0
    assert need.overall.gap.value == pytest.approx((5 - 3) / 6 * 100)
    assert {name: loss.gap.value for name, loss in need.classes} == pytest.approx({"push": 100.0, "hold": -100 / 3})
    assert [name for name, _ in need.classes] == ["push", "hold"]
    (_, push), (_, hold) = need.classes
    assert push.gap.p == pytest.approx(2 * 0.5**3)
    assert (push.p, hold.p) == pytest.approx((2 * push.gap.p, 1.0)), "Holm over the classes"
    assert one.sensitivity == {}


def test_dependence_is_measured_with_the_best_encoder_that_was_evaluated_both_ways(tmp_path: Path) -> None:
    results = [
        result(tmp_path, REAL, encoder="best"),
        result(tmp_path, (1, 1, 0, 0, 0, 0), encoder="weak"),
        result(tmp_path, (0, 1, 0, 0, 0, 0), encoder="weak", how="shuffled", sides="both"),
    ]
    assert only(results).dependence["shuffled"].row == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"settings": {"probe": {"name": "x", **wrapped("frozen", "test"), "k": 5}}}, "was not evaluated"),
        ({"limited": True}, "was not evaluated"),
        ({"version": 2}, "was not evaluated"),
        ({"seeds": (50.0, 60.0)}, "was not evaluated"),
        ({"settings": {"probe": wrapped("frozen", "test"), "dataset": {"digest": "other"}}}, "was not evaluated"),
        ({"predictions": ""}, "no saved predictions"),
    ],
)
def test_only_matching_results_are_compared(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    frozen = result(tmp_path, REAL, how="frozen", sides="test")
    settings = {**frozen.settings, **change.get("settings", {})}
    results, missing = motion_effect.motion_effects(
        boards.build([result(tmp_path, REAL), replace(frozen, **{**change, "settings": settings})])
    )
    assert results == []
    assert [one.task for one in missing] == ["d:linear+test:frozen"]
    assert reason in missing[0].reason


def test_an_altered_low_shot_task_is_compared_to_the_low_shot_task(tmp_path: Path) -> None:
    def low_shot_version(one: Result) -> Result:
        return replace(one, dataset="d@5%", variant={**one.variant, "train_fraction": "5%", "of": "d:linear"})

    plain = result(tmp_path, REAL)
    low_shot_result, frozen = (
        low_shot_version(plain),
        low_shot_version(result(tmp_path, REAL, how="frozen", sides="test")),
    )
    board = boards.build([plain, low_shot_result, frozen])
    (altered,), unmatched = variants.altered_tasks(board)
    assert unmatched == []
    assert altered.original.task == "d@5%:linear"
    (low_shot,) = variants.low_shot_tasks(board)
    assert low_shot.full is not None
    assert low_shot.full.task == low_shot.task == "d:linear"
    assert list(low_shot.columns) == ["5%"]


def test_a_random_view_is_no_alteration(tmp_path: Path) -> None:
    crop = {"sampler": {"type": "RandomCrop", "inner": {"type": "Uniform"}}}
    around = {"sampler": {"type": "Frozen", "inner": crop["sampler"]}}
    plain = result(tmp_path, REAL, probe={"train": crop, "test": crop})
    frozen = result(tmp_path, REAL, how="frozen", sides="test", probe={"train": crop, "test": around})
    assert set(only([plain, frozen]).sensitivity[0]) == {"frozen"}


def test_class_drops_agree_with_counting() -> None:
    rng = np.random.default_rng(3)
    real, other = (100.0 * rng.integers(0, 2, 200) for _ in range(2))
    truth = np.array([f"c{i % 7}" for i in range(200)], dtype=object)
    results = motion_effect.drops_by_class(PairedOutcomes(real, other, np.arange(200), truth))
    for name, loss in results:
        mine = [i for i in range(200) if truth[i] == name]
        assert loss.gap.value == pytest.approx(sum(real[i] - other[i] for i in mine) / len(mine))
    gaps = [loss.gap.value for _, loss in results]
    assert gaps == sorted(gaps, reverse=True)
    assert [loss.p for _, loss in results] == pytest.approx(stats.holm([loss.gap.p for _, loss in results]))
