"""Aggregation from the command line's names to results: options, kNN, the sweep against the mean, and the report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import required
from vitascope import report
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, digest, plain
from vitascope.evaluation import results
from vitascope.evaluation.evaluate import evaluate
from vitascope.features import aggregators
from vitascope.features.aggregation import aggregated
from vitascope.features.base import ClipSpans, StoredFeatures
from vitascope.features.imports.twelvelabs import import_twelvelabs
from vitascope.features.view import View
from vitascope.metrics import stats
from vitascope.metrics.gains import gains
from vitascope.probes.base import TestPredictions as Predicted
from vitascope.probes.classification.aggregate_sweep import CHOICES, AggregateSweep, sees_order
from vitascope.probes.methods.knn import KNNProbe
from vitascope.probes.options import options, probe
from vitascope.sampling.names import MultiClip

CLASSES = ("up", "down", "still")


def features(subjects: range, clips: int = 6, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> StoredFeatures:
    """Videos whose class is the way a vector goes: with time, against it, or nowhere; their means are alike."""
    rng = np.random.default_rng(seed)
    examples, values = [], []
    for subject in subjects:
        for label in range(len(classes)):
            ramp = np.linspace(-1, 1, clips)[:, None] * np.eye(8)[0] * (1, -1, 0)[label]
            values.append(ramp + rng.normal(0, 0.5, 8) + rng.normal(0, 0.25, (clips, 8)))
            examples.append(Example(id=f"s{subject}c{label}", path="", truth=label, group=f"s{subject}"))
    offsets = torch.arange(len(examples) + 1) * clips
    table = np.tile(np.stack([np.arange(clips), np.arange(clips) + 1.0], axis=1), (len(examples), 1))
    flat = torch.from_numpy(np.concatenate(values)).float()
    return StoredFeatures(examples, classes, flat, offsets, ClipSpans(table, offsets))


TRAIN, TEST = features(range(12)), features(range(12, 20), seed=1)


def through(text: str, train: StoredFeatures = TRAIN, test: StoredFeatures = TEST) -> np.ndarray:
    made = probe(text)
    first, (second,) = aggregated(train, [test], made.train, [made.test])
    return np.stack(made.predict(first, second, seed=0))


class TestOptions:
    def test_agg_is_of_both_views(self) -> None:
        made = probe("knn/clip+agg=dct:3")
        assert made.train == made.test == View(MultiClip(2.0), agg=aggregators.DCT(3))
        assert made.name == "knn/clip+agg=dct:3"
        own = probe("linear+train=multiclip:1+test=multiclip:0.5+agg=levy")
        assert (own.train.sampler, own.test.agg) == (MultiClip(1.0), aggregators.Levy(64))
        assert probe("knn/clip+agg=none").train.agg is None
        assert [o.default for o in options(made) if o.name == "agg"] == ["dct:3"]

    def test_without_it_nothing_is_in_the_protocol(self) -> None:
        assert "agg" not in json.dumps(plain(probe("knn/clip")))
        assert "similarity" not in json.dumps(plain(probe("knn/clip")))
        texts = ("knn/clip", "knn/clip+agg=dct:3", "knn/clip+agg=dct", "knn/clip+similarity=dtw", "knn/aggregate")
        assert len({digest(plain(replace(probe(t), name=""))) for t in texts}) == len(texts)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("knn+agg=dct:5", "uniform has one clip a video, so nothing is left to aggregate; use knn/clip"),
            ("attentive+agg=dct:5", "needs stored clip vectors, but this probe reads tokens"),
            ("attentive+train.reduce=time+test.reduce=time+agg=dct", "needs stored clip vectors"),
            ("linear/paper+agg=dct:5", "needs stored clip vectors"),
            ("knn/clip+agg=dtc", "no aggregator 'dtc'; did you mean 'dct'"),
            ("knn/clip+agg=dct:x", "terms = 'x' must be a whole number"),
            ("knn/clip+test.agg=dct", "are aggregated alike; set agg="),
            ("knn/paper-clip+agg=dct", "aggregation centers clip vectors, which center=false forbids"),
            ("localize+agg=dct", "localization tells when something happens, and needs every clip"),
            ("knn/clip+similarity=dtw+agg=dct", "compares all clips of two videos; use it without agg"),
            ("knn/video+similarity=dtw", "use it without mean=true"),
            ("knn+similarity=chamfer", "uniform has one clip a video"),
            ("knn/clip+similarity=dwt", "must be one of cosine, chamfer, dtw; did you mean 'dtw'"),
            ("knn/aggregate+aggs=dct,max", "must be different ones: mean, and what to compare"),
            ("knn/aggregate+aggs=mean,mean", "must be different ones"),
            ("knn/aggregate+aggs=mean,dtc", "no aggregator 'dtc'"),
            ("knn/aggregate+agg=dct", "name them as aggs=mean,dct:5 instead of agg="),
            ("knn/aggregate+test=uniform", "uniform has one clip a video"),
        ],
    )
    def test_what_cannot_be_aggregated(self, text: str, message: str) -> None:
        with pytest.raises(UserError, match=message.replace("+", r"\+")):
            probe(text)


class TestKNN:
    def test_the_mean_of_clips_is_knn_video(self) -> None:
        np.testing.assert_allclose(through("knn/clip+agg=mean"), through("knn/video"), atol=1e-5)

    @pytest.mark.parametrize("kind", ["agg=dct:3", "agg=slope", "similarity=dtw", "agg=order:4"])
    def test_order_tells_classes_apart_that_the_mean_does_not(self, kind: str) -> None:
        truth = [e.truth for e in TEST.examples]
        right = [np.mean(through(text).argmax(1) == truth) for text in ("knn/clip+agg=mean", f"knn/clip+{kind}")]
        assert right[0] < 0.6
        assert right[1] > right[0] + 0.2

    def test_chamfer_is_a_vote_of_brute_similarities(self) -> None:
        made = through("knn/clip+similarity=chamfer+center=false+k=5+tau=0.5")
        unit = [torch.nn.functional.normalize(f.values, dim=1).view(-1, 6, 8).double() for f in (TRAIN, TEST)]
        cosines = torch.einsum("qid,bjd->qbij", unit[1], unit[0])
        similarity = (cosines.amax(3).mean(2) + cosines.amax(2).mean(2)) / 2
        nearest = similarity.topk(5)
        votes = torch.zeros(len(TEST.examples), 3, dtype=torch.float64)
        labels = torch.tensor([e.truth for e in TRAIN.examples])
        votes.scatter_add_(1, labels[nearest.indices], (nearest.values / 0.5).exp())
        np.testing.assert_allclose(made, (votes / votes.sum(1, keepdim=True)).numpy(), atol=1e-5)

    def test_a_sweep_of_k_works_on_sets(self) -> None:
        made = KNNProbe(train=View(MultiClip(2.0)), test=View(MultiClip(2.0)), similarity="dtw", ks=(1, 5), taus=(0.1,))
        found = made.predict(TRAIN, TEST)
        assert [point["k"] for point in found.about["grid"]] == [1, 5]
        alone = replace(made, ks=(), k=found.about["chosen"]["k"]).predict(TRAIN, TEST)
        np.testing.assert_array_equal(np.stack(found), np.stack(alone))


SMALL = ("mean", "max", "dct:3", "chamfer", "dtw")


class TestSweep:
    made = AggregateSweep(aggs=SMALL)
    found = made.predict(TRAIN, TEST, seed=0)

    def test_every_aggregator_predicts_as_it_does_alone(self) -> None:
        for i, name in enumerate(SMALL):
            how = f"similarity={name}" if name in ("chamfer", "dtw") else f"agg={name}"
            np.testing.assert_array_equal([p.classes[i] for p in self.found], through(f"knn/clip+{how}").argmax(1))
            turned = replace(TEST, values=TEST.values.view(-1, 6, 8).flip(1).reshape(-1, 8))
            backwards = through(f"knn/clip+{how}", test=turned).argmax(1)
            np.testing.assert_array_equal([p.backwards[i] for p in self.found], backwards)

    def test_one_is_selected_by_leaving_out_groups_of_the_training_set(self) -> None:
        grid = {point["aggregator"]: point["held-out"] for point in self.found.about["grid"]}
        labels = np.array([e.truth for e in TRAIN.examples])
        right = []
        for subject in range(12):
            rest = [i for i, e in enumerate(TRAIN.examples) if e.group != f"s{subject}"]
            own = [i for i, e in enumerate(TRAIN.examples) if e.group == f"s{subject}"]
            values = TRAIN.values.view(-1, 6, 8)
            center = values.mean((0, 1))  # of all training videos, as the bank has them
            sides = []
            for chosen in (rest, own):
                offsets = torch.arange(len(chosen) + 1) * 6
                flat = (values[chosen] - center).reshape(-1, 8)
                examples = [TRAIN.examples[i] for i in chosen]
                spans = ClipSpans(np.tile(TRAIN.spans[0], (len(chosen), 1)), offsets)
                sides.append(StoredFeatures(examples, CLASSES, flat, offsets, spans))
            k = self.found.about["k"]
            votes = KNNProbe(
                train=View(MultiClip(2.0)), test=View(MultiClip(2.0)), similarity="dtw", k=k, center=False
            ).predict(*sides)
            right += (np.stack(votes).argmax(1) == labels[own]).tolist()
        assert grid["dtw"] == pytest.approx(100 * np.mean(right), abs=1e-3)
        assert self.found.about["chosen"]["aggregator"] == max(grid, key=lambda name: grid[name])
        assert all(p.selected == SMALL.index(self.found.about["chosen"]["aggregator"]) for p in self.found)

    def test_gains_are_paired_differences_with_holms_correction(self) -> None:
        tested = Predicted(TEST.examples, [0] * len(TEST.examples), self.found, CLASSES)
        scored = self.made.score_predictions(tested, np.random.default_rng(0))
        data = scored.diagnosis["aggregation"]
        truth = np.array([e.truth for e in TEST.examples])
        right = {name: 100.0 * (np.array([p.classes[i] for p in self.found]) == truth) for i, name in enumerate(SMALL)}
        groups = [e.group for e in TEST.examples]
        alone = {n: stats.paired(right[n], right["mean"], groups, rng=np.random.default_rng(0)) for n in SMALL[1:]}
        rows = {row["name"]: row for row in data["aggregators"]}
        assert [rows[n]["gain"]["value"] for n in SMALL[1:]] == [g.value for g in alone.values()]
        assert [rows[n]["adjusted"] for n in SMALL[1:]] == stats.holm([g.p for g in alone.values()])
        assert "gain" not in rows["mean"]
        assert {n: row["backwards"] is None for n, row in rows.items()} == {n: not sees_order(n) for n in SMALL}
        assert next(iter(scored.scores)) == "top-1"
        assert scored.columns["outcome"] == self.made.outcomes(self.found, truth.tolist())

    def test_one_clip_a_video_is_refused(self) -> None:
        one = features(range(4), clips=1)
        with pytest.raises(UserError, match="every training video has one clip"):
            self.made.predict(one, one, seed=0)

    @pytest.mark.parametrize(("truth", "factors"), [((0, 1), ()), (0, ((0, 1), (0, 0)))])
    def test_several_labels_are_refused(self, truth: Any, factors: Any) -> None:
        examples = (Example(id="a", path="", truth=truth),)
        dataset: Dataset[Any] = Dataset(name="d", examples=examples, classes=("x", "y"), folds=(), factors=factors)
        with pytest.raises(UserError, match="compares accuracies, but examples of d have"):
            self.made.check_dataset(dataset)


def test_what_sees_order() -> None:
    aware = {name for name in CHOICES if sees_order(name)}
    assert aware == {"pyramid:2", "pyramid:3", "slope", "dct:3", "dct:5", "levy:64", "order:16", "dtw"}


def test_equal_outcomes_gain_nothing() -> None:
    same = {name: np.array([100.0, 0, 100, 0] * 5) for name in ("mean", "a", "b")}
    found = gains(same, "mean", None, seed=0)
    assert [(g.gap.value, g.adjusted, g.verdict) for g in found.values()] == [(0, 1, ""), (0, 1, "")]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings imported from a release, one encoder."""
    folder = tmp_path_factory.mktemp("release")
    for side, part in (("train", TRAIN), ("val", TEST)):
        (folder / side).mkdir()
        for e, a, b in zip(part.examples, part.offsets[:-1], part.offsets[1:], strict=True):
            about = {"annotation": CLASSES[e.truth], "group": e.group, "duration": 6.0}
            (folder / side / f"{e.id}.json").write_text(json.dumps(about))
            np.save(folder / side / f"{e.id}_c.npy", part.values[a:b].numpy())
    import_twelvelabs(folder, folder.parent / "data", encoder="lab/<b>frames", name="ramps")
    return folder.parent / "data"


def test_from_imported_vectors_to_the_report(imported: Path, tmp_path: Path) -> None:
    names = ["knn/clip+agg=dct:3", "linear/lbfgs+train=multiclip:2+test=multiclip:2+agg=dct:3"]
    made = evaluate(imported, [], [*names, f"knn/aggregate+aggs={','.join(SMALL)}"], output=tmp_path)
    assert [r.probe for r in results.read(tmp_path)] == [r.probe for r in made]
    assert min(r.headline.value for r in made) > 50
    assert made[0].chance == made[2].chance == pytest.approx(100 / 3)
    text = str(report.terminal(made, tmp_path).renderables[1].caption)
    assert "selected on the training set, is +" in text
    page = report.write(tmp_path, formats=["html", "md"])
    html = page["html"].read_text()
    assert "Better than the mean" in html
    assert "dct:3 · order" in html
    assert "<b>frames" not in html
    assert "| dct:3" in page["md"].read_text()


def test_every_aggregator_reads_one_store(imported: Path, tmp_path: Path) -> None:
    before = sorted(p for p in (imported / "store").rglob("*") if p.is_file())
    evaluate(imported, [], ["knn/clip", "knn/clip+agg=max", "knn/clip+agg=slope"], output=tmp_path)
    assert sorted(p for p in (imported / "store").rglob("*") if p.is_file()) == before


@pytest.fixture(scope="module")
def strokes() -> tuple[StoredFeatures, StoredFeatures]:
    """Tennis strokes: 16 vectors of single frames each, split by player."""
    folder = required("features/thetis_inceptionv3", "features of tennis strokes")
    values = np.load(folder / "features_pca256_f16.npy").astype(np.float32)
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    names = sorted({row["label"] for row in rows})
    sides = []
    for side in ("train", "val"):
        own = [row for row in rows if row["split"] == side]
        examples = [Example(id=r["clip"], path="", truth=names.index(r["label"]), group=r["subject"]) for r in own]
        flat = torch.from_numpy(values[[int(r["index"]) for r in own]].reshape(-1, 256))
        sides.append(StoredFeatures(examples, names, flat, torch.arange(len(own) + 1) * 16))
    return sides[0], sides[1]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("agg=mean", 21.8), ("agg=dct:5", 44.4)],
)
def test_tennis_strokes(strokes: tuple[StoredFeatures, StoredFeatures], kind: str, expected: float) -> None:
    """The numbers of an independent script: frame vectors centered, blocks of unit length, kNN with 20 neighbors."""
    predicted = through(f"knn/clip+{kind}", *strokes).argmax(1)
    right = [e.truth for e in strokes[1].examples] == predicted
    assert 100 * np.mean(right) == pytest.approx(expected, abs=0.05)
