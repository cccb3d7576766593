"""The base class of probes: what it gives, what it refuses, and that it never enters a digest."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import vitascope
from vitascope.core.types import LATER, plain
from vitascope.features.base import Features
from vitascope.features.view import View
from vitascope.probes import base
from vitascope.probes.base import OPTIONAL, JointlyScored, Probe, ScoredPredictions, WorkloadSize
from vitascope.probes.catalog import PROBES
from vitascope.sampling.names import Uniform

WHOLE = View(Uniform())


@dataclass(frozen=True, kw_only=True)
class Constant(Probe[int, np.ndarray]):
    """Predicts the first class."""

    name: str = "constant"
    version: int = 1
    train: View = WHOLE
    test: View = WHOLE

    def predict(self, train: Features[int], test: Features[int], *, seed: int) -> list[np.ndarray]:
        return [np.eye(len(test.classes))[0] for _ in test.examples]

    def score(self, predictions: Any, truth: Any) -> dict[str, float]:
        return {"top-1": float(np.mean(self.outcomes(predictions, truth)))}

    def outcomes(self, predictions: Any, truth: Any) -> list[float]:
        return [100.0 * (t == 0) for t in truth]


def test_everything_but_the_answers_has_a_default() -> None:
    probe = Constant()
    assert isinstance(probe, vitascope.Probe)
    assert (probe.kind, probe.resumes, probe.reports_progress, probe.random) == ("recognition", False, False, True)
    assert (probe.missing_prediction, probe.selects_on_test) == (None, False)
    assert probe.for_dataset("k400") is probe
    assert probe.passes(10) == 1
    assert probe.multiply_adds(WorkloadSize(1, 1, 1, 1, 1, 1, 1)) == 0


def test_a_probe_that_predicts_nothing_cannot_be_made() -> None:
    class Nothing(Probe[int, int]):
        name = "nothing"

    with pytest.raises(TypeError, match="abstract methods"):
        Nothing()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("resume", "resumes"),
        ("report_progress", "reports_progress"),
        ("score_prediction", "score_predictions"),
        ("missing_predictions", "missing_prediction"),
        ("multiply_add", "multiply_adds"),
        ("for_datasets", "for_dataset"),
    ],
)
def test_a_misspelled_capability_is_refused(word: str, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"Wrong\.{word}: no such attribute of probes; did you mean '{meant}'\?"):
        type("Wrong", (Constant,), {word: True})
    with pytest.raises(TypeError, match="did you mean"):
        type("Wrong", (Constant,), {"__annotations__": {word: "bool"}})


def test_flags_that_predict_does_not_honor_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Deaf.resumes is True, but predict\(\) takes no 'scratch'"):
        type("Deaf", (Constant,), {"resumes": True})
    with pytest.raises(TypeError, match="takes no 'line'"):
        type("Deaf", (Constant,), {"reports_progress": True})

    class Patient(Constant):
        resumes: ClassVar[bool] = True

        def predict(
            self, train: Features[int], test: Features[int], *, seed: int, scratch: Path | None = None
        ) -> list[np.ndarray]:
            return super().predict(train, test, seed=seed)

    assert Patient().resumes


def test_joint_scores_need_their_base_class() -> None:
    def score_predictions(self: Any, test: base.TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        return ScoredPredictions({}, {}, {})

    defined = {"score_predictions": score_predictions}
    with pytest.raises(TypeError, match=r"Wrong\.score_predictions: no such attribute of probes; inherit from Jointly"):
        type("Wrong", (Constant,), defined)
    assert isinstance(type("Joint", (Constant, JointlyScored), defined)(), JointlyScored)
    with pytest.raises(TypeError, match="abstract method"):
        type("Partial", (Constant, JointlyScored), {})()


@pytest.mark.parametrize("name", sorted({name.partition("/")[0] for name in PROBES.names()}))
def test_what_the_base_defines_is_in_no_digest(name: str) -> None:
    """A field would be hashed into the protocol, and every recorded result would be another's."""
    probe = PROBES.build(name)
    assert isinstance(probe, Probe)
    assert not {f.name for f in fields(probe)} & set(OPTIONAL)
    assert plain(probe).keys() == {"type", *(f.name for f in fields(probe) if f.metadata != LATER)}


def test_the_methods_say_what_they_can() -> None:
    found = {name: PROBES.build(name) for name in ("knn", "linear", "attentive", "localize", "segment")}
    assert {n for n, p in found.items() if p.resumes} == {"attentive", "localize", "segment"}
    assert {n for n, p in found.items() if p.reports_progress} == {"localize", "segment"}
    assert {n for n, p in found.items() if isinstance(p, JointlyScored)} == {"localize", "segment"}
    assert {n for n, p in found.items() if p.missing_prediction is not None} == {"localize", "segment"}
    assert PROBES.build("localize/published").selects_on_test
    assert not any(p.selects_on_test for p in found.values())
