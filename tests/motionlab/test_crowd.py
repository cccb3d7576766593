"""Videos of several actors: boxes fit what is drawn, and neither a frame nor a look tells a motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitascope.motionlab import crowd
from vitascope.motionlab.suite import Size

VIDEOS = crowd.crowd_videos(Size(24, 12))


def test_boxes_fit_the_pixels_that_an_actor_changes() -> None:
    video = replace(VIDEOS[0], seconds=3)
    for walker in video.walkers[:3]:
        alone, empty = (crowd.draw(replace(video, walkers=w)).astype(int) for w in ((walker,), ()))
        boxes = crowd.boxes(video, walker, slice(None))
        for frame, box in enumerate(boxes):
            rows, columns = np.nonzero((alone[frame] != empty[frame]).any(-1))
            if len(rows) and (box >= 0).all() and (box <= 1).all():
                drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 112
                assert np.abs(drawn - box).max() < 2 / 112


def test_every_second_around_a_keyframe_has_one_motion() -> None:
    video = VIDEOS[1]
    for walker in video.walkers:
        moving, way = crowd.motions(walker), crowd.path(replace(video, scene=replace(video.scene, camera=())), walker)
        for k in video.keyframes:
            frames = slice(k * 12 - 6, k * 12 + 6)
            still = [
                np.allclose(np.diff(v[frames]) % 1.0 % 0.999999, 0) for v in (way.x, way.y, way.facing, way.radius)
            ]
            moved = {"up": 1, "down": 1, "left": 0, "right": 0}.get(moving[k], 2 if "spin" in moving[k] else 3)
            assert [i for i, unmoved in enumerate(still) if not unmoved] == [moved]


def test_looks_and_motions_are_independent_and_every_class_occurs() -> None:
    actors = [a for video in VIDEOS for a in crowd.actors(video)]
    looks, moves = (np.array([a.labels[i] for a in actors]) - 8 * i for i in (0, 1))
    assert set(looks.tolist()) == set(moves.tolist()) == set(range(8))
    table = np.bincount(looks * 8 + moves, minlength=64).reshape(8, 8) / len(actors)
    expected = table.sum(1, keepdims=True) * table.sum(0)
    assert np.abs(table - expected).max() < 0.01


def test_positions_and_sizes_of_one_frame_do_not_tell_the_motion() -> None:
    shown = [(a.labels[1], *a.box) for video in VIDEOS for a in crowd.actors(video)]
    table = np.array(shown)
    for box in table[:, 1:].T:
        each = [box[table[:, 0] == move] for move in np.unique(table[:, 0])]
        error = [np.std(values) / np.sqrt(len(values) / 4) for values in each]  # neighbors in time are alike
        assert all(abs(np.mean(v) - box.mean()) < 4 * e for v, e in zip(each, error, strict=True))


def test_actors_enter_and_leave() -> None:
    video = max(VIDEOS, key=lambda v: v.seconds)
    tracks = [{a.time for a in crowd.actors(video) if a.track == n} for n in range(len(video.walkers))]
    assert any(0 < len(times) < len(video.keyframes) for times in tracks)


def test_boxes_and_motions_at_every_frame_of_a_window_are_those_drawn_there() -> None:
    video = replace(VIDEOS[2], seconds=4)
    for k in video.keyframes:
        frames = crowd.window(k)
        shown = crowd.actors(video, frames)
        assert {crowd.second(frame) for frame in frames} == {k}
        middle = [a for a in shown if a.time == k]
        assert middle == [a for a in crowd.actors(video) if a.time == k]
        assert len(frames) == 12
        for frame in frames:
            at = np.stack([crowd.boxes(video, walker, [frame])[0] for walker in video.walkers])
            own = [a for a in shown if a.time == frame / 12]
            assert [a.track for a in own] == np.flatnonzero(crowd.annotated(at)).tolist()
            for actor in own:
                assert actor.box == pytest.approx(np.clip(at[actor.track], 0, 1))
                moving = crowd.CLASSES[actor.labels[1]]
                assert moving == crowd.motions(video.walkers[actor.track])[k]


def test_windows_follow_each_other() -> None:
    frames = [frame for k in VIDEOS[0].keyframes for frame in crowd.window(k)]
    assert frames == list(range(6, VIDEOS[0].seconds * 12 - 6))


def test_hidden_and_outside_actors_are_not_annotated() -> None:
    at = np.array([[0.1, 0.1, 0.3, 0.3], [0.12, 0.1, 0.34, 0.3], [-0.15, 0.5, 0.05, 0.7], [-0.05, 0.5, 0.15, 0.7]])
    assert crowd.annotated(at).tolist() == [False, True, False, True]


def test_a_smaller_suite_is_a_prefix() -> None:
    small = crowd.crowd_videos(Size(2, 1))
    assert small == [VIDEOS[0], VIDEOS[1], VIDEOS[24]]


@pytest.mark.parametrize("video", VIDEOS[:4])
def test_annotated_boxes_lie_in_the_frame(video: crowd.CrowdVideo) -> None:
    for actor in crowd.actors(video):
        left, top, right, bottom = actor.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
