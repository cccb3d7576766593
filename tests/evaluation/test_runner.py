"""Variants of a question: shares of the training side, altered clips, several seeds, classes made of parts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.datasets.builders.folder import build
from vitascope.datasets.splits import check_train_fraction, low_shot
from vitascope.encoders.base import Tokens
from vitascope.evaluation import results
from vitascope.evaluation.cost_estimate import estimate_costs
from vitascope.evaluation.evaluate import evaluate, group_by_training
from vitascope.evaluation.runner import EvaluationConfig, variant_of
from vitascope.features.base import Features
from vitascope.features.extract import ExtractionOptions, decoder_pool
from vitascope.features.view import View
from vitascope.probes.base import Probe
from vitascope.probes.counterfactual import PERTURBATIONS, perturb
from vitascope.probes.methods.knn import KNNProbe
from vitascope.probes.methods.linear import LinearProbe
from vitascope.probes.options import probe
from vitascope.sampling.names import Reversed, Uniform

CARD = Card(name="lab/order", digest="1", dim=12, frames=4, size=16, mean=(0.5,) * 3, std=(0.2,) * 3)


class InOrder:
    """Mean colors of the frames, one after another: it sees order and nothing else."""

    card = CARD

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        frames = clips.mean((3, 4)).transpose(1, 2)
        return Tokens(frames[:, :, None, None], frames.flatten(1))


def config(tmp_path: Path, **given: Any) -> EvaluationConfig:
    options = ExtractionOptions(workers=1, quiet=True)
    return EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store", options=options, **given)


WHOLE = View(Uniform())


@dataclass(frozen=True, kw_only=True)
class Spy(Probe[int, Any]):
    """Says for each test example the share of training examples of class 0, and counts its trainings."""

    name: str = "spy"
    version: int = 1
    train: View = WHOLE
    test: View = WHOLE
    trained: ClassVar[list[Any]] = []

    def predict(self, train: Features[int], test: Features[int], *, seed: int) -> list[np.ndarray]:
        self.trained.append((seed, Counter(e.truth for e in train.examples), [e.id for e in test.examples]))
        draw = np.random.default_rng(seed)
        return [draw.random(len(test.classes)).astype(np.float32) for _ in test.examples]

    def score(self, predictions: Any, truth: Any) -> dict[str, float]:
        return {"top-1": float(np.mean(self.outcomes(predictions, truth)))}

    def outcomes(self, predictions: Any, truth: Any) -> list[float]:
        return [100.0 * (int(np.argmax(p)) == t) for p, t in zip(predictions, truth, strict=True)]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Spy.trained.clear()


def many(count: int = 40) -> Dataset[int]:
    examples = tuple(Example(id=f"{i:02}", path="", truth=int(i % 4 == 0)) for i in range(count))
    fold = Fold(name="f", train=tuple(e.id for e in examples), test=())
    return Dataset(name="d", examples=examples, classes=("a", "b"), folds=(fold,))


@pytest.mark.parametrize(("share", "counts"), [("10%", (3, 1)), ("1%", (1, 1)), ("2-shot", (2, 2)), ("100%", (30, 10))])
def test_low_shot_keeps_a_share_of_every_class(share: str, counts: tuple[int, int]) -> None:
    dataset = replace(many(), train_fraction=share)
    truth = {e.id: e.truth for e in dataset.examples}
    kept = low_shot(dataset, dataset.folds[0], 0).train
    result = Counter(truth[i] for i in kept)
    assert (result[0], result[1]) == counts
    assert list(kept) == sorted(kept)
    assert low_shot(dataset, dataset.folds[0], 0).train == kept
    if share == "10%":
        assert low_shot(dataset, dataset.folds[0], 1).train != kept
        more = low_shot(replace(dataset, train_fraction="50%"), dataset.folds[0], 0).train
        assert set(kept) < set(more)


@pytest.mark.parametrize("share", ["0%", "101%", "five", "5", "0-shot", "-1%", "5 %"])
def test_what_is_no_share(share: str) -> None:
    with pytest.raises(ValueError, match=r"e\.g\. 5%, or a number of examples per class, e\.g\. 8-shot"):
        check_train_fraction(share)


def test_low_shot_is_drawn_anew_by_each_seed_and_scores_average(videos: Path, tmp_path: Path) -> None:
    settings = config(tmp_path, low_shot=("1-shot",), seeds=3, seed=5)
    plain, low = evaluate(build("", videos), [InOrder()], [Spy()], config=settings)
    seeds = [seed for seed, _, _ in Spy.trained]
    assert Counter(seeds) == {5: 10, 6: 10, 7: 10}  # five folds, two questions
    counts = [c for _, c, _ in Spy.trained]
    assert sum(set(c.values()) == {1} for c in counts) == 15
    for result in (plain, low):
        assert len(result.seeds) == 3
        assert result.headline.value == pytest.approx(np.mean(result.seeds))
        columns = results.read_predictions(settings.run / result.predictions)
        assert np.mean(columns["outcome"]) == pytest.approx(result.headline.value)
        assert len(columns["id"]) == 18
    assert plain.headline.low <= np.min(plain.seeds)
    assert (low.dataset, low.variant) == (f"{plain.dataset}@1-shot", {"train_fraction": "1-shot", "of": plain.task})
    assert plain.variant == {}


def test_seeds_are_for_probes_that_draw(videos: Path, tmp_path: Path) -> None:
    (knn,) = evaluate(build("", videos), [InOrder()], ["knn"], config=config(tmp_path, seeds=4))
    assert len(knn.seeds) == 1
    truth = results.read_predictions(tmp_path / "run" / knn.predictions)["truth"]
    assert knn.chance == pytest.approx(100 * max(Counter(truth).values()) / len(truth))
    assert list(knn.scores) == ["top-1", "mean class accuracy"]


def test_perturbed_tests_share_one_training(videos: Path, tmp_path: Path) -> None:
    settings = config(tmp_path, counterfactual=True)
    result = evaluate(build("", videos), [InOrder()], [Spy()], config=settings)
    assert [r.probe for r in result] == ["spy", *(f"spy+{s}:{how}" for s in ("test", "both") for how in PERTURBATIONS)]
    assert len(Spy.trained) == 5 * (1 + 4)  # of five folds: one for all tests, one for each altered training
    assert {r.variant.get("sides") for r in result} == {None, "test", "both"}
    assert result[1].variant == {"altered": "reversed", "sides": "test", "of": result[0].task}
    assert evaluate(build("", videos), [InOrder()], [Spy()], config=settings) == result
    assert len(Spy.trained) == 25


def test_altered_together_is_altered_alone(videos: Path, tmp_path: Path) -> None:
    whole = build("", videos)
    dataset = replace(whole, folds=whole.folds[:2])
    for name in ("knn", "linear+epochs=4+warmup=1"):
        whole_run = replace(config(tmp_path / "together", counterfactual=True), run=tmp_path / name)
        together = evaluate(dataset, [InOrder()], [name], config=whole_run)
        apart = [replace(config(tmp_path / "alone"), run=tmp_path / r.probe) for r in together]
        alone = [evaluate(dataset, [InOrder()], [r.probe], config=c)[0] for r, c in zip(together, apart, strict=True)]
        assert [r.headline for r in together] == [r.headline for r in alone]


def test_an_encoder_that_sees_only_order_loses_it(videos: Path, tmp_path: Path) -> None:
    real, back = evaluate(build("", videos), [InOrder()], ["knn+k=3", "knn+k=3+test=reversed"], config=config(tmp_path))
    assert real.headline.value >= back.headline.value


def test_probes_are_grouped_by_what_they_train() -> None:
    one, two = LinearProbe(), replace(LinearProbe(), name="other", lr=0.2)
    group = [one, two, perturb(one, "frozen", "test"), perturb(one, "frozen", "both"), KNNProbe()]
    assert [[p.name for p in g] for g in group_by_training(group)] == [
        ["linear", "linear+test:frozen"],
        ["other"],
        ["linear+both:frozen"],
        ["knn"],
    ]
    cheat = replace(one, select="best-on-test")
    assert len(group_by_training([cheat, perturb(cheat, "frozen", "test")])) == 2
    assert perturb(one, "reversed", "test").test == View(Reversed(Uniform()))


def test_a_name_with_an_at_sign_is_no_share() -> None:
    dataset = replace(many(), name="me@home")
    assert dataset.family == "me@home"
    low = replace(dataset, name="me@home@5%", train_fraction="5%")
    assert low.family == "me@home"
    assert variant_of(low, probe("knn")) == {"train_fraction": "5%", "of": "me@home:knn"}


def test_classes_made_of_parts_score_the_product_of_their_parts(videos: Path, tmp_path: Path) -> None:
    """Verb and noun apart, then P(verb) P(noun), against the two asked alone."""
    base = build("", videos)
    pairs = (0, 1, 0), (0, 0, 1)
    made = replace(
        base, name="pairs", factors=pairs, factor_classes=(("x", "y"), ("p", "q")), factor_names=("verb", "noun")
    )
    fold = base.folds[0]
    whole = replace(made, folds=(fold,))
    parts = []
    for of, classes in zip(pairs, made.factor_classes, strict=True):
        examples = tuple(replace(e, truth=of[e.truth]) for e in base.examples)
        parts.append(replace(base, name=f"part {classes}", examples=examples, classes=classes, folds=(fold,)))
    for name in ("knn+k=4", "linear+epochs=9+warmup=1+min_steps=0"):
        settings = config(tmp_path / name)
        (product,) = evaluate(whole, [InOrder()], [name], config=settings)
        each = [evaluate(p, [InOrder()], [name], config=settings)[0] for p in parts]
        shares = [_table(settings, r, 2) for r in each]
        expected = np.stack([shares[0][:, v] * shares[1][:, n] for v, n in zip(*pairs, strict=True)], axis=1)
        np.testing.assert_allclose(_table(settings, product, 3), expected, atol=1e-6)


def _table(settings: EvaluationConfig, result: results.Result, classes: int) -> np.ndarray:
    columns = results.read_predictions(settings.run / result.predictions)
    actual = np.zeros((len(columns["id"]), classes))
    for row, (top, score) in enumerate(zip(columns["top"], columns["score"], strict=True)):
        actual[row, top] = score
    return actual


@dataclass(frozen=True, kw_only=True)
class Lost(Spy):
    """A head that diverged: its predictions are no numbers."""

    def predict(self, train: Features[int], test: Features[int], *, seed: int) -> list[np.ndarray]:
        return [np.full(len(test.classes), np.nan, np.float32) for _ in test.examples]

    def outcomes(self, predictions: Any, truth: Any) -> list[float]:
        return KNNProbe().outcomes(predictions, truth)


def test_non_finite_predictions_are_rejected_not_dropped(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN scores for 4 of 4 examples"):
        evaluate(build("", videos), [InOrder()], [Lost()], config=config(tmp_path))


@pytest.mark.parametrize("text", ["attentive+epochs=2+min_steps=0", "linear/paper+epochs=2+warmup=0"])
def test_a_video_that_breaks_live_is_missing_and_never_replaced(videos: Path, tmp_path: Path, text: str) -> None:
    """Without a budget for grids everything is live; one broken video on each side."""
    dataset = build("", videos)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    fold = dataset.folds[0]
    bad = {fold.train[0], fold.test[0]}
    examples = tuple(replace(e, path=str(broken)) if e.id in bad else e for e in dataset.examples)
    one = replace(dataset, examples=examples, folds=(fold,))
    (result,) = evaluate(one, [InOrder()], [text], config=config(tmp_path))
    assert set(result.missing) == bad
    assert (result.n, result.expected) == (len(fold.test) - 1, len(fold.test))
    assert result.coverage == pytest.approx((len(fold.test) - 1) / len(fold.test))


GRID = View(Uniform(), "grid", stored=False)


def test_workers_of_live_features_end_with_their_question(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many folds, tests and seeds: never more pools than one question reads at once."""
    pools: list[Any] = []
    monkeypatch.setattr(
        "vitascope.features.live.decoder_pool", lambda *how: pools.append(decoder_pool(*how)) or pools[-1]
    )
    working: list[int] = []

    @dataclass(frozen=True, kw_only=True)
    class Reads(Spy):
        train: View = GRID
        test: View = GRID

        def predict(self, train: Features[int], test: Features[int], *, seed: int) -> list[np.ndarray]:
            list(train.batches(8))
            list(test.batches(8))
            working.append(sum(any(pool._workers) for pool in pools))
            return super().predict(train, test, seed=seed)

    whole = build("", videos)
    evaluate(replace(whole, folds=whole.folds[:2]), [InOrder()], [Reads()], config=config(tmp_path, seeds=2))
    assert working == [2] * 4
    assert not any(any(pool._workers) for pool in pools)


def test_a_cost_estimate_counts_draws_trainings_and_recorded_tasks(videos: Path, tmp_path: Path) -> None:
    """Clips of live passes by hand: 18 videos in five folds, each tested once and trained four times."""
    dataset = build("", videos)
    vjepa = "attentive/vjepa+epochs=2+batch=8"
    given = {"counterfactual": True, "low_shot": ("1-shot",)}
    (estimate,) = estimate_costs(dataset, [InOrder()], [vjepa], config=config(tmp_path, **given))
    clips = {step.what.rpartition(":" + vjepa)[2]: step.clips for step in estimate.steps if "@" not in step.what}
    train, test = 2 * (4 * 18) * 8, 18 * 24
    assert clips == {
        "": train + test,
        **{f"+test:{how}": test for how in PERTURBATIONS},
        **{f"+both:{how}": train + test for how in PERTURBATIONS},
    }
    low = next(step for step in estimate.steps if step.what == f"{dataset.name}@1-shot:{vjepa}")
    assert low.clips == 2 * (5 * 3) * 8 + test
    assert not (tmp_path / "run").exists()
