"""Telling versions apart: classifiers against scikit-learn, scores by hand, noise, ties, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset, Example, Fold, Segment
from vitascope.datasets.open import open_dataset
from vitascope.encoders.base import Tokens
from vitascope.encoders.load import load
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.base import StoredFeatures
from vitascope.features.encode import encode_clips
from vitascope.features.extract import ExtractionOptions
from vitascope.metrics.permutation import relabelings
from vitascope.motionlab.render import render
from vitascope.motionlab.scene import APPEARANCES, sample
from vitascope.probes import base
from vitascope.probes.direction.classifiers import lda, logistic, orders, standardize
from vitascope.probes.direction.picture import picture, separable
from vitascope.probes.direction.selection import selected
from vitascope.probes.direction.vectors import read_versions
from vitascope.probes.methods.direction import build
from vitascope.probes.options import probe
from vitascope.sampling.names import parse


def vectors(count: int, versions: int, size: int, seed: int = 0, gap: float = 0.0) -> np.ndarray:
    """Vectors with something of the video in all versions, and a difference of `gap` between these."""
    rng = np.random.default_rng(seed)
    video, each = rng.standard_normal((count, 1, size)), rng.standard_normal((count, versions, size))
    return video + each + gap * rng.standard_normal((1, versions, size))


def features(values: np.ndarray, names: str = "v", groups: int = 0) -> StoredFeatures:
    """Features of examples with one clip in each version; every example is a group of its own unless there are some."""
    count, versions, size = values.shape
    examples = [
        Example(id=f"{names}{i}", path="", truth=0, group=f"{names}g{i % groups}" if groups else None)
        for i in range(count)
    ]
    flat = torch.from_numpy(values.reshape(-1, size)).float()
    return StoredFeatures(examples, ("a", "b"), flat, torch.arange(0, count * versions + 1, versions))


def scored(asked: Any, train: StoredFeatures, test: StoredFeatures) -> Any:
    predictions = asked.predict(train, test, seed=0)
    folds = [0] * len(test.examples)
    return asked.score_predictions(
        base.TestPredictions(test.examples, folds, predictions, ("a", "b")), np.random.default_rng(0)
    )


def relabeled(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shown = [v[orders(values.shape[1])[label]] for v, label in zip(values, labels, strict=True)]
    return np.stack(shown).reshape(-1, values.shape[2])


def decisions(scores: np.ndarray) -> np.ndarray:
    return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores - scores.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("versions", [2, 3])
def test_lda_is_scikit_learn_s_in_every_relabeling(versions):
    values = vectors(50, versions, 20, gap=0.3)
    labels = relabelings([str(i // 2) for i in range(50)], versions, 3, 0)
    scaled, fitted = standardize(values), lda(values, labels)
    standard = (values - scaled.center) / scaled.scale
    every, keep = standard.reshape(-1, 20), 1 - scaled.shrinkage
    for b in range(4):
        rows = relabeled(standard, labels[:, b])
        means = rows.reshape(-1, versions, 20).mean(axis=0)
        total = rows.T @ rows / len(rows)
        within = keep * (total - means.T @ means / versions) + scaled.shrinkage * np.trace(total) / 20 * np.eye(20)
        known = Given(within)
        theirs = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=known)
        theirs.fit(rows, np.tile(np.arange(versions), 50))
        ours = decisions(values.reshape(-1, 20) @ fitted.weights[b].T + fitted.offsets[b])
        np.testing.assert_allclose(
            ours, decisions(columns(theirs.decision_function(every))), atol=1e-9 * np.abs(ours).max()
        )


class Given:
    """A covariance that is known."""

    def __init__(self, covariance: np.ndarray) -> None:
        self.covariance_ = covariance

    def fit(self, _: Any) -> Any:
        return self


def columns(scores: np.ndarray) -> np.ndarray:
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)


def test_shrinkage_is_ledoit_and_wolf_s_with_a_video_as_one_observation():
    rows = vectors(60, 1, 25)[:, 0] @ np.random.default_rng(1).standard_normal((25, 25))
    found = standardize(np.stack([rows, rows], axis=1)).shrinkage
    standard = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    assert found == pytest.approx(ledoit_wolf_shrinkage(standard, assume_centered=True), rel=1e-10)
    assert 0.1 < found < 1


@pytest.mark.parametrize("versions", [2, 3])
def test_logistic_regression_is_scikit_learn_s(versions):
    values = vectors(50, versions, 8, gap=0.5)
    labels = relabelings([str(i) for i in range(50)], versions, 2, 0)
    scaled, fitted = standardize(values), logistic(values, labels, 0.1)
    standard = (values - scaled.center) / scaled.scale
    for b in range(3):
        theirs = LogisticRegression(C=0.1, tol=1e-10, max_iter=2000)
        theirs.fit(relabeled(standard, labels[:, b]), np.tile(np.arange(versions), 50))
        expected = decisions(columns(theirs.decision_function(standard.reshape(-1, 8))))
        ours = decisions(values.reshape(-1, 8) @ fitted.weights[b].T + fitted.offsets[b])
        np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_outcomes_compare_every_video_with_itself():
    train, test = vectors(40, 2, 6, gap=1.0), vectors(15, 2, 6, seed=1, gap=0.0)
    labels = relabelings([f"t{i}" for i in range(40)] + [f"v{i}" for i in range(15)], 2, 20, 0)
    found = replace(build(), permutations=20).predict(features(train, "t"), features(test))
    for b in range(21):
        rows = relabeled(train, labels[:40, b])
        fitted = lda(rows.reshape(40, 2, 6), labels[:40, :1] * 0)
        projected = test @ (fitted.weights[0, 0] - fitted.weights[0, 1])
        right = (projected[:, 0] > projected[:, 1]) != (labels[40:, b] == 1)
        assert [p.outcomes[b] == 36 for p in found] == right.tolist()
    assert [p.outcome for p in found] == [100.0 * (p.scores[0, 0] > p.scores[1, 0]) for p in found]


def test_clips_of_a_version_are_averaged():
    values = np.arange(24.0).reshape(12, 2)
    stored = StoredFeatures(
        [Example(id=i, path="", truth=0) for i in "ab"],
        ("x",),
        torch.from_numpy(values).float(),
        torch.tensor([0, 4, 12]),
    )
    means = read_versions(stored, 2).values
    np.testing.assert_array_equal(means[0], [values[:2].mean(0), values[2:4].mean(0)])
    np.testing.assert_array_equal(means[1], [values[4:8].mean(0), values[8:].mean(0)])
    with pytest.raises(UserError, match="not 3 versions of the same number"):
        read_versions(stored, 3)


@pytest.mark.parametrize("name", ["", "logistic", "shuffled", "speed"])
def test_equal_vectors_are_guessed_exactly_whatever_rounding_did_to_them(name):
    asked = replace(build(name), permutations=50)
    count = len(asked.versions)
    values = vectors(30, 1, 64).repeat(count, axis=1)
    # later versions are larger throughout, as sums in another order may be
    values = values * (1 + 3e-7 * np.arange(count)[:, None]) + 1e-7 * np.arange(count)[:, None]
    for stored in (values, values.astype(np.float16).astype(np.float64)):
        found = scored(asked, features(stored[:20], "t"), features(stored[20:]))
        assert [score.value for score in found.scores.values()] == pytest.approx([100 / count] * len(found.scores))
        assert count == 3 or {score.value for score in found.scores.values()} == {50.0}
        assert found.diagnosis["versions"]["tied"] == 10
        assert found.diagnosis["versions"]["p"] == 1.0
        assert found.chance == 100 / count


def test_a_weak_difference_is_no_tie():
    values = vectors(60, 1, 64).repeat(2, axis=1)
    values[:, 1] += 1e-3 * np.random.default_rng(3).standard_normal(64)
    found = scored(replace(build(), permutations=50), features(values[:40], "t"), features(values[40:]))
    assert found.diagnosis["versions"]["tied"] == 0
    assert found.scores["pairwise"].value == 100.0


@pytest.mark.parametrize(("name", "groups"), [("", 0), ("", 6), ("speed", 0)])
def test_noise_is_at_chance_within_its_interval(name, groups):
    asked, covered = replace(build(name), permutations=1), 0  # the interval needs none
    for seed in range(40):
        values = vectors(60, len(asked.versions), 10, seed)
        found = scored(asked, features(values[:40], f"{seed}t", groups), features(values[40:], f"{seed}v", groups))
        score = next(iter(found.scores.values()))
        covered += score.low <= 100 / len(asked.versions) <= score.high
    assert covered >= 34  # of 40 at 95 %, fewer once in 500 times


def test_the_picture_separates_noise():
    assert 60 < separable(100, 1024) < 80  # of 1,024 numbers: 69 with 100 points a side, 100 with 500
    assert separable(100, 200) > 90
    drawn = picture(*(read_versions(features(vectors(n, 2, 200, seed=n)), 2) for n in (60, 40)))
    assert drawn["accuracy"] > 90
    assert drawn["noise"] > 90
    assert (drawn["videos"], drawn["size"], np.shape(drawn["points"])) == (100, 200, (100, 2, 2))


def clips(motion: str, count: int, encoder: Any) -> StoredFeatures:
    """Vectors of MotionLab's clips of one motion, forward and reversed, as the evaluation makes them of its files."""
    rng = np.random.default_rng(0)
    shown = [render(sample(APPEARANCES[i % 24], motion, rng), side=encoder.card.size) for i in range(count)]
    frames = np.stack([s[np.linspace(0, 23, encoder.card.frames).round().astype(int)] for s in shown])
    both = torch.from_numpy(np.stack([frames, frames[:, ::-1]], axis=1).reshape(-1, *frames.shape[1:]))
    values = torch.cat([encode_clips(encoder, part).clip for part in both.split(8)]).half().double().numpy()
    return features(values.reshape(count, 2, -1), motion)


def half(stored: StoredFeatures, first: bool) -> StoredFeatures:
    middle = len(stored.examples) * 2 // 3
    rows = slice(0, 2 * middle) if first else slice(2 * middle, None)
    examples = stored.examples[:middle] if first else stored.examples[middle:]
    return StoredFeatures(examples, stored.classes, stored.values[rows], torch.arange(0, 2 * len(examples) + 1, 2))


def test_motion_is_seen_by_a_video_encoder_and_by_no_mean_of_frames():
    for name, least, most in (("tiny/twlv1", 90.0, 100.0), ("pixels/thumbnail", 50.0, 50.0)):
        stored = clips("up", 30, load(name))
        found = scored(replace(build(), permutations=50), half(stored, True), half(stored, False))
        assert least <= found.scores["pairwise"].value <= most, name


class FramewiseNetwork:
    """A nonlinear function of every frame, and the mean over frames, as image encoders are applied to videos."""

    card = Card(name="lab/frames", digest="1", dim=32, frames=8, size=16, mean=(0.5,) * 3, std=(0.2,) * 3)

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        weights = torch.randn(768, 32, generator=torch.Generator().manual_seed(0))
        frames = torch.tanh(clips.transpose(1, 2).flatten(2) @ weights / 20)
        return Tokens(frames[:, :, None, None], frames.mean(dim=1))


def config(tmp_path: Any) -> EvaluationConfig:
    return EvaluationConfig(
        run=tmp_path / "run", store=tmp_path / "store", options=ExtractionOptions(workers=1, quiet=True)
    )


def test_any_folder_with_labels_or_without(videos, tmp_path):
    named = evaluate(
        videos,
        [FramewiseNetwork()],
        ["direction+classes=right,LEFT+permutations=9", "direction+folds=2+permutations=9", "knn"],
        config=config(tmp_path),
    )
    by_probe = {r.probe: r for r in named}
    assert by_probe["direction+classes=right,LEFT+permutations=9"].n == 12
    assert by_probe["direction+classes=right,LEFT+permutations=9"].per_class.keys() == {"right", "left"}
    assert by_probe["knn"].n == 18
    for result in (r for r in named if r.probe != "knn"):
        assert result.headline.value == 50.0
        assert result.chance == 50.0
        assert len(result.folds) == (2 if "folds" in result.probe else 5)
    (alone,) = evaluate(videos / "down", [FramewiseNetwork()], ["direction+permutations=9"], config=config(tmp_path))
    assert (alone.n, alone.headline.value) == (6, 50.0)
    with pytest.raises(UserError, match="no videos in class folders"):
        evaluate(videos / "down", [FramewiseNetwork()], ["direction", "knn"], config=config(tmp_path))


def test_reversed_views_of_imported_embeddings_are_refused(tmp_path):
    card = replace(FramewiseNetwork.card, frames=0)
    examples = tuple(Example(id=str(i), path="", truth=i % 2) for i in range(8))
    fold = Fold(name="f", train=tuple("0123"), test=tuple("4567"))
    data = Dataset(
        name="d", examples=examples, classes=("a", "b"), folds=(fold,), cards=(card,), store=str(tmp_path / "store")
    )
    for asked, how in (
        ("direction", "reversed"),
        ("direction/shuffled", "shuffled"),
        ("knn+test=reversed", "reversed"),
    ):
        with pytest.raises(UserError, match=f"{how} clips cannot be made of imported ones.*evaluate an encoder"):
            evaluate(data, [], [asked], config=config(tmp_path))


def dataset(count: int = 12, **given: Any) -> Dataset[Any]:
    examples = tuple(Example(id=str(i), path="", truth=i % 3, group=f"g{i // 2}") for i in range(count))
    ids = tuple(e.id for e in examples)
    return Dataset(
        **{
            "name": "d",
            "examples": examples,
            "classes": ("up", "down, slowly", "still"),
            "class_groups": {"moving": (0, 1)},
            "folds": (Fold(name="split", train=ids[: count // 2], test=ids[count // 2 :]),),
            **given,
        }
    )


def test_classes_are_chosen_by_name_or_group():
    data = dataset()
    assert selected(data, "", 0, "direction") is data
    for text in ("moving", "UP,down, slowly", "down, slowly,up", "moving,up"):
        assert {e.truth for e in selected(data, text, 0, "direction").examples} == {0, 1}, text
    part = selected(data, "down, slowly", 0, "direction")
    assert (part.folds[0].train, part.folds[0].test) == (("1", "4"), ("7", "10"))
    for wrong, near in (("movin", "'moving'"), ("up,dwn, slowly", ""), ("stil", "'still'")):
        with pytest.raises(UserError, match=f"no class .*{f'did you mean {near}' if near else ''}.*groups are moving"):
            selected(data, wrong, 0, "direction")


def test_folds_never_divide_a_group_and_replace_a_missing_side():
    data = dataset()
    one_sided = replace(dataset(16), missing_files=dict.fromkeys(dataset(16).folds[0].train, "gone"))
    for part, count in ((selected(data, "", 3, "d"), 12), (selected(one_sided, "", 0, "d"), 8)):
        group = part.by_id()
        tested = [i for f in part.folds for i in f.test]
        assert len(tested) == len(set(tested)) == count
        for fold in part.folds:
            assert not {group[i].group for i in fold.train} & {group[i].group for i in fold.test}
    with pytest.raises(UserError, match="2 videos of d in too few groups"):
        selected(dataset(2), "", 0, "direction")
    with pytest.raises(UserError, match="a single fold has nothing to train on"):
        selected(data, "", 1, "direction")


def test_actions_of_long_videos_are_examples():
    actions = (Segment(0.0, 2.0, 1), Segment(3.0, 4.5, 0))
    data = dataset(8, kind="localization")
    data = replace(data, examples=tuple(replace(e, truth=actions) for e in data.examples))
    part = selected(data, "up", 0, "direction")
    assert part.kind == "recognition"
    assert {e.span for e in part.examples} == {(3.0, 4.5)}
    assert part.folds[0].train == tuple(f"{i}@3.00-4.50:0" for i in range(4))
    assert {e.group for e in part.examples} == {f"g{i}" for i in range(4)}


def test_motionlab_has_families_of_motions(monkeypatch, tmp_path):
    from vitascope.datasets.builders import motionlab

    monkeypatch.setattr(motionlab, "make", lambda *_, **__: None)
    data = open_dataset("motionlab/motion-tiny")
    sizes = {name: len(numbers) for name, numbers in data.class_groups.items()}
    assert sizes == {"reversible": 16, "translations": 8, "rotations": 4, "scalings": 2, "distances": 2}
    part = probe("direction+classes=scalings").part_of(data)
    assert {part.classes[e.truth] for e in part.examples} == {"grow", "shrink"}


def test_each_class_has_a_classifier_of_its_own():
    values, sign = vectors(80, 2, 6) * 0.3, np.where(np.arange(80) % 2, 1.0, -1.0)
    values[:, 0, 0] += sign
    values[:, 1, 0] -= sign  # what is forward in one class is reversed in the other
    stored = features(values)
    examples = [replace(e, truth=i % 2) for i, e in enumerate(stored.examples)]
    sides = [
        StoredFeatures(examples[part], ("a", "b"), stored.values[rows], torch.arange(0, 2 * count + 1, 2))
        for part, rows, count in ((slice(0, 50), slice(0, 100), 50), (slice(50, 80), slice(100, 160), 30))
    ]
    apart, together = (scored(replace(build(name), permutations=50), *sides) for name in ("classes", ""))
    assert apart.scores["pairwise"].value == 100.0
    assert 25 < together.scores["pairwise"].value < 75
    assert apart.per_class["b"].value == 100.0


def test_a_view_without_versions_gets_them():
    assert probe("direction+test=multiclip:2").test.sampler == parse("versions(multiclip:2)")
    assert probe("direction/speed+train=uniform:ends").train.sampler == parse("versions(uniform:ends,speed)")
    assert probe("direction+both=frozen").train.sampler == parse("frozen(versions(uniform))")
