"""External class scores: predictions of another video classifier, read from a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from vitascope.core import files
from vitascope.core.arrays import read_arrays
from vitascope.core.errors import UserError
from vitascope.core.text import nearest, whole_number
from vitascope.probes.temporal.nms import conditional_softmax

FORMATS = ".json with {video id: [score per class]} or {video id: {class: score}}, or .npz with an array per video"

REMEDY = (
    'a pickle can run arbitrary code; if you trust it, convert it: python -c "import numpy, pickle, sys; '
    "numpy.savez('scores.npz', **pickle.load(open(sys.argv[1], 'rb')))\" FILE.pkl"
)


def probe_scores(
    probe: str, file: str, classes: Sequence[str], videos: Sequence[str], *, softmax: bool
) -> dict[str, Float64[np.ndarray, "k"]]:
    """Class scores of `videos` for the probe called `probe`, through `conditional_softmax` if `softmax`.

    Raises UserError where no file is named; see also `class_scores`.
    """
    if not file:
        raise UserError(f"{probe}: takes class scores from a file; add it: {probe}+scores=FILE.json")
    scores = class_scores(file, classes, videos)
    return {video: conditional_softmax(s) for video, s in scores.items()} if softmax else scores


def class_scores(file: str, classes: Sequence[str], videos: Sequence[str]) -> dict[str, Float64[np.ndarray, "k"]]:
    """Read the class scores of `videos`; classes that a video does not list score 0.

    Raises UserError for a missing file, a format other than `FORMATS`, an unknown class, or a video without scores.
    """
    table = _table(Path(file).expanduser())
    missing = [video for video in videos if video not in table]
    if missing:
        listed = ", ".join([*missing[:3], *(["..."] if len(missing) > 3 else [])])
        raise UserError(
            f"{file}: no scores for {len(missing)} of {len(videos)} videos ({listed})"
            f"{nearest(missing[0], table)}; add them, or leave these videos out"
        )
    return {video: _vector(table[video], classes, f"{file}: {video}") for video in videos}


def _table(path: Path) -> Mapping[str, Any]:
    if path.suffix not in (".json", ".npz"):
        raise UserError(f"{path}: class scores are {FORMATS}; {REMEDY if path.suffix == '.pkl' else 'convert it'}")
    if not path.exists():
        raise UserError(f"{path}: no such file; class scores are {FORMATS}")
    if path.suffix == ".npz":
        return read_arrays(path, f"class scores are {FORMATS}")
    content = files.read_json(path, f"class scores are {FORMATS}")
    table = content.get("results", content) if isinstance(content, dict) else None
    if not isinstance(table, dict):
        raise UserError(f"{path}: class scores are {FORMATS}, not a {type(content).__name__}")
    return table


def _vector(scores: Any, classes: Sequence[str], where: str) -> Float64[np.ndarray, "k"]:
    if isinstance(scores, dict):
        return _vector_by_name(scores, classes, where)
    try:
        vector = np.asarray(scores, np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: not numbers ({error}); class scores are {FORMATS}") from error
    if len(vector) != len(classes):
        raise UserError(f"{where}: {len(vector)} scores for {len(classes)} classes; provide one per class, in order")
    return _check_finite_scores(vector, where)


def _vector_by_name(scores: Mapping[str, Any], classes: Sequence[str], where: str) -> Float64[np.ndarray, "k"]:
    vector = np.zeros(len(classes))
    index = {name: i for i, name in enumerate(classes)}
    for name, score in scores.items():
        class_index = index.get(name, whole_number(name))
        if class_index is None or not 0 <= class_index < len(classes) or not _is_score(score):
            raise UserError(
                f"{where}: invalid entry {name!r}: {score!r}{nearest(name, classes)}; expected a class and a number"
            )
        vector[class_index] = score
    return _check_finite_scores(vector, where)


def _is_score(value: Any) -> bool:
    """Whether a value is a number, and no integer that is too large for one."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _check_finite_scores(vector: Float64[np.ndarray, "k"], where: str) -> Float64[np.ndarray, "k"]:
    if not np.isfinite(vector).all():
        raise UserError(
            f"{where}: score {vector[~np.isfinite(vector)][0]} is not finite; correct it or leave the video out"
        )
    return vector
