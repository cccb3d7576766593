"""MotionLab's promises, by measurement: what a label can and cannot be read from."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vitascope.motionlab import motion, suite
from vitascope.motionlab.render import FPS, FRAMES, render
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, REVERSE, Scene
from vitascope.motionlab.write import write_video

TRAIN, TEST = suite.FULL.train, suite.FULL.test
PAIRS = [(name, other) for name, other in REVERSE.items() if MOTIONS.index(name) < MOTIONS.index(other)]
SMALL = 28
"""Side of the frames that the classifiers of this file look at, pixels."""


@cache
def plan() -> list[suite.Shot]:
    return suite.shots(suite.FULL)


@cache
def scenes() -> list[Scene]:
    return [suite.scene(shot) for shot in plan()]


@cache
def clips() -> np.ndarray:
    """The whole suite in small: clip, frame, y, x, color."""
    return (
        np.stack([render(scene, FRAMES // 3, side=SMALL, fps=FPS / 3) for scene in scenes()]).astype(np.float32) / 255
    )


def labels(kind: str) -> np.ndarray:
    return np.array([getattr(shot, kind) for shot in plan()])


def linear() -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))


def right(classifier, values: np.ndarray, truth: np.ndarray, train: int = TRAIN) -> int:
    values = values.reshape(len(values), -1)
    return int((classifier.fit(values[:train], truth[:train]).predict(values[train:]) == truth[train:]).sum())


def chance(n: int, classes: int) -> int:
    """The most that luck gets right: exceeded once in ten thousand times."""
    return int(binom.ppf(1 - 1e-4, n, 1 / classes))


def test_reversible_pairs_and_still() -> None:
    assert len(PAIRS) == 8
    assert all(REVERSE[REVERSE[name]] == name for name in MOTIONS)
    assert [name for name in MOTIONS if REVERSE[name] == name] == ["still"]


@pytest.mark.parametrize("way", range(len(MOTIONS)), ids=MOTIONS)
def test_a_clip_played_backwards_is_the_reverse_program_exactly(way: int) -> None:
    scene = scenes()[next(i for i, shot in enumerate(plan()) if shot.motion == way)]
    forwards, backwards = render(scene), render(scene.reversed)
    assert scene.reversed.motion == REVERSE[scene.motion]
    assert scene.reversed.reversed == scene
    np.testing.assert_array_equal(forwards[::-1], backwards)
    assert (forwards != backwards).any()


def test_and_so_it_is_in_the_decoded_files(tmp_path: Path) -> None:
    """Every frame is coded by itself, so compression leaves no trace of the direction."""
    for number in range(3):
        for name, scene in (("forwards", scenes()[number]), ("backwards", scenes()[number].reversed)):
            write_video(tmp_path / f"{name}.mp4", render(scene), FPS)
        forwards, backwards = (
            np.stack([frame.to_ndarray(format="rgb24") for frame in av.open(str(tmp_path / name)).decode(video=0)])
            for name in ("forwards.mp4", "backwards.mp4")
        )
        np.testing.assert_array_equal(forwards[::-1], backwards)


def test_every_motion_meets_every_appearance_equally_often() -> None:
    for split, times in (("train", 2), ("test", 1)):
        table = np.zeros((len(APPEARANCES), len(MOTIONS)), int)
        for shot in plan():
            if shot.split == split:
                table[shot.appearance, shot.motion] += 1
        assert (table == times).all()


@settings(max_examples=30, deadline=None)
@given(train=st.integers(1, 900), seed=st.integers(0, 5))
def test_any_beginning_is_balanced(train: int, seed: int) -> None:
    shots = suite.shots(suite.Size(train, 0), seed)
    rounds = -(-train // suite.CELLS)
    for kind, classes in (("appearance", APPEARANCES), ("motion", MOTIONS)):
        counts = np.bincount([getattr(shot, kind) for shot in shots], minlength=len(classes))
        assert counts.max() - counts.min() <= rounds


def test_nothing_but_the_program_depends_on_the_motion_label() -> None:
    """Two scenes drawn alike but for one label differ in that label alone."""
    for other in ("down", "still", "grow"):
        one, two = (suite.sample("disc-dots", name, np.random.default_rng(4)) for name in ("up", other))
        names = [field.name for field in fields(Scene)]
        assert {"shape", "state", "motion", "camera"} <= {*names}
        assert [name for name in names if getattr(one, name) != getattr(two, name)] == ["motion"]


@pytest.mark.parametrize("frame", [0, FRAMES // 2, FRAMES - 1])
def test_the_true_state_at_one_instant_does_not_tell_the_motion(frame: int) -> None:
    """Even knowing exactly where everything is; knowing two instants, the same forest tells."""
    times = motion.clock(FRAMES, FPS)
    paths = np.stack([motion.states(scene, times) for scene in scenes()])
    shakes = np.stack([motion.shake(scene, times) for scene in scenes()])
    truth = labels("motion")
    forest = RandomForestClassifier(100, random_state=0)
    state = np.concatenate([paths[:, frame], shakes[:, frame]], axis=1)
    assert right(forest, state, truth) <= chance(TEST, len(MOTIONS))
    step = (paths[:, 12] - paths[:, 10] + 0.5) % 1 - 0.5
    assert right(forest, step, truth) > 0.9 * TEST


@pytest.mark.parametrize("frame", [0, 4, 7])
def test_the_pixels_of_one_frame_do_not_tell_the_motion(frame: int) -> None:
    still = clips()[:, frame]
    for classifier in (linear(), KNeighborsClassifier(5, metric="cosine")):
        assert right(classifier, still, labels("motion")) <= chance(TEST, len(MOTIONS))


def test_an_unordered_bag_of_frames_does_not_tell_a_pair() -> None:
    """Mean, spread and sorted values of every pixel over time; the same values in order do tell the pairs apart."""
    truth, pooled = labels("motion"), clips().reshape(len(plan()), -1, 7, 4, 7, 4, 3).mean((3, 5))
    bags = np.concatenate(
        [np.sort(pooled, axis=1), pooled.mean(1, keepdims=True), pooled.std(1, keepdims=True)], axis=1
    )
    guessed = {"bag": 0, "bag linear": 0, "order": 0}
    count = 0
    for pair in PAIRS:
        rows = np.isin(truth, [MOTIONS.index(name) for name in pair])
        train = int(rows[:TRAIN].sum())
        count += int(rows.sum()) - train
        steps = np.abs(np.diff(pooled[rows], axis=1))
        guessed["bag"] += right(RandomForestClassifier(60, random_state=0), bags[rows], truth[rows], train)
        guessed["bag linear"] += right(linear(), bags[rows], truth[rows], train)
        guessed["order"] += right(KNeighborsClassifier(5, metric="cosine"), steps, truth[rows], train)
    luck = chance(count, 2)
    assert guessed["bag"] <= luck
    assert guessed["bag linear"] <= luck
    assert guessed["order"] > luck


def test_the_motion_does_not_tell_the_appearance() -> None:
    """Nor do the true states over all of the clip, in order."""
    times = motion.clock(FRAMES, FPS)
    paths = np.stack([motion.states(scene, times) for scene in scenes()])
    assert right(RandomForestClassifier(100, random_state=0), paths, labels("appearance")) <= chance(
        TEST, len(APPEARANCES)
    )


def test_no_floor_comes_near() -> None:
    """Mean frame and pooled change over time, which a video model must beat."""
    thumbnail = clips().mean(1)
    change = np.abs(np.diff(clips().mean(-1), axis=1)).reshape(len(plan()), -1, 7, 4, 7, 4).mean((3, 5))
    for classifier in (linear(), KNeighborsClassifier(5, metric="cosine")):
        assert right(classifier, thumbnail, labels("motion")) <= chance(TEST, len(MOTIONS))
        assert right(classifier, thumbnail, labels("appearance")) < 0.2 * TEST
        assert right(classifier, change, labels("appearance")) < 0.2 * TEST
        assert right(classifier, change, labels("motion")) < 0.6 * TEST


def test_the_motion_is_visible_in_the_pixels() -> None:
    """Who knows all of a scene but its program finds the program in the pixels: each renders unlike all others."""
    for way, name in enumerate(MOTIONS):
        scene = next(scene for scene in scenes() if scene.motion == name)
        actual = render(scene, 8, side=56, fps=4.0).astype(np.int16)
        unlike = [
            np.abs(render(replace(scene, motion=other), 8, side=56, fps=4.0) - actual).mean() for other in MOTIONS
        ]
        assert unlike[way] == 0
        assert np.partition(unlike, 1)[1] > 0.5, f"gray levels between {name} and its nearest program"
