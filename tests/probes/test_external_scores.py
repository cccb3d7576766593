"""Scores of classes from elsewhere: every form there is, and every way it can be wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vitascope.probes.temporal.external_scores import class_scores

CLASSES = ["dive", "jump", "throw"]


def test_every_form(tmp_path):
    forms = {
        "list.json": {"v": [0.1, 0.7, 0.2]},
        "names.json": {"v": {"jump": 0.7, "dive": 0.1, "throw": 0.2}},
        "numbers.json": {"v": {"1": 0.7, "0": 0.1, "2": 0.2}},
        "results.json": {"version": "1.3", "results": {"v": [[0.1, 0.7, 0.2]]}},
    }
    for name, table in forms.items():
        (tmp_path / name).write_text(json.dumps(table))
    np.savez(tmp_path / "arrays.npz", v=np.array([0.1, 0.7, 0.2], np.float32), w=np.zeros(3))
    for name in (*forms, "arrays.npz"):
        np.testing.assert_allclose(class_scores(str(tmp_path / name), CLASSES, ["v"])["v"], [0.1, 0.7, 0.2], atol=1e-7)


def test_unlisted_classes_score_zero(tmp_path):
    (tmp_path / "s.json").write_text('{"v": {"throw": 2.0}}')
    assert class_scores(str(tmp_path / "s.json"), CLASSES, ["v"])["v"].tolist() == [0, 0, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"video_1": [1, 2, 3]}', "no scores for 1 of 1 videos (video_2); did you mean 'video_1'?"),
        ('{"video_2": [1, 2]}', "video_2: 2 scores for 3 classes"),
        ('{"video_2": {"jmup": 1}}', "invalid entry 'jmup': 1; did you mean 'jump'?"),
        ('{"video_2": {"3": 1}}', "invalid entry '3': 1"),
        ('{"video_2": {"jump": "high"}}', "invalid entry 'jump': 'high'"),
        ('{"video_2": ["a", "b", "c"]}', "video_2: not numbers"),
        ('{"video_2": [1, NaN, 0]}', "NaN is not a finite number"),
        ("[1, 2]", "class scores are .json with {video id"),
        ("{", "invalid JSON"),
    ],
)
def test_invalid_files_are_rejected(tmp_path, text, message):
    file = tmp_path / "s.json"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        class_scores(str(file), CLASSES, ["video_2"])
    assert str(file) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"), [("s.pkl", "numpy.savez"), ("s.csv", "convert it"), ("s.json", "no such file")]
)
def test_no_such_file(tmp_path, name, message):
    with pytest.raises(ValueError) as caught:
        class_scores(str(tmp_path / name), CLASSES, [])
    assert message in str(caught.value)
