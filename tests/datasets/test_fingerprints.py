"""Another encoding of a video is recognized by three frames; another clip of the same scene is not."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from helpers import blob, required, write_video
from vitascope.core.types import Example, Fold
from vitascope.datasets.audit.fingerprints import PrintRequest, copies, fingerprint, same_video, take_fingerprint
from vitascope.datasets.audit.manifest import survey
from vitascope.datasets.builders.folder import build


def taken(path: Path, span: tuple[float, float] | None = None) -> str:
    return next(take_fingerprint(PrintRequest(str(path), span)))[0]


def encoded(source: Path, target: Path, codec: str, *, scale: float = 1.0, **options: str) -> Path:
    """`source` encoded anew."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = inside.streams.video[0]
        rate = int(stream.average_rate or 25)
        made: Any = outside.add_stream(codec, rate=rate, options=options)
        made.width, made.height = int(stream.width * scale) // 2 * 2, int(stream.height * scale) // 2 * 2
        made.pix_fmt = "yuv420p"
        for number, frame in enumerate(inside.decode(stream)):
            resized = frame.reformat(made.width, made.height, "yuv420p")
            resized.pts, resized.time_base = number, Fraction(1, rate)
            outside.mux(made.encode(resized))
        outside.mux(made.encode())
    return target


def scene(phase: float, *, side: int = 96) -> np.ndarray:
    """A patterned background with an object that moves differently for every phase."""
    y, x = np.mgrid[:side, :side]
    background = 110 + 50 * np.sin(x / 7) + 50 * np.cos(y / 9)
    frames = []
    for t in range(24):
        angle = phase + t / 6
        center = side / 2 + side / 3 * np.array([np.sin(angle), np.cos(2 * angle + phase)])
        frames.append(np.where((y - center[0]) ** 2 + (x - center[1]) ** 2 < 90, 20, background))
    return np.repeat(np.stack(frames).astype(np.uint8)[..., None], 3, axis=3)


ENCODINGS = {
    "low.mp4": ("libx264", {"crf": "35"}),
    "half.webm": ("libvpx-vp9", {"scale": 0.5, "crf": "40", "cpu-used": "8", "deadline": "realtime"}),
    "old.avi": ("mpeg4", {"b": "200000"}),
    "large.mkv": ("libx264", {"scale": 2.0, "crf": "23", "preset": "ultrafast"}),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_other_encodings_of_a_video_are_copies(name: str, tmp_path: Path) -> None:
    first, second = (write_video(tmp_path / f"{n}.mp4", scene(n)) for n in (0, 2))
    codec, options = ENCODINGS[name]
    again = encoded(first, tmp_path / name, codec, **options)  # type: ignore[arg-type]
    assert same_video(taken(first), taken(again))
    assert not same_video(taken(first), taken(second)), "the same scene, another movement"
    prints = {str(p): taken(p) for p in (second, first, again)}
    assert copies(prints) == {str(first): str(first), str(again): str(first)}


def test_a_still_or_an_empty_video_has_no_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(np.zeros((3, 32, 32, 3), np.uint8)) == ""
    assert fingerprint(np.repeat(scene(0, side=32)[:1], 3, axis=0)) == ""
    assert fingerprint(np.zeros((0, 32, 32, 3), np.uint8)) == ""
    assert taken(tmp_path / "none.mp4") == ""
    assert copies({"a": "", "b": ""}) == {}


def test_the_frames_are_those_of_the_span(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", np.concatenate([scene(0), scene(2)]))
    cut = write_video(tmp_path / "b.mp4", scene(2))
    assert same_video(taken(path, (2.4, 4.8)), taken(cut))
    assert not same_video(taken(path, (0.0, 2.4)), taken(cut))


def test_copies_are_those_of_every_pair(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = [scene(n, side=32)[[0, 12, 23]].astype(np.int64) for n in range(6)]
    frames = [base[rng.integers(6)] + rng.integers(-4, 5, (3, 32, 32, 3)) for _ in range(20)]
    prints = {str(i): fingerprint(f.clip(0, 255).astype(np.uint8)) for i, f in enumerate(frames)}
    found = copies(prints)
    for a, b in combinations(prints, 2):
        assert same_video(prints[a], prints[b]) == (a in found and b in found and found[a] == found[b])


def test_the_clips_of_real_scenes_are_no_copies(tmp_path: Path) -> None:
    root = required("actions/ut_interaction_norm160", "real clips of similar scenes")
    prints = {str(p): taken(p) for p in sorted(root.rglob("*.mp4"))[::3]}
    assert sum(map(bool, prints.values())) > 30
    assert copies(prints) == {}


def test_check_names_copies_across_a_split_with_their_number(tmp_path: Path) -> None:
    for n in range(8):
        write_video(tmp_path / "train" / "ab"[n % 2] / f"{n}.mp4", blob(n, n, side=64))
    for n in range(2):
        write_video(tmp_path / "test" / "ab"[n] / f"new{n}.mp4", blob(n + 20, n, side=64))
        source = tmp_path / "train" / "ab"[n] / f"{n}.mp4"
        encoded(source, tmp_path / "test" / "ab"[n] / f"other name {n}.mp4", "libx264", crf="30")
    dataset = build(str(tmp_path))
    found = survey(dataset, output=tmp_path / "m.csv", quiet=True)
    (warning,) = found.warnings
    assert (warning.kind, warning.touched, warning.tested) == ("copies", 2, 4)
    assert not found.passed
    assert survey(dataset, output=tmp_path / "m.csv", quiet=True).warnings == found.warnings
    examples = tuple(Example(id=e.id, path=e.path, truth=e.truth) for e in dataset.examples if "other" not in e.id)
    fold = Fold(name="f", train=dataset.folds[0].train, test=tuple(e.id for e in examples if "new" in e.id))
    clean = type(dataset)(name="own", examples=examples, classes=dataset.classes, folds=(fold,))
    assert survey(clean, output=tmp_path / "m.csv", quiet=True).warnings == ()
