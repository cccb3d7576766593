"""Scores of classes from elsewhere: what another classifier says of each video, from a file that somebody made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

FORMS = "{video id: [a score for each class]} or {video id: {class: score}}, in .json; or .npz, an array for each video"

REMEDY = (
    'a pickle may run anything, so it is not read; where you trust it: python -c "import numpy, pickle, sys; '
    "numpy.savez('scores.npz', **pickle.load(open(sys.argv[1], 'rb')))\" FILE.pkl"
)


def class_scores(file: str, classes: Sequence[str], videos: Sequence[str]) -> dict[str, Float64[np.ndarray, "k"]]:
    """The scores of each of `videos`, class by class; a class that a video does not name scores 0.

    ValueError: no such file, another form than `FORMS`, a class that there is not, a video without scores.
    """
    table = _table(Path(file))
    without = [video for video in videos if video not in table]
    if without:
        some = ", ".join([*without[:3], *(["..."] if len(without) > 3 else [])])
        raise UserError(
            f"{file}: no scores for {len(without)} of {len(videos)} videos ({some})"
            f"{nearest(without[0], table)}; add them, or leave those videos out"
        )
    return {video: _vector(table[video], classes, f"{file}: {video}") for video in videos}


def _table(path: Path) -> Mapping[str, Any]:
    if path.suffix not in (".json", ".npz"):
        raise UserError(f"{path}: class scores are {FORMS}; {REMEDY if path.suffix == '.pkl' else 'convert it'}")
    if not path.is_file():
        raise UserError(f"{path}: no such file of class scores; it holds {FORMS}")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        read = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); class scores are {FORMS}") from error
    table = read.get("results", read) if isinstance(read, dict) else None
    if not isinstance(table, dict):
        raise UserError(f"{path}: class scores are {FORMS}, not a {type(read).__name__}")
    return table


def _vector(said: Any, classes: Sequence[str], where: str) -> Float64[np.ndarray, "k"]:
    if isinstance(said, dict):
        return _named(said, classes, where)
    try:
        vector = np.asarray(said, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: not numbers ({error}); class scores are {FORMS}") from error
    if len(vector) != len(classes):
        raise UserError(f"{where}: {len(vector)} scores for {len(classes)} classes; give one for each, in their order")
    return _finite(vector, where)


def _named(said: Mapping[str, Any], classes: Sequence[str], where: str) -> Float64[np.ndarray, "k"]:
    vector = np.zeros(len(classes))
    index = {name: i for i, name in enumerate(classes)}
    for name, score in said.items():
        at = index.get(name, int(name) if name.isdecimal() else -1)
        if not 0 <= at < len(classes) or not isinstance(score, int | float):
            raise UserError(f"{where}: no class {name!r} with score {score!r}{nearest(name, classes)}; see its classes")
        vector[at] = score
    return _finite(vector, where)


def _finite(vector: Float64[np.ndarray, "k"], where: str) -> Float64[np.ndarray, "k"]:
    if not np.isfinite(vector).all():
        raise UserError(f"{where}: a score is {vector[~np.isfinite(vector)][0]}; leave the video out or correct it")
    return vector
