"""Another encoding of a video is recognized by three frames; another clip of the same scene is not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from helpers import blob, required, write_video
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold
from vitascope.datasets import copies as dataset_copies
from vitascope.datasets.audit import fingerprint_journal
from vitascope.datasets.audit.fingerprints import PrintRequest, copies, fingerprint, same_video, take_fingerprint
from vitascope.datasets.audit.manifest import survey
from vitascope.datasets.builders.folder import build
from vitascope.datasets.copies import with_copies_grouped
from vitascope.datasets.summary import describe


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


def test_a_mirrored_video_is_a_copy(tmp_path: Path) -> None:
    """Also of a width whose center crop would not be symmetric."""
    frames = np.concatenate([scene(0), scene(1)[:, :, :38]], axis=2)
    first = write_video(tmp_path / "a.mp4", frames)
    mirrored = write_video(tmp_path / "b.mp4", np.ascontiguousarray(frames[:, :, ::-1]))
    other = write_video(tmp_path / "c.mp4", np.ascontiguousarray(scene(2)[:, :, ::-1]))
    prints = {str(p): taken(p) for p in (first, other, mirrored)}
    assert same_video(prints[str(first)], prints[str(mirrored)])
    assert copies(prints) == {str(first): str(first), str(mirrored): str(first)}


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
    assert copies(prints) == {}, "neither as they are nor mirrored"


def without_a_split(root: Path, count: int = 6) -> Dataset[int]:
    """Videos of two classes, the first four of each with a copy: another encoding, or mirrored."""
    for n in range(count):
        for label, phase in zip("ab", (0.0, 40.0), strict=True):
            path = write_video(root / label / f"{n}.mp4", scene(phase + 1.7 * n))
            if n < 2:
                encoded(path, root / label / f"copy {n}.mkv", "libx264", crf="30")
            elif n < 4:
                write_video(root / label / f"flip {n}.mp4", np.ascontiguousarray(scene(phase + 1.7 * n)[:, :, ::-1]))
    return build(str(root))


def grouped(dataset: Dataset[int]) -> Dataset[int]:
    return with_copies_grouped(dataset, workers=1, timeout=60, quiet=True)


def test_copies_are_one_recording_before_folds_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    dataset = without_a_split(tmp_path / "set")
    caplog.set_level("INFO", "vitascope")
    found = grouped(dataset)
    assert "8 videos are copies of 8 others by their frames" in caplog.text
    groups = {Path(e.path).relative_to(found.root).with_suffix("").as_posix(): e.group for e in found.examples}
    assert sum(group is not None for group in groups.values()) == 16
    assert groups["a/copy 0"] == groups["a/0"] == "a/0.mp4"
    assert groups["b/flip 3"] == groups["b/3"]
    assert {name for name, group in groups.items() if group is None} == {f"{c}/{n}" for c in "ab" for n in (4, 5)}
    by_id = {e.id: e.group for e in found.examples if e.group is not None}
    for fold in found.folds:
        assert not {by_id[i] for i in fold.train if i in by_id} & {by_id[i] for i in fold.test if i in by_id}
    assert found.digest != dataset.digest
    monkeypatch.setattr(fingerprint_journal, "_take", None)
    assert grouped(dataset) == found, "the frames of known files are not decoded again"
    assert grouped(found) == found
    assert "groups: 16 examples of 8 recordings or groups; no fold divides one; 4 examples of their own" in describe(
        found
    )


def test_a_given_split_and_large_sets_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fingerprint_journal, "_take", None)
    for n in range(6):
        write_video(tmp_path / "ab"[n % 2] / f"{n}.mp4", blob(n, n, side=32, frames=4))
    dataset = build(str(tmp_path))
    renamed = replace(dataset, folds=tuple(replace(f, name=f"split {i}") for i, f in enumerate(dataset.folds)))
    assert grouped(renamed) is renamed
    moved = replace(
        dataset,
        folds=tuple(
            replace(f, test=g.test, train=g.train) for f, g in zip(dataset.folds, dataset.folds[::-1], strict=True)
        ),
    )
    assert grouped(moved) is moved, "folds of these names, but not the ones that are drawn"
    caplog.set_level("INFO", "vitascope")
    monkeypatch.setattr(dataset_copies, "MAX_FILES", 5)
    assert grouped(dataset) is dataset
    assert "copies among more than 5 videos are not looked for" in caplog.text


def test_too_few_recordings_of_a_class_are_named_with_their_copies(tmp_path: Path) -> None:
    for n, label in enumerate("aab"):
        write_video(tmp_path / label / f"{n}.mp4", scene(n // 2 * 3.0))
    write_video(tmp_path / "b" / "3.mp4", scene(7))
    encoded(tmp_path / "a" / "0.mp4", tmp_path / "a" / "1.mp4", "libx264", crf="30")
    with pytest.raises(UserError, match=r"class 'a' has a single example or group .* 1 video is a copy of another"):
        grouped(build(str(tmp_path)))


def test_a_damaged_journal_is_read_as_far_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    request = PrintRequest(str(write_video(tmp_path / "a.mp4", scene(0))))
    journal = fingerprint_journal.journal_of("set")

    def prints() -> dict[PrintRequest, str]:
        return fingerprint_journal.take_fingerprints(
            [request], journal=journal, workers=1, timeout=60, label="", quiet=True
        )

    first = prints()
    assert first == {request: taken(Path(request.path))}
    whole = journal.read_bytes()
    journal.write_bytes(b"[]\n{}\n" + b'{"key": 3, "fingerprint": "xy"}\n' + whole[:50])
    assert prints() == first
    journal.write_bytes(whole[:-9])
    assert prints() == first
    assert journal.read_bytes().endswith(whole)


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
