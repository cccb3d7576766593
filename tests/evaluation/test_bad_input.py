"""Recognition on unusual and invalid training and test sets: scored correctly, or rejected in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from vitascope.core.types import Example
from vitascope.features.base import Features, MemmapFeatures, StoredFeatures, check_finite
from vitascope.probes.methods.attentive import AttentiveProbe
from vitascope.probes.methods.knn import KNNProbe
from vitascope.probes.methods.linear import LinearProbe


@dataclass(frozen=True)
class Kind:
    """A probe, and the shape of what it reads."""

    probe: Any
    shape: tuple[int, ...]


KINDS = {
    "knn": Kind(KNNProbe(), (8,)),
    "knn/sweep": Kind(KNNProbe(ks=(1, 200), taus=(0.07, 0.1)), (8,)),
    "linear": Kind(LinearProbe(), (8,)),
    "linear/lbfgs": Kind(LinearProbe(optimizer="lbfgs", weight_decay=0.01), (8,)),
    "attentive": Kind(AttentiveProbe(lr=1e-2, min_steps=60), (2, 2, 2, 8)),
}


def side(kind: Kind, labels: list[int], name: str = "v", classes: int = 4) -> StoredFeatures:
    """Vectors that say their class; the tokens of a grid all alike, but for noise."""
    noise = torch.Generator().manual_seed(len(name) + len(labels))
    values = 0.1 * torch.randn(len(labels), *kind.shape, generator=noise)
    for i, label in enumerate(labels):
        values[i, ..., label % 8] += 3
    examples = [Example(id=f"{name}{i}", path=f"{i}.mp4", truth=label) for i, label in enumerate(labels)]
    return StoredFeatures(examples, [f"c{c}" for c in range(classes)], values, torch.arange(len(labels) + 1))


def top_1(kind: Kind, train: Features[int], test: Features[int]) -> float:
    """Top-1 accuracy of the probe with seed 0."""
    predictions = kind.probe.predict(train, test, seed=0)
    assert all(np.isfinite(p).all() for p in predictions)
    score: float = kind.probe.score(predictions, [e.truth for e in test.examples])["top-1"]
    return score


def error_of(kind: Kind, train: Features[int], test: Features[int]) -> str:
    """The error message, in one line."""
    with pytest.raises(ValueError, match=r".+") as caught:
        kind.probe.predict(train, test, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    return message


def on_disk(features: StoredFeatures) -> MemmapFeatures:
    """The same, read batch by batch."""
    return MemmapFeatures(features.examples, features.classes, lambda rows: features.values[rows], features.offsets)


every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@every
def test_a_class_that_is_not_trained_is_never_right(kind: Kind) -> None:
    train, test = side(kind, [0, 1, 3] * 6), side(kind, [0, 1, 2, 3], "t")
    assert top_1(kind, train, test) == 75


@every
def test_a_class_that_is_not_tested_changes_nothing(kind: Kind) -> None:
    assert top_1(kind, side(kind, [0, 1, 2, 3] * 5), side(kind, [3, 0, 0, 1], "t")) == 100


@every
@pytest.mark.parametrize("label", [-1, 4, 2**40])
@pytest.mark.parametrize("which", ["train", "test"])
def test_labels_out_of_range_are_named(kind: Kind, label: int, which: str) -> None:
    sides = {"train": side(kind, [0, 1, 2, 3] * 4), "test": side(kind, [0, 1, 2, 3] * 4, "t")}
    good = sides[which]
    wrong = [replace(e, truth=label) if i == 5 else e for i, e in enumerate(good.examples)]
    sides[which] = replace(good, examples=wrong)
    message = error_of(kind, sides["train"], sides["test"])
    assert message == (
        f"label {label} of 1 of 16 examples ({wrong[5].id}) is outside the 4 classes (0 to 3); correct the labels or "
        "add the classes"
    )


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", ["train", "test"])
@pytest.mark.parametrize("read", [lambda f: f, on_disk], ids=["memory", "batches"])
def test_values_that_are_not_finite_are_named(
    kind: Kind, value: float, which: str, read: Callable[[StoredFeatures], Features[int]]
) -> None:
    sides = {"train": side(kind, [0, 1, 2, 3] * 4), "test": side(kind, [0, 1, 2, 3] * 4, "t")}
    for i in (2, 9):
        sides[which].values[i].view(-1)[3] = value
    message = error_of(kind, *map(read, sides.values()))
    name = "v" if which == "train" else "t"
    assert (
        message == f"NaN or infinite vectors for 2 of 16 examples ({name}2, {name}9); did the encoder overflow there?"
    )


def test_live_values_are_checked() -> None:
    kind = KINDS["linear"]
    probe = replace(kind.probe, train=replace(kind.probe.train, stored=False))
    train = side(kind, [0, 1, 2, 3] * 4)
    train.values[7, 0] = torch.nan
    for how in (probe, replace(probe, standardize=False)):
        message = error_of(replace(kind, probe=how), on_disk(train), side(kind, [0, 1], "t"))
        assert message.startswith("NaN or infinite vectors for 1 of 16 examples (v7)")


def test_numbers_whose_sum_overflows_are_finite() -> None:
    features = side(KINDS["knn"], [0, 1, 2])
    features.values[1] = 3e38
    batch = next(features.batches(3))
    assert check_finite(features, batch) is batch


@every
@pytest.mark.parametrize("which", ["train", "test"])
def test_an_empty_side_is_error_of(kind: Kind, which: str) -> None:
    sides = {"train": side(kind, [0, 1, 2, 3] * 4), "test": side(kind, [0, 1, 2, 3], "t")}
    sides[which] = side(kind, [])
    assert "no example of this split has vectors" in error_of(kind, sides["train"], sides["test"])


@every
def test_a_clip_that_lasts_no_time_is_a_clip(kind: Kind) -> None:
    """A video of one frame: where its clip lies says nothing about its vectors."""
    train, test = side(kind, [0, 1, 2, 3] * 5), side(kind, [0, 1, 2, 3], "t")
    still = replace(test, spans=[[(1.0, 1.0)], *([(0.0, 2.0)] for _ in range(3))])
    assert top_1(kind, train, still) == top_1(kind, train, test) == 100


@every
def test_a_small_training_side_is_enough(kind: Kind) -> None:
    """Far fewer vectors than k, one batch, one example of a class: no vote is cast twice."""
    assert top_1(kind, side(kind, [0, 1, 2, 3]), side(kind, [3, 2, 1, 0, 0], "t")) == 100
