"""Examples of keyframes: actors of several rows, frames without people, offsets, and ids that give the time back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.actors import Actor, Keyframes
from vitascope.core.errors import UserError
from vitascope.datasets.readers.keyframe_examples import (
    ActorRows,
    VideoSource,
    keyframe_dataset,
    keyframe_examples,
    keyframe_id,
    keyframe_of,
    video_sources,
)
from vitascope.datasets.readers.video_files import Footage
from vitascope.metrics.boxes import Frames

LEFT, RIGHT = (0.1, 0.2, 0.3, 0.9), (0.5, 0.2, 0.7, 0.9)


def rows(*listed: tuple, videos: tuple[str, ...] = ("a", "b"), empty: tuple = (), persons: bool = True) -> ActorRows:
    """Rows of (video, time, box, label, person)."""
    video, time, box, label, person = zip(*listed, strict=True) if listed else ((), (), (), (), ())
    return ActorRows(
        videos=videos,
        video=np.array(video, np.int64),
        time=np.array(time, np.float64),
        box=np.array(box, np.float64).reshape(-1, 4),
        label=np.array(label, np.int64),
        person=np.array(person, np.int64) if persons else None,
        empty=Frames(np.array([v for v, _ in empty], np.int64), np.array([t for _, t in empty], np.float64)),
    )


SOURCES = {"a": VideoSource(path="/a.mp4"), "b": VideoSource(path="/b.mkv", offset=900.0)}


def test_rows_of_a_person_and_box_are_one_actor() -> None:
    listed = ((0, 2.0, RIGHT, 5, 7), (0, 2.0, LEFT, 3, 4), (0, 2.0, RIGHT, 1, 7), (0, 2.0, RIGHT, 1, 7))
    (example,) = keyframe_examples(rows(*listed), SOURCES).examples
    assert example.truth == Keyframes((2.0,), (Actor(2.0, RIGHT, (1, 5), 7), Actor(2.0, LEFT, (3,), 4)))
    assert (example.id, example.group, example.span, example.path) == ("a@2", "a", (-4.0, 8.0), "/a.mp4")


def test_two_persons_in_one_box_are_two_actors_and_without_persons_one() -> None:
    listed = ((0, 1.0, LEFT, 0, 1), (0, 1.0, LEFT, 2, 2))
    with_persons, without = (keyframe_examples(rows(*listed, persons=p), SOURCES).examples[0] for p in (True, False))
    assert [a.labels for a in with_persons.truth.actors] == [(0,), (2,)]
    assert [(a.labels, a.track) for a in without.truth.actors] == [((0, 2), -1)]


def test_times_are_of_the_file_and_ids_of_the_annotations() -> None:
    listed = ((1, 903.0, LEFT, 0, 0), (1, 902.0, LEFT, 0, 0), (0, 902.5, LEFT, 0, 0))
    made = keyframe_examples(rows(*listed), SOURCES, digits=4, context=1.0).examples
    assert [e.id for e in made] == ["a@0902.5", "b@0902", "b@0903"]
    assert [e.truth.times for e in made] == [(902.5,), (2.0,), (3.0,)]
    assert made[1].span == (1.0, 3.0)


def test_frames_without_people_are_examples_without_actors() -> None:
    made = keyframe_examples(rows((0, 3.0, LEFT, -1, 0), empty=((1, 901.0), (0, 2.0))), SOURCES).examples
    assert [(e.id, e.truth.actors) for e in made] == [("a@2", ()), ("a@3", ()), ("b@901", ())]
    assert keyframe_examples(rows(empty=((0, 1.0),)), SOURCES).examples[0].truth == Keyframes((1.0,), ())


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 2), st.integers(-1, 2)), max_size=30))
@settings(max_examples=30)
def test_actors_are_those_of_going_through_the_rows(listed: list[tuple[int, int, int, int]]) -> None:
    boxes = (LEFT, RIGHT, (0.0, 0.0, 0.3, 0.9))
    expected: dict[str, dict[tuple, set[int]]] = {}
    for v, t, b, label in listed:
        actors = expected.setdefault(f"{'ab'[v]}@{t}", {})
        if label >= 0:
            actors.setdefault(boxes[b], set()).add(label)
    made = keyframe_examples(rows(*((v, t, boxes[b], c, b) for v, t, b, c in listed)), SOURCES).examples
    assert {e.id: {a.box: set(a.labels) for a in e.truth.actors} for e in made} == expected


@pytest.mark.parametrize(
    ("time", "digits", "text"), [(902, 4, "0902"), (3, 1, "3"), (1.5, 1, "1.5"), (0.033333, 1, "0.033333"), (0, 1, "0")]
)
def test_ids_give_video_and_time_back(time: float, digits: int, text: str) -> None:
    made = keyframe_id("odd @ name", time, digits=digits)
    assert made == f"odd @ name@{text}"
    assert keyframe_of(made) == ("odd @ name", time)


def test_an_id_without_a_time_is_none() -> None:
    with pytest.raises(ValueError, match="not the id of a keyframe"):
        keyframe_of("clip.mp4")


def test_sources_are_files_by_name_and_the_missing_ones_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "movies").mkdir()
    (tmp_path / "movies" / "a.webm").touch()
    made = video_sources(("a", "b"), Footage(tmp_path), offset=0.5)
    assert made["a"] == VideoSource(path=f"{tmp_path}/movies/a.webm", offset=0.5)
    assert made["b"].missing == f"no b below {tmp_path}"
    missing = keyframe_examples(rows((0, 1.0, LEFT, 0, 0), (1, 1.0, LEFT, 0, 0)), made).missing
    assert missing == {"b@1": f"no b below {tmp_path}"}


def test_a_dataset_has_a_fold_and_no_group_on_both_sides() -> None:
    one, other = (keyframe_examples(rows((v, 1.0, LEFT, 0, 0)), SOURCES) for v in (0, 1))
    made = keyframe_dataset("x", {"train": one, "test": other}, ("c",), root="/r")
    assert (made.kind, made.folds[0].train, made.folds[0].test) == ("detection", ("a@1",), ("b@1",))
    later = keyframe_examples(rows((0, 2.0, LEFT, 0, 0)), SOURCES)
    both = keyframe_dataset("x", {"train": one, "test": later}, ("c",), root="/r")
    assert ([e.group for e in both.examples], both.divided_groups) == ([None, None], {"a@1": "a", "a@2": "a"})
    with pytest.raises(UserError, match="1 keyframes of x are in training and in test, such as 'a@1'"):
        keyframe_dataset("x", {"train": one, "test": one}, ("c",), root="/r")
    none = keyframe_examples(rows(), SOURCES)
    with pytest.raises(UserError, match="list no test keyframes"):
        keyframe_dataset("x", {"train": one, "test": none}, ("c",), root="/r")


def test_keyframes_outside_of_their_file_are_missing() -> None:
    part = VideoSource(path="/b.mp4", offset=900.0, duration=10.0)
    assert [bool(part.problem(t)) for t in (899.0, 899.6, 905.0, 910.4, 911.0)] == [True, False, False, False, True]
    assert part.problem(911.0) == "the keyframe at 911 s is after the file, which ends at 910 s"
    assert part.problem(2.0) == "the keyframe at 2 s is before the file, which begins at 900 s"
    made = keyframe_examples(rows((1, 903.0, LEFT, 0, 0), (1, 911.0, LEFT, 0, 0)), {**SOURCES, "b": part})
    assert list(made.missing) == ["b@911"]
