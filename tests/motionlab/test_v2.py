"""The second version's promises: what a label can and cannot be read from, and that every motion can be told."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier

from vitascope.motionlab.motion import clock
from vitascope.motionlab.render import FPS, FRAMES
from vitascope.motionlab.scene import APPEARANCES
from vitascope.motionlab.suite import Size
from vitascope.motionlab.v2 import creature, motion, suite
from vitascope.motionlab.v2.levels import LEVELS
from vitascope.motionlab.v2.render import render
from vitascope.motionlab.v2.scene import MOTIONS, PER_FRAME, REVERSE, Scene, sample
from vitascope.motionlab.v2.tracks import LEAST, Tracks, rates, read_motion, tracks

TIMES = clock(FRAMES, FPS)
SOME = Size(0, 5 * len(MOTIONS))
ORDER_FREE = (1 + (len(MOTIONS) - 1) / 2) / len(MOTIONS)
"""Who knows the pair but not the direction, of every motion equally often."""


def some(level: str) -> list[Scene]:
    return [suite.scene(shot, level) for shot in suite.shots(SOME)]


@cache
def seen(level: str) -> list[Tracks]:
    return [tracks(scene) for scene in some(level)]


def at(scene: Scene) -> motion.Pair:
    return motion.pair(scene, motion.states(scene, TIMES), TIMES)


def hard(name: str, seed: int = 0) -> Scene:
    return sample("star-dots", name, LEVELS["hard"], np.random.default_rng(seed))


def test_reversible_pairs_and_still() -> None:
    assert len(set(MOTIONS)) == 19
    assert all(REVERSE[REVERSE[name]] == name for name in MOTIONS)
    assert [name for name in MOTIONS if REVERSE[name] == name] == ["still"]


@pytest.mark.parametrize("name", MOTIONS)
def test_a_clip_played_backwards_is_the_reverse_program_exactly(name: str) -> None:
    scene = hard(name, MOTIONS.index(name))
    forwards, backwards = (render(s, 4, side=56, fps=2.0) for s in (scene, scene.reversed))
    assert scene.reversed.motion == REVERSE[name]
    assert scene.reversed.reversed == scene
    np.testing.assert_array_equal(forwards[::-1], backwards)
    assert (forwards != backwards).any()


def test_every_motion_meets_every_appearance_equally_often() -> None:
    for split, times in (("train", 2), ("test", 1)):
        table = np.zeros((len(APPEARANCES), len(MOTIONS)), int)
        for shot in suite.shots(suite.FULL):
            if shot.split == split:
                table[shot.appearance, shot.motion] += 1
        assert (table == times).all()


@pytest.mark.parametrize("level", LEVELS)
def test_one_frame_is_the_same_whatever_the_motion(level: str) -> None:
    """A frame is a function of the state at its time, which is uniform: not even its blur depends on the motion."""
    scene = sample("disc-dots", "still", LEVELS[level], np.random.default_rng(3))
    names = ("still", "up", "orbit-clockwise", "spin-counter", "nearer", "leave", "stride-forward")
    clips = [render(replace(scene, motion=name), 3, side=56) for name in names]
    assert all(np.array_equal(clip[1], clips[0][1]) for clip in clips)
    assert len({clip[0].tobytes() for clip in clips}) == len(names)


def test_nothing_but_the_program_depends_on_the_motion_label() -> None:
    for other in ("down", "still", "nearer", "stride-backward"):
        one, two = (hard(name, 4) for name in ("up", other))
        names = [field.name for field in fields(Scene)]
        assert [name for name in names if getattr(one, name) != getattr(two, name)] == ["motion"]


@pytest.mark.parametrize("frame", [0])
def test_the_true_state_at_one_instant_does_not_tell_the_motion(frame: int) -> None:
    """Even knowing exactly where everything is; knowing two instants, the same forest tells."""
    shots = suite.shots(Size(760, 380))
    paths = np.stack([motion.states(suite.scene(shot, "easy"), TIMES) for shot in shots])
    truth, train = np.array([shot.motion for shot in shots]), 760
    forest = RandomForestClassifier(50, random_state=0)
    right = (forest.fit(paths[:train, frame], truth[:train]).predict(paths[train:, frame]) == truth[train:]).sum()
    assert right <= binom.ppf(1 - 1e-4, 380, 1 / len(MOTIONS))
    step = (paths[:, 12] - paths[:, 11] + 0.5) % 1 - 0.5
    assert (forest.fit(step[:train], truth[:train]).predict(step[train:]) == truth[train:]).mean() > 0.9


@pytest.mark.parametrize("level", LEVELS)
def test_true_flow_tells_every_motion_and_shuffled_frames_only_the_pair(level: str) -> None:
    truth = [MOTIONS[shot.motion] for shot in suite.shots(SOME)]
    told = [read_motion(t) for t in seen(level)]
    assert np.mean([a == b for a, b in zip(told, truth, strict=True)]) > 0.99
    rng, right = np.random.default_rng(0), 0
    for shown, name in zip(seen(level), truth, strict=True):
        order = rng.permutation(FRAMES)
        one, other = ([points[order] for points in pair] for pair in (shown.bodies, shown.feet))
        mixed = Tracks((one[0], one[1]), (other[0], other[1]), shown.cord[order], shown.wall[order])
        right += read_motion(mixed) == name
    assert right <= binom.ppf(1 - 1e-4, len(truth), ORDER_FREE)


@pytest.mark.parametrize("level", LEVELS)
def test_the_camera_can_feign_no_motion(level: str) -> None:
    """Seen by the moving camera, twins at rest stay below half of the least rate of every kind, and its own limit."""
    for scene in some(level):
        at_rest = replace(scene, motion="still")
        feigned = rates(tracks(at_rest))
        sizes = {kind: abs(value) for kind, value in feigned.items()} | {"shift": np.hypot(*list(feigned.values())[:2])}
        assert all(sizes[kind] <= least / 2 for kind, least in LEAST.items())
        one, other, _ = at(at_rest)
        for view in (one, other):
            moved = np.hypot(np.diff(view.x), np.diff(view.y)) * 112
            assert moved.max() <= LEVELS[level].camera_speed + 1e-9


def test_programs_move_as_fast_as_stated() -> None:
    found: dict[str, list[float]] = {kind: [] for kind in LEAST}
    kinds = {0: "shift", 1: "shift", 2: "axis", 3: "facing", 4: "size", 5: "gap", 6: "stride"}
    for shown, shot in zip(seen("easy"), suite.shots(SOME), strict=True):
        way = np.flatnonzero(np.array(motion.PROGRAMS[MOTIONS[shot.motion]]))
        rate = rates(shown)
        if len(way):
            kind = kinds[int(way[-1])]
            found[kind].append(float(np.hypot(rate["right"], rate["down"])) if kind == "shift" else abs(rate[kind]))
    assert all(min(values) >= LEAST[kind] * 0.999 for kind, values in found.items())
    each = LEAST["gap"] / 2 * 112
    assert each >= 1.0 > LEVELS["hard"].camera_speed, (
        "either twin is faster than anything a camera moves: pixels a frame"
    )


@pytest.mark.parametrize("level", LEVELS)
def test_twins_never_overlap(level: str) -> None:
    for scene in some(level):
        one, other, _ = at(scene)
        copies = [
            np.hypot(one.x - other.x + right * one.period, one.y - other.y + down * one.period)
            for right, down in product(range(-2, 3), repeat=2)
        ]
        assert (np.min(copies, axis=0) >= one.radius + other.radius + 1 / 112 * one.period).all()


def test_a_creature_is_within_its_radius() -> None:
    phases = np.linspace(0, 1, 50)
    at_x, at_y = np.meshgrid(np.linspace(-1.3, 1.3, 130), np.linspace(-1.3, 1.3, 130))
    u, v = (np.broadcast_to(value.astype(np.float32), (50, 130, 130)) for value in (at_x, at_y))
    frame = np.arange(50)[:, None, None]
    outside = np.hypot(u, v) > 1
    for leg in creature.legs(phases):
        assert creature.leg_distance(u, v, frame, leg)[outside].min() > 0
    across, down = creature.body_coordinates(u[:1], v[:1])
    assert all(creature.body_distance(a.split("-")[0], across, down)[outside[:1]].min() > 0 for a in APPEARANCES[::4])


def test_a_stride_backwards_is_not_a_stride_forwards_later() -> None:
    """The foot goes round in one direction: the order of its poses tells the gait."""
    (leg, _) = creature.legs(np.linspace(0, 1, 100))
    across, down = leg.foot.T
    area = np.sum(across[:-1] * np.diff(down) - down[:-1] * np.diff(across)) / 2
    assert abs(area) > 0.25 * (np.ptp(across) * np.ptp(down))


def test_what_is_drawn_is_where_the_tracks_say() -> None:
    scene = replace(hard("left", 5), shutter=0.0)
    other = replace(scene, colors=((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    changed = (render(scene) != render(other)).any(-1)
    one, two, cord = at(scene)
    pixels = (np.arange(112) + 0.5) / 112
    for frame in range(0, FRAMES, 6):
        down, right = (pixels[i] for i in np.nonzero(changed[frame]))
        nearest = np.full(len(down), np.inf)
        for view, steps in ((one, [0.0]), (two, [0.0]), (cord, np.linspace(-1, 1, 41))):
            angle = 2 * np.pi * cord.facing[frame]
            for step, i, j in product(steps, (-1, 0, 1), (-1, 0, 1)):
                x = view.x[frame] + i * view.period[frame] + step * view.radius[frame] * np.cos(angle)
                y = view.y[frame] + j * view.period[frame] + step * view.radius[frame] * np.sin(angle)
                reach = 2 / 112 if view is cord else view.radius[frame]
                nearest = np.minimum(nearest, np.hypot(right - x, down - y) - reach)
        assert len(down) > 100
        assert nearest.max() < 1 / 112


def test_perspective() -> None:
    """What is twice as far is half as large, and a dolly enlarges near things more, away from the vanishing point."""
    scene = hard("farther", 6)
    scene = replace(scene, camera=replace(scene.camera, dolly=0.1, waves=(), pan=(0.0, 0.0)), slant=(0.0, 0.0))
    near, far = (motion.zoom(scene.camera, np.array([1.0]), d)[0] for d in (1.0, motion.WALL))
    assert near == pytest.approx(1 / 0.9)
    assert far == pytest.approx(6 / 5.9)
    depths = np.array([0.0, 0.5, 1.0])
    states = np.tile(scene.state, (3, 1))
    states[:, 4] = depths
    one, _, _ = motion.pair(scene, states, np.zeros(3))
    np.testing.assert_allclose(one.radius, motion.RADIUS / (1 + (motion.FARTHEST - 1) * depths))
    assert LEVELS["hard"].camera_speed * PER_FRAME < 0.1
