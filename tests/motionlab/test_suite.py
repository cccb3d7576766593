"""MotionLab's parts: scenes, drawing, writing, and the suite on disk."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

import processes
from vitascope.datasets.builders import motionlab
from vitascope.motionlab import backdrop, draw, motion, suite
from vitascope.motionlab.render import FPS, FRAMES, SIDE, render
from vitascope.motionlab.scene import APPEARANCES, BACKGROUNDS, MOTIONS, OBSTACLES, SHAPES, TEXTURES, Background, sample
from vitascope.motionlab.write import write_picture, write_video

FEW = suite.Size(10, 4)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("t*/*")}


def path_at(x: float, y: float, *, facing: float = 0.0, radius: float = 0.2) -> motion.Path:
    return motion.Path(*(np.array([value]) for value in (x, y, facing, radius)))


def stamped(path: motion.Path, outline: str, side: int = 100) -> np.ndarray:
    frames = np.zeros((1, side, side, 3), np.float32)
    draw.stamp(frames, path, outline, lambda u, v, pixel: np.ones((*u.shape, 3), np.float32))
    return frames[0]


def test_labels_are_as_many_as_promised() -> None:
    assert len(APPEARANCES) == len(set(APPEARANCES)) == 24
    assert len(MOTIONS) == len(set(MOTIONS)) == 17
    assert not set(SHAPES) & set(OBSTACLES)
    assert math.gcd(len(APPEARANCES), len(MOTIONS)) == 1


@pytest.mark.parametrize(("appearance", "way", "hint"), [("dics-dots", "up", "disc-dots"), ("disc-dots", "upp", "up")])
def test_an_unknown_label_is_refused_with_the_nearest(appearance: str, way: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{hint}'"):
        sample(appearance, way, np.random.default_rng(0))


@pytest.mark.parametrize("outline", draw.OUTLINES)
def test_outlines_have_an_inside_and_stay_within_their_extent(outline: str) -> None:
    angle, reach = np.meshgrid(np.linspace(0, 2 * np.pi, 721), np.linspace(draw.EXTENT, 1.6, 20))
    u, v = np.float32([reach * np.cos(angle)]), np.float32([reach * np.sin(angle)])
    assert draw.OUTLINES[outline](u, v).min() > 0
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 101), np.linspace(-1, 1, 101)), dtype=np.float32)[:, None]
    assert draw.OUTLINES[outline](*grid).min() < -0.15


@pytest.mark.parametrize(("outline", "area", "edge"), [("disc", math.pi, 2 * math.pi), ("square", 1.48**2, 4 * 1.48)])
def test_edges_are_antialiased(outline: str, area: float, edge: float) -> None:
    """The pixels that a shape touches are its area and half a pixel around; many on its edge are touched in part."""
    light = stamped(path_at(0.5037, 0.4912, facing=0.07), outline)[..., 0]
    assert (light > 0).sum() == pytest.approx(area * 20**2 + edge * 20 / 2, rel=0.02)
    assert ((light > 0) & (light < 0.14)).sum() > 20


def test_what_leaves_at_one_edge_enters_at_the_opposite_one() -> None:
    middle = stamped(path_at(0.5, 0.5, facing=0.1), "star")
    corner = stamped(path_at(1.0, 3.0, facing=0.1), "star")
    np.testing.assert_allclose(np.roll(middle, (50, 50), axis=(0, 1)), corner, atol=1e-4)


def test_facing_turns_clockwise_on_the_screen() -> None:
    flat = stamped(path_at(0.5, 0.5), "crescent")
    turned = stamped(path_at(0.5, 0.5, facing=0.25), "crescent")
    np.testing.assert_allclose(turned, np.rot90(flat, -1), atol=1e-4)


@pytest.mark.parametrize("texture", TEXTURES)
def test_both_colors_of_a_texture_show(texture: str) -> None:
    at = np.linspace(-0.7, 0.7, 140, dtype=np.float32)
    u, v = np.meshgrid(at, at)
    colors = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    painted = draw.paint(texture, colors, u[None], v[None], np.full((1, 1, 1), 0.01, np.float32))
    assert 0.1 < painted.mean() < 0.9
    assert ((painted == 0) | (painted == 1)).mean() > 0.8


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_the_background_moves_by_whole_pixels_without_a_blur(kind: str) -> None:
    wide = backdrop.picture(Background(kind=kind, colors=((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), seed=3), 32, 4)
    assert wide.shape == (40, 40, 3)
    assert 0 <= wide.min() < wide.max() <= 1
    still, moved = backdrop.view(wide, np.array([[0.0, 0.0], [3.0, -2.0]]), 32)
    np.testing.assert_array_equal(still, wide[4:36, 4:36])
    np.testing.assert_array_equal(moved, wide[6:38, 1:33])


def test_a_program_moves_what_it_names_and_nothing_else() -> None:
    scene = sample("disc-dots", "still", np.random.default_rng(5))
    times = motion.clock(3, 2.0)
    np.testing.assert_array_equal(times, [-0.5, 0, 0.5])
    rest = motion.states(scene, times)
    np.testing.assert_array_equal(rest, np.broadcast_to(scene.state, (3, 6)))
    for name, column, sign in [
        ("up", 1, -1),
        ("right", 0, 1),
        ("spin-clockwise", 3, 1),
        ("leave", 5, 1),
        ("grow", 4, 1),
    ]:
        change = motion.states(replace(scene, motion=name), times) - rest
        change = (change + 0.5) % 1 - 0.5
        expected = np.zeros((3, 6))
        expected[:, column] = sign * scene.speed * times
        np.testing.assert_allclose(change, expected, atol=1e-12)


def test_orbiting_twins_keep_their_distance() -> None:
    scene = sample("disc-dots", "orbit-clockwise", np.random.default_rng(5))
    one, other = motion.twin_paths(motion.states(scene, motion.clock(9, 9.0)))
    apart = np.hypot(one.x - other.x, one.y - other.y)
    np.testing.assert_allclose(apart, apart[0])
    assert motion.GAPS[0] <= apart[0] <= motion.GAPS[1]
    angle = np.unwrap(np.arctan2(other.y - one.y, other.x - one.x))
    assert (np.diff(angle) > 0).all(), "y points down, so a growing angle is clockwise"


def test_a_video_file_holds_every_frame_at_its_time(tmp_path: Path) -> None:
    frames = render(sample("star-checks", "left", np.random.default_rng(1)))
    assert frames.shape == (FRAMES, SIDE, SIDE, 3)
    write_video(tmp_path / "a.mp4", frames, FPS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    back = decoded(tmp_path / "a.mp4")
    assert back.shape == frames.shape
    assert np.abs(back.astype(float) - frames).mean() < 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(FRAMES) / FPS, atol=1e-4)


def test_a_picture_file_is_exact(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(decoded(tmp_path / "a.png")[0], picture)


def test_same_seed_same_bytes_other_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        suite.make(tmp_path / name, FEW, seed, quiet=True)
    one, same, other = (contents(tmp_path / name) for name in "abc")
    assert len(one) == 28
    assert one == same
    assert all(one[name] != other[name] for name in one)
    marks = [json.loads((tmp_path / name / "complete-10+4.json").read_text()) for name in "abc"]
    assert marks[0]["digest"] == marks[1]["digest"] != marks[2]["digest"]


def test_a_smaller_suite_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    suite.make(tmp_path, suite.Size(3, 1), quiet=True)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("t*/*")}
    suite.make(tmp_path, FEW, quiet=True)
    assert len(before) == 8
    assert all(p.stat().st_mtime_ns == then for p, then in before.items()), "nothing is rendered twice"
    assert len(contents(tmp_path)) == 28


def test_a_complete_suite_is_left_alone_and_a_damaged_one_repaired(tmp_path: Path) -> None:
    suite.make(tmp_path, FEW, quiet=True)
    whole = contents(tmp_path)
    (tmp_path / "train/000003.mp4").write_bytes(b"torn")
    (tmp_path / "test/000001.png").unlink()
    (tmp_path / "train/.000009.mp4.1").write_bytes(b"left by a killed run")
    untouched = (tmp_path / "train/000002.mp4").stat().st_mtime_ns
    suite.make(tmp_path, FEW, quiet=True)
    assert contents(tmp_path) == whole
    assert (tmp_path / "train/000002.mp4").stat().st_mtime_ns == untouched


def test_a_killed_run_is_finished_by_the_next(tmp_path: Path) -> None:
    suite.make(tmp_path / "calm", FEW, quiet=True)
    make = partial(suite.make, tmp_path / "killed", FEW, quiet=True)
    assert processes.ended(processes.start(processes.dying, "os.replace", 12, make)) == processes.KILLED
    assert 11 <= len(contents(tmp_path / "killed")) < 28
    assert not (tmp_path / "killed/complete-10+4.json").exists()
    make()
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write MotionLab .*VITASCOPE_CACHE"):
        suite.make(tmp_path / "file" / "suite", FEW, quiet=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_stops_the_run_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = suite.write_video

    def full(path: Path, frames: np.ndarray, fps: float) -> None:
        if path.name == "000002.mp4":
            with open("/dev/full", "wb", buffering=0) as file:
                file.write(b"x")
        real(path, frames, fps)

    monkeypatch.setattr(suite, "write_video", full)
    with pytest.raises(OSError, match="No space left on device"):
        suite.make(tmp_path, suite.Size(40, 2), quiet=True)
    assert not list(tmp_path.glob("complete*"))
    assert not (tmp_path / "train/000039.mp4").exists(), "the rest is called off"


def test_datasets_share_clips_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motionlab, "SIZES", {"tiny": suite.Size(10, 5)})
    looks, moves, stills = (
        motionlab.build(f"{name}-tiny", tmp_path, quiet=True) for name in ("appearance", "motion", "still")
    )
    assert (looks.axis, moves.axis, stills.axis) == ("appearance", "motion", "appearance")
    assert (looks.classes, moves.classes, stills.classes) == (APPEARANCES, MOTIONS, APPEARANCES)
    assert [e.path for e in looks.examples] == [e.path for e in moves.examples]
    assert looks.key == moves.key != stills.key
    assert looks.folds == moves.folds == stills.folds
    (fold,) = looks.folds
    assert not set(fold.train) & set(fold.test)
    assert {e.id for e in looks.examples} == {*fold.train, *fold.test}
    assert looks.examples[5].id == "motionlab/train/000005"
    for data in (looks, moves, stills):
        assert all(Path(e.path).is_absolute() and Path(e.path).is_file() for e in data.examples)
    first = looks.examples[0]
    middle = decoded(Path(first.path))[FRAMES // 2].astype(float)
    assert np.abs(decoded(Path(stills.examples[0].path))[0] - middle).mean() < 4, "the still is the clip's middle frame"
    assert stills.examples[0].truth == first.truth


def test_datasets_live_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(motionlab, "SIZES", {"": suite.Size(1, 1)})
    data = motionlab.build("motion", quiet=True)
    assert data.examples[0].path == str(tmp_path / "cache/motionlab-1/seed-0/train/000000.mp4")


def test_an_unknown_suite_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dataset 'motionlab/motoin'; did you mean 'motionlab/motion'"):
        motionlab.build("motoin", tmp_path)
    assert not list(tmp_path.iterdir())
