"""The authors' own annotations of UCF101-24 and JHMDB, against what plain pickle reads; the videos are elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from copies import sides
from helpers import required
from vitascope.datasets.builders import jhmdb, ucf101_24

Unpack = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("unchecked")
required("annotations", "the real annotation files")


def test_ucf101_24(unpacked: Unpack, tmp_path: Path) -> None:
    pyannot = unpacked("ucf101_24_detection") / "pyannot.pkl"
    (tmp_path / "pyannot.pkl").symlink_to(pyannot)
    (tmp_path / "annotations").symlink_to(unpacked("ucf101"))
    dataset = ucf101_24.annotated("", tmp_path)
    assert dict(zip(("train", "test"), map(len, sides(dataset)), strict=True)) == dataset.official_counts
    raw = pickle.loads(pyannot.read_bytes())
    assert {e.group for e in dataset.examples} == set(raw)
    assert sum(len(e.truth.actors) for e in dataset.examples) == 573_862
    name, video = next(iter(raw.items()))
    own = [e for e in dataset.examples if e.group == name]
    x, y, w, h = video["annotations"][0]["boxes"].astype(float).T
    expected = np.stack([x / 320, y / 240, (x + w) / 320, (y + h) / 240], 1)
    assert np.array([a.box for e in own for a in e.truth.actors]) == pytest.approx(expected)
    assert [t for e in own for t in e.truth.times] == [n / 25 for n in range(video["numf"])]


def test_jhmdb(unpacked: Unpack) -> None:
    root = unpacked("jhmdb_detection")
    raw = pickle.loads((root / "JHMDB-GT.pkl").read_bytes(), encoding="latin-1")
    for split in ("1", "2", "3"):
        dataset = jhmdb.annotated(split, root)
        assert dict(zip(("train", "test"), map(len, sides(dataset)), strict=True)) == dataset.official_counts
    assert list(dataset.classes) == raw["labels"]
    name, tubes = next(iter(raw["gttubes"].items()))
    ((label, (tube,)),) = tubes.items()
    (own,) = (e for e in dataset.examples if e.group == name)
    assert np.array([a.box for a in own.truth.actors]) == pytest.approx(tube[:, 1:] / [320, 240, 320, 240])
    assert [a.time for a in own.truth.actors] == [(n - 1) / 30 for n in tube[:, 0].tolist()]
    assert {a.labels for a in own.truth.actors} == {(label,)}
