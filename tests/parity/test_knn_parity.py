"""kNN with the whole bank against the values of the published evaluation, made correct, on two embedding sets."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import parity
from vitascope.core.types import Example
from vitascope.features.base import StoredFeatures
from vitascope.probes.methods import knn
from vitascope.probes.methods.knn import KNNProbe

CLASSES = [f"c{i}" for i in range(40)]


def side(data, name: str, kind: str) -> StoredFeatures:
    """The vectors of one split, a row a clip or a row a video."""
    truth = data[f"{name}_label"].tolist()
    examples = [
        Example(id=i, path=f"{i}.mp4", truth=t) for i, t in zip(data[f"{name}_id"].tolist(), truth, strict=True)
    ]
    counts = data[f"{name}_count"] if kind == "clip" else np.ones(len(truth), np.int64)
    values = data[f"{name}_{'clips' if kind == 'clip' else 'video'}"]
    first = torch.from_numpy(np.concatenate([[0], counts.cumsum()]))
    return StoredFeatures(examples, CLASSES, torch.from_numpy(values), first)


@pytest.mark.parametrize("mode", ["video->video", "video->clip", "clip->video", "clip->clip"])
@pytest.mark.parametrize("name", ["knn_small", "knn0"])
def test_every_mode(name: str, mode: str):
    data = np.load(parity(f"metrics/{name}.npz"), allow_pickle=False)
    expected = json.loads(parity(f"metrics/{name}.expected.json").read_text())
    train, test = (side(data, part, kind) for part, kind in zip(("train", "val"), mode.split("->"), strict=True))
    probe = KNNProbe(k=expected["k"], tau=expected["temperature"], center=False)
    scores = probe.score(probe.predict(train, test), [e.truth for e in test.examples])
    assert scores["top-1"] == pytest.approx(expected["modes"][mode]["full_top1"], abs=1e-4)
    assert scores["top-5"] == pytest.approx(expected["modes"][mode]["full_top5"], abs=1e-4)


def test_the_video_column_averages_the_clips_itself():
    data = np.load(parity("metrics/knn_small.npz"), allow_pickle=False)
    expected = json.loads(parity("metrics/knn_small.expected.json").read_text())
    train, test = side(data, "train", "clip"), side(data, "val", "clip")
    probe = replace(knn.build("paper-video"), train=knn.build().train, test=knn.build().test)
    scores = probe.score(probe.predict(train, test), [e.truth for e in test.examples])
    assert scores["top-1"] == pytest.approx(expected["modes"]["video->video"]["full_top1"], abs=1e-4)
    assert scores["top-5"] == pytest.approx(expected["modes"]["video->video"]["full_top5"], abs=1e-4)
