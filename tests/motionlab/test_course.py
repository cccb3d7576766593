"""MotionLab's long videos: what is rendered is what is labeled, by the seed, and one frame tells nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from vitascope.datasets.builders import motionlab
from vitascope.motionlab import course
from vitascope.motionlab.motion import clock
from vitascope.motionlab.render import CHUNK, FPS, SIDE, draw
from vitascope.motionlab.scene import PROGRAMS
from vitascope.motionlab.suite import Size
from vitascope.probes.methods import localize, segment

MANY = Size(150, 50)
FEW = Size(2, 1)


def wrapped(steps: np.ndarray) -> np.ndarray:
    """Differences on the torus: turns between -1/2 and 1/2."""
    return (steps + 0.5) % 1.0 - 0.5


@pytest.mark.parametrize("suite", ["localize", "segment"])
def test_labels_are_what_moves(suite: course.Suite) -> None:
    """Between two frames the torus is walked as the label of the second says."""
    for take in course.takes(suite, Size(5, 2), seed=3):
        walked = wrapped(np.diff(course.states(take), axis=0)) * FPS
        if suite == "segment":
            labels = motionlab._steps(take).labels
            names = [course.STEPS[label] for label in labels]
        else:
            names = [course.STILL] * take.frames
            for s in motionlab._actions(take):
                first, end = round(s.start * FPS), round(s.end * FPS)
                names[first:end] = [course.ACTIONS[s.label]] * (end - first)
        ways = np.array([PROGRAMS[name] for name in names[1:]])
        speed = (walked * ways).sum(1)
        np.testing.assert_allclose(walked, speed[:, None] * ways, atol=1e-9)
        moving = np.array(names[1:]) != course.STILL
        assert (speed[moving] >= 0.3).all()
        assert not speed[~moving].any()


def test_actions_lie_apart_within_the_video() -> None:
    takes = course.takes("localize", MANY)
    assert all(30 <= t.frames / FPS <= 90 for t in takes)
    for take in takes:
        actions = motionlab._actions(take)
        assert len(actions) >= 2
        assert all(1.9 < s.end - s.start < 6.1 for s in actions)
        edges = [0.0, *itertools.chain.from_iterable((s.start, s.end) for s in actions), take.frames / FPS]
        assert all(gap > 0 for gap in np.diff(edges)[::2]), "stillness before each and after all"
        assert len({s.label for s in actions}) == len(actions)
    counts = np.bincount([s.label for t in takes for s in motionlab._actions(t)], minlength=16)
    assert counts.min() > 0.7 * counts.mean()
    assert counts.max() < 1.3 * counts.mean()


def accepts(steps: list[str]) -> bool:
    """Whether the grammar makes these steps: all ways to divide them among its places, one after another."""
    at = {0}
    for actions, least, most in course.PROCEDURE:
        at = {
            start + count
            for start in at
            for count in range(least, most + 1)
            if start + count <= len(steps) and all(s in actions for s in steps[start : start + count])
        }
    return len(steps) in at


def test_procedures_follow_their_grammar() -> None:
    takes = course.takes("segment", MANY)
    done = [[s.motion for s in t.stretches if s.motion != course.STILL] for t in takes]
    assert all(map(accepts, done))
    assert not accepts(["left", *done[0]])
    assert len({tuple(steps) for steps in done}) > 50, "optional and repeated steps make them different"
    assert all(t.stretches[0].motion == t.stretches[-1].motion == course.STILL for t in takes)
    labels = {label for t in takes for label, _ in motionlab._steps(t).runs}
    assert labels == set(range(len(course.STEPS)))


def test_a_single_frame_tells_nothing_of_the_motion() -> None:
    """At an instant of an action the state is uniform on the torus, whatever the action: 16 classes, 6 coordinates."""
    of: dict[int, list[np.ndarray]] = {}
    takes = course.takes("localize", Size(400, 0), seed=1)
    for take in takes:
        states = course.states(take)
        for s in motionlab._actions(take):
            of.setdefault(s.label, []).append(states[round(s.start * FPS) + 7])
    for label, points in of.items():
        phases = np.exp(2j * np.pi * np.array(points)).mean(0)
        assert np.abs(phases).max() < 3.5 / np.sqrt(len(points)), course.ACTIONS[label]
    assert len({t.scene.shape + t.scene.texture for t in takes}) == 24


def test_floors_of_who_does_not_look() -> None:
    """When without which finds little; where a procedure has got to, of its length, tells much of the step."""
    draw, (_, *tested) = np.random.default_rng(0), course.takes("localize", Size(1, 20))
    truth = [motionlab._actions(t) for t in tested]
    guesses = [[replace(s, label=int(draw.integers(16)), score=draw.random()) for s in video] for video in truth]
    every = [[replace(s, label=c, score=draw.random()) for s in video for c in range(16)] for video in truth]
    reached = [localize.build("").score(predictions, truth)["mAP"] for predictions in (guesses, every)]
    assert reached[0] < 4
    assert 5 < reached[1] < 14
    takes = course.takes("segment", Size(40, 20))
    train, test = ([motionlab._steps(t) for t in takes if t.split == split] for split in ("train", "test"))
    counts = np.zeros((60, len(course.STEPS)))
    for steps in train:
        np.add.at(counts, (np.arange(steps.frames) * 60 // steps.frames, steps.labels), 1)
    by_place = [counts.argmax(1)[np.arange(s.frames) * 60 // s.frames] for s in test]
    assert 35 < segment.build("").score(by_place, test)["mF1"] < 47


def test_a_smaller_suite_is_the_beginning_of_a_larger_and_seeds_differ() -> None:
    large, small = course.takes("localize", MANY), course.takes("localize", FEW)
    assert [t for t in large if t.id in {s.id for s in small}] == small
    assert course.takes("localize", FEW, seed=1) != small
    assert course.takes("segment", FEW)[0].scene != small[0].scene
    assert course.TINY.train <= course.FULL.train


def test_drawing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    take = course.takes("segment", FEW)[0]
    states, times = course.states(take)[:20], clock(20, FPS)
    whole = draw(take.scene, states, times, side=32)
    monkeypatch.setattr("vitascope.motionlab.render.CHUNK", 7)
    assert CHUNK > 20
    assert np.array_equal(draw(take.scene, states, times, side=32), whole)


@pytest.mark.parametrize("suite", ["localize", "segment"])
def test_rendered_files_are_real_and_the_same_again(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "LENGTHS", (8.0, 9.0))
    monkeypatch.setattr(course, "STEP", (0.2, 0.4))
    monkeypatch.setattr(motionlab, "LONG", {"": FEW, "tiny": Size(1, 1)})
    dataset = motionlab.build(suite, tmp_path / "one", quiet=True)
    assert (dataset.axis, len(dataset.folds[0].train), len(dataset.folds[0].test)) == ("motion", 2, 1)
    for e in dataset.examples:
        with av.open(e.path) as file:
            frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
        assert e.duration is not None
        assert len(frames) == round(e.duration * FPS)
        assert frames[0].shape == (SIDE, SIDE, 3)
        if dataset.kind == "segmentation":
            assert e.truth.frames == len(frames)
    again = motionlab.build(suite, tmp_path / "two", quiet=True)
    assert again.digest == dataset.digest
    pairs = zip(dataset.examples, again.examples, strict=True)
    assert all(Path(a.path).read_bytes() == Path(b.path).read_bytes() for a, b in pairs)
    before = {e.path: Path(e.path).stat().st_mtime_ns for e in dataset.examples}
    tiny = motionlab.build(f"{suite}-tiny", tmp_path / "one", quiet=True)
    assert {e.id for e in tiny.examples} < {e.id for e in dataset.examples}
    assert all(Path(path).stat().st_mtime_ns == when for path, when in before.items()), "nothing is rendered twice"
