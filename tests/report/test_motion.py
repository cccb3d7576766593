"""What motion is worth, from predictions made by hand: use, need, classes, and what may not be held against what."""

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
from vitascope.report.analysis.motion_effect import MotionEffect, Pair

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
    asked = dict(probe or (wrapped(how, sides) if how else PLAIN))
    return Result(
        encoder=encoder,
        dataset="d",
        probe=name,
        version=1,
        scores={"top-1": Score(float(np.mean(outcomes)))},
        settings={"probe": {"name": name, **asked}, "card": {"name": encoder}, "dataset": {"digest": "d"}},
        protocol=name,
        variant={"altered": how, "sides": sides, "of": "d:linear"} if how else {},
        n=6,
        expected=6,
        predictions=str(path),
    )


def only(found: Sequence[Result]) -> MotionEffect:
    (one,), lacking = motion_effect.worth(boards.build(found))
    assert lacking == []
    return one


def test_use_is_what_an_altered_test_costs(tmp_path: Path) -> None:
    shuffled = result(tmp_path, (1, 0, 0, 1, 0, 0), how="shuffled", sides="test")
    one = only([result(tmp_path, REAL), shuffled, result(tmp_path, REAL, how="reversed", sides="test")])
    loss = one.uses[0]["shuffled"]
    assert (loss.real, loss.altered) == pytest.approx((500 / 6, 200 / 6))
    assert loss.gap.value == pytest.approx(50)
    assert loss.gap.p == pytest.approx(2 * 0.5**3), "McNemar's exact test of three against none"
    assert loss.p == pytest.approx(2 * loss.gap.p), "Holm over two alterations"
    assert one.uses[0]["reversed"].gap.value == 0
    assert one.needs == {}
    low, high = loss.gap.low, loss.gap.high
    assert low is not None
    assert high is not None
    assert low < 50 < high


def test_pairs_are_matched_by_example_and_drawn_by_group(tmp_path: Path) -> None:
    groups = ("a", "a", "b", "b", "c", "c")
    real, other = (1, 1, 1, 1, 1, 0), (0, 0, 1, 0, 1, 1)
    found = [
        result(tmp_path, real, groups=groups),
        result(tmp_path, other, how="frozen", sides="test", groups=groups),
    ]
    gap = only(found).uses[0]["frozen"].gap
    by_hand = stats.paired(
        np.array(real) * 100.0, np.array(other) * 100.0, groups, rng=np.random.default_rng(motion_effect.SEED)
    )
    assert gap == pytest.approx(by_hand)
    assert gap.units == 3


def test_need_is_that_of_the_best_encoder_and_of_each_class(tmp_path: Path) -> None:
    found = [
        result(tmp_path, REAL, encoder="best"),
        result(tmp_path, (0, 0, 0, 1, 1, 1), encoder="best", how="frozen", sides="both"),
        result(tmp_path, (1, 1, 0, 0, 0, 0), encoder="weak"),
        result(tmp_path, (0, 0, 0, 0, 0, 0), encoder="weak", how="frozen", sides="both"),
    ]
    one = only(found)
    need = one.needs["frozen"]
    assert need.row == 0
    assert need.whole.gap.value == pytest.approx((5 - 3) / 6 * 100)
    assert {name: loss.gap.value for name, loss in need.classes} == pytest.approx({"push": 100.0, "hold": -100 / 3})
    assert [name for name, _ in need.classes] == ["push", "hold"]
    (_, push), (_, hold) = need.classes
    assert push.gap.p == pytest.approx(2 * 0.5**3)
    assert (push.p, hold.p) == pytest.approx((2 * push.gap.p, 1.0)), "Holm over the classes"
    assert one.uses == {}


def test_a_need_without_the_real_question_of_the_best_is_the_next_ones(tmp_path: Path) -> None:
    found = [
        result(tmp_path, REAL, encoder="best"),
        result(tmp_path, (1, 1, 0, 0, 0, 0), encoder="weak"),
        result(tmp_path, (0, 1, 0, 0, 0, 0), encoder="weak", how="shuffled", sides="both"),
    ]
    assert only(found).needs["shuffled"].row == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"settings": {"probe": {"name": "x", **wrapped("frozen", "test"), "k": 5}}}, "was not asked"),
        ({"limited": True}, "was not asked"),
        ({"version": 2}, "was not asked"),
        ({"seeds": (50.0, 60.0)}, "was not asked"),
        ({"settings": {"probe": wrapped("frozen", "test"), "dataset": {"digest": "other"}}}, "was not asked"),
        ({"predictions": ""}, "no predictions"),
    ],
)
def test_only_like_is_held_against_like(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    frozen = result(tmp_path, REAL, how="frozen", sides="test")
    settings = {**frozen.settings, **change.get("settings", {})}
    found, lacking = motion_effect.worth(
        boards.build([result(tmp_path, REAL), replace(frozen, **{**change, "settings": settings})])
    )
    assert found == []
    assert [one.task for one in lacking] == ["d:linear+test:frozen"]
    assert why in lacking[0].why


def test_an_altered_low_shot_question_is_held_against_the_low_shot_one(tmp_path: Path) -> None:
    def thin(one: Result) -> Result:
        return replace(one, dataset="d@5%", variant={**one.variant, "train_fraction": "5%", "of": "d:linear"})

    plain = result(tmp_path, REAL)
    few, frozen = thin(plain), thin(result(tmp_path, REAL, how="frozen", sides="test"))
    board = boards.build([plain, few, frozen])
    (group,), alone = variants.altered(board)
    assert alone == []
    assert group.plain.task == "d@5%:linear"
    (thinned,) = variants.thinned(board)
    assert thinned.plain is not None
    assert thinned.plain.task == thinned.task == "d:linear"
    assert list(thinned.columns) == ["5%"]


def test_a_view_that_draws_is_no_alteration(tmp_path: Path) -> None:
    crop = {"sampler": {"type": "RandomCrop", "inner": {"type": "Uniform"}}}
    around = {"sampler": {"type": "Frozen", "inner": crop["sampler"]}}
    plain = result(tmp_path, REAL, probe={"train": crop, "test": crop})
    frozen = result(tmp_path, REAL, how="frozen", sides="test", probe={"train": crop, "test": around})
    assert set(only([plain, frozen]).uses[0]) == {"frozen"}


def test_class_losses_agree_with_counting() -> None:
    rng = np.random.default_rng(3)
    real, other = (100.0 * rng.integers(0, 2, 200) for _ in range(2))
    truth = np.array([f"c{i % 7}" for i in range(200)], dtype=object)
    found = motion_effect.by_class(Pair(real, other, np.arange(200), truth))
    for name, loss in found:
        mine = [i for i in range(200) if truth[i] == name]
        assert loss.gap.value == pytest.approx(sum(real[i] - other[i] for i in mine) / len(mine))
    gaps = [loss.gap.value for _, loss in found]
    assert gaps == sorted(gaps, reverse=True)
    assert [loss.p for _, loss in found] == pytest.approx(stats.holm([loss.gap.p for _, loss in found]))
