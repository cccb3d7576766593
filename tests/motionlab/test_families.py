"""What frames without order tell of MotionLab: the classes alike, against an oracle that renders every hypothesis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitascope.datasets.builders import motionlab
from vitascope.metrics.class_parts import order_free
from vitascope.motionlab import families, motion, suite
from vitascope.motionlab.render import FPS, FRAMES, render
from vitascope.motionlab.scene import MOTIONS, Scene, sample

STRUCTURE = motionlab.STRUCTURES["motion"]


def bag(scene: Scene) -> list[bytes]:
    """The frames of a clip in no order."""
    return sorted(frame.tobytes() for frame in render(scene, FRAMES // 4, side=16, fps=FPS / 4))


def possible(scene: Scene) -> set[str]:
    """The motions of which some clip, with everything else as it is or reversed, has the very same frames."""
    seen, back = bag(scene), scene.reversed
    return {name for name in MOTIONS for base in (scene, back) if bag(replace(base, motion=name)) == seen}


def test_who_renders_every_hypothesis_confuses_the_classes_alike_and_no_others() -> None:
    for name in (MOTIONS[0], *MOTIONS[1::2]):
        scene = sample("triangle-checks", name, np.random.default_rng(MOTIONS.index(name)))
        group = next((g for g in STRUCTURE.alike or () if MOTIONS.index(name) in g), (MOTIONS.index(name),))
        assert possible(scene) == {MOTIONS[c] for c in group}


def passed(scene: Scene, name: str) -> list[bytes]:
    """The states of a scene with motion `name` at all frames, in no order."""
    states = motion.states(replace(scene, motion=name), motion.clock(FRAMES, FPS))
    return sorted(state.tobytes() for state in np.round(states, 9) % 1.0)


def test_the_states_passed_through_tell_a_motion_up_to_its_reverse() -> None:
    """The same for test clips, four of each motion, by the states of their frames: one over the motions that fit."""
    shots = [s for s in suite.shots(suite.FULL) if s.split == "test"]
    correct = []
    for shot in shots[: 4 * len(MOTIONS)]:
        scene = suite.scene(shot)
        seen = passed(scene, scene.motion)
        correct.append(1 / sum(passed(scene, name) == seen for name in MOTIONS))
    bound = order_free([s.motion for s in shots], STRUCTURE, len(MOTIONS))
    assert bound == pytest.approx(100 * np.mean(correct))
    assert bound == pytest.approx(100 * (24 + 16 * 24 / 2) / 408)


def test_one_frame_tells_every_look() -> None:
    for name in ("appearance", "still"):
        assert order_free(list(range(24)), motionlab.STRUCTURES[name], 24) == 100.0


def test_every_suite_has_its_classes_in_one_family_and_one_pair_at_most() -> None:
    assert [len(motionlab.STRUCTURES[name].pairs) for name in ("motion", "localize", "segment", "detect")] == [
        8,
        8,
        5,
        4,
    ]
    members = [c for group in STRUCTURE.families.values() for c in group]
    assert sorted(members) == list(range(len(MOTIONS)))
    assert list(STRUCTURE.families) == ["translation", "turning", "orbit", "scale", "depth", "still"]


def test_programs_of_ones_own() -> None:
    """Half a turn one way is not the other way twice as fast: only exact opposites are alike."""
    own = {"a": (1, 0, 0, 0, 0, 0), "b": (-1, 0, 0, 0, 0, 0), "c": (-2, 0, 0, 0, 0, 0), "look": None}
    found = families.structure(list(own), {name: steps for name, steps in own.items() if steps})
    assert (found.alike, found.pairs, dict(found.families)) == (((0, 1),), ((0, 1),), {"translation": (0, 1, 2)})
