"""Examples of one file that are decoded together: the messages of each, bit by bit those of decoding it alone."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from formats import numbered, write
from helpers import blob, write_video
from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset, Example
from vitascope.encoders.base import Tokens
from vitascope.features import blocks as blocking
from vitascope.features import decode_group, extract
from vitascope.features.decode_group import decode_together, group_size, groups
from vitascope.features.decode_job import ClipHeader, ClipIndex, DecodeJob, decode_example
from vitascope.features.extract import ExtractionOptions, embed, store_key
from vitascope.features.live import LiveFeatures
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.motionlab.write import write_picture
from vitascope.sampling.names import Around, MultiClip, Sampler, Uniform, Views, WholeFrame
from vitascope.video import frame_reader as reading

CARD = Card(name="lab/mean", digest="1", dim=3, frames=4, size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
SAMPLERS: tuple[Sampler, ...] = (WholeFrame(Around(stride=3)), MultiClip(0.3, 0.1), Views(3, 2, 1))
OPTIONS = ExtractionOptions(workers=1, batch=4, quiet=True)


def keyframes(path: Path | str, end: float, *, every: float = 0.25, context: float = 0.4) -> list[DecodeJob]:
    """A job for each keyframe."""
    times = np.arange(every, end, every).tolist()
    return [DecodeJob("", f"{t:.2f}", str(path), (t - context, t + context), None, SAMPLERS, CARD) for t in times]


def messages_of(parts: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """All messages of each job, an error as its text."""
    return [list(_told(part)) for part in parts]


def _told(part: Iterable[Any]) -> Iterator[Any]:
    try:
        for message, pixels in part:
            yield message, None if pixels is None else pixels.tobytes()
    except Exception as error:
        yield type(error), str(error)


def check(jobs: Sequence[DecodeJob]) -> list[list[Any]]:
    """Assert that the jobs give the same messages together as alone; return them."""
    alone = messages_of(decode_example(job) for job in jobs)
    assert messages_of(decode_together(jobs)) == alone
    return alone


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("movie") / "a.mp4", "libx264", frames=100, g="30")


def test_a_frame_is_decoded_once(movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, taken = keyframes(movie, 4.0), []
    check(jobs)
    take = reading._Stream._take
    monkeypatch.setattr(reading._Stream, "_take", lambda self, f: taken.append(f.pts) or take(self, f))
    messages_of(decode_together(jobs))
    assert len(set(taken)) == len(taken) <= 100
    taken.clear()
    messages_of(decode_example(job) for job in jobs)
    assert len(taken) > 300


def test_folders_of_frames_and_pictures(tmp_path: Path) -> None:
    for i in range(30):
        write_picture(tmp_path / "frames" / f"{i:03d}.png", numbered(i)) if i else (tmp_path / "frames").mkdir()
    for fps in (10.0, 30.0):
        check([job._replace(fps=fps) for job in keyframes(tmp_path / "frames", 3.0)])
    write_picture(tmp_path / "one.png", numbered(1))
    check([job._replace(samplers=(Uniform(),)) for job in keyframes(tmp_path / "one.png", 1.0)])


@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv", "avi"])
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", "libx264" if suffix != "avi" else "mpeg4", g="15", bf="2")
    data = path.read_bytes()
    for share, much in ((0.5, 900), (0.33, 60), (0.6, 4)):
        place = int(len(data) * share)
        path.write_bytes(data[:place] + bytes(much) + data[place + much :])
        check(keyframes(path, 2.4, every=0.4, context=0.5))
    path.write_bytes(data[: 2 * len(data) // 3])
    check(keyframes(path, 2.4, every=0.4, context=0.5))
    path.write_bytes(b"no video")
    assert all(isinstance(part[-1][0], type) for part in check(keyframes(path, 1.0)))


def test_a_keyframe_that_fails_harms_no_other(movie: Path) -> None:
    jobs = keyframes(movie, 2.0)
    jobs[0] = jobs[0]._replace(span=(50.0, 51.0))
    jobs[3] = jobs[3]._replace(span=(2.0, 1.0))
    messages = check(jobs)
    failed = [k for k, part in enumerate(messages) if isinstance(part[-1][0], type)]
    assert failed == [0, 3]


def test_what_cannot_be_kept_is_decoded_alone(movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_group, "KEPT_BYTES", 1)
    check(keyframes(movie, 2.0))


def test_a_waiting_worker_reads_ahead_within_bounds(movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_group, "has_free_slot", lambda: False)
    for limit in (1 << 30, 4 * 16 * 16 * 3):
        monkeypatch.setattr(decode_group, "AHEAD_BYTES", limit)
        check(keyframes(movie, 4.0))


@pytest.mark.parametrize("when", [ClipHeader, ClipIndex, list])
def test_a_file_that_is_exchanged_meanwhile(tmp_path: Path, movie: Path, when: type) -> None:
    """The keyframe in hand is to be read again; the later ones are those of the new file."""
    path, other = tmp_path / "a.mp4", write(tmp_path / "b.mp4", "libx264", frames=90, g="12", crf="35")
    shutil.copy(movie, path)
    jobs = keyframes(path, 2.0)
    parts = iter(decode_together(jobs))
    before = messages_of([next(parts), next(parts)])
    middle = []
    for message, _ in next(parts):
        middle.append(message)
        if isinstance(message, when):
            shutil.copy(other, path)
    after = messages_of(parts)
    assert after == messages_of(decode_example(job) for job in jobs[3:])
    if when is not list:
        assert type(middle[-1]).__name__ == "Changed"
    shutil.copy(movie, path)
    assert [part[1:] for part in before] == [part[1:] for part in messages_of(map(decode_example, jobs[:2]))]


def test_groups_are_neighbors_in_one_file() -> None:
    def job(path: str, start: float, end: float) -> DecodeJob:
        return DecodeJob("", "", path, (start, end), None, (Uniform(),), CARD)

    def sizes(*jobs: DecodeJob, most: int = 9) -> list[int]:
        cut = list(groups(jobs, most))
        assert [one for group in cut for one in group] == list(jobs)
        return [len(group) for group in cut]

    near = [job("a", t, t + 4) for t in range(20)]
    assert sizes(*near) == [9, 9, 2]
    assert sizes(*near, most=0) == [1] * 20
    assert sizes(*near, most=99) == [20]
    assert sizes(*near[:3], job("b", 3, 7), *near[3:5]) == [3, 1, 2]
    assert sizes(near[0], near[2], near[1]) == [2, 1]
    assert sizes(job("a", 0, 9), job("a", 1, 8)) == [1, 1]
    assert sizes(job("a", 0, 4), job("a", 14, 18), job("a", 28.1, 30)) == [2, 1]
    assert sizes(job("a", 0, 60), job("a", 60, 300), job("a", 300, 301)) == [2, 1]
    assert sizes(*[near[0]._replace(span=None)] * 3) == [1, 1, 1]
    assert sizes(near[0], near[1]._replace(fps=25.0)) == [1, 1]
    assert sizes() == []
    assert [group_size(897, 1), group_size(897, 15), group_size(60, 15), group_size(3, 4)] == [128, 32, 4, 0]


def test_blocks_hold_spans_of_a_large_file_up_to_half_an_hour(movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "BLOCK_BYTES", 1)

    def sizes(*spans: Any) -> list[int]:
        return [
            len(b) for _, b in blocking.blocks([Example(id=str(s), path=str(movie), truth=0, span=s) for s in spans])
        ]

    assert sizes(*[(float(t), t + 4.0) for t in range(200)]) == [128, 72]
    assert sizes(*[(t * 700.0, t * 700.0 + 700) for t in range(5)]) == [2, 2, 1]
    assert sizes(None, None, (0.0, 1.0)) == [1, 1, 1]


class Mean:
    """The mean color of a clip."""

    card = CARD

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        self.batches.append(clips.numpy().copy())
        return Tokens(clips.mean((3, 4)).transpose(1, 2)[:, :, None, None], clips.mean((2, 3, 4)))


VIEWS = [View(sampler) for sampler in SAMPLERS]


def dataset(*paths: Path) -> Dataset[int]:
    examples = [
        Example(id=f"{path.stem}@{job.example}", path=str(path), truth=0, span=job.span)
        for path in paths
        for job in keyframes(path, 4.0)
    ]
    return Dataset(name="movies", examples=tuple(examples), classes=("a",), folds=())


class Alone(NamedTuple):
    """A store of keyframes that were each decoded alone, and the batches that the encoder saw."""

    root: Path
    batches: list[np.ndarray]


def stored(data: Dataset[int], root: Path, views: Sequence[View] = VIEWS) -> list[bytes]:
    stores = [Store(root, store_key(data, CARD, view)) for view in views]
    return [store.read([e.id for e in data.examples]).values.tobytes() for store in stores]


@pytest.fixture(scope="module")
def movies(movie: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset[int]:
    """Keyframes of a good movie, a damaged one, and one of single examples."""
    folder = tmp_path_factory.mktemp("movies")
    data = movie.read_bytes()
    (folder / "damaged.mp4").write_bytes(data[: len(data) // 2] + bytes(500) + data[len(data) // 2 + 500 :])
    return dataset(movie, folder / "damaged.mp4", write_video(folder / "short.mp4", blob(0.0, 1)))


@pytest.fixture(scope="module")
def alone(movies: Dataset[int], tmp_path_factory: pytest.TempPathFactory) -> Alone:
    encoder, root = Mean(), tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_group, "MOST", 1)  # for a single worker
        embed(encoder, movies, VIEWS, root=root, options=OPTIONS)
    return Alone(root, encoder.batches)


def test_the_store_and_the_batches_are_the_same(movies: Dataset[int], alone: Alone, tmp_path: Path) -> None:
    encoder = Mean()
    filled = embed(encoder, movies, VIEWS, root=tmp_path, options=replace(OPTIONS, workers=2))
    assert {e.partition("@")[0] for e in filled.notes} == {"damaged"}
    assert filled.failures
    assert stored(movies, tmp_path) == stored(movies, alone.root)
    assert all(map(np.array_equal, encoder.batches, alone.batches))


UNLUCKY = """
import os, signal
from pathlib import Path
from vitascope.features.decode_group import decode_together
from vitascope.features.decode_job import decode_example

def work(job):
    yield from befallen(job, decode_example(job))

def together(jobs):
    return [befallen(job, messages) for job, messages in zip(jobs, decode_together(jobs))]

def befallen(job, messages):
    flag = Path(__file__).with_name("times")
    for number, message in enumerate(messages):
        left = int(flag.read_text())
        if job.example.endswith("@1.00") and number == 3 and left:
            flag.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        yield message
"""


def test_what_befalls_the_machine_is_tried_again_alone(
    movies: Dataset[int], alone: Alone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unlucky_group.py").write_text(UNLUCKY)
    (tmp_path / "times").write_text("2")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("unlucky_group", None)
    unlucky = importlib.import_module("unlucky_group")
    monkeypatch.setattr(extract, "decode_example", unlucky.work)
    monkeypatch.setattr(extract, "decode_together", unlucky.together)
    failures = embed(Mean(), movies, VIEWS, root=tmp_path, options=OPTIONS).failures
    assert (tmp_path / "times").read_text() == "0"
    assert not [e for e in failures if e.endswith("@1.00")]
    assert stored(movies, tmp_path) == stored(movies, alone.root)


class Interrupted(Mean):
    """An encoder that fails at its ninth batch."""

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        if len(self.batches) == 8:
            raise UserError("interrupted")
        return super().__call__(clips)


def test_an_interrupted_movie_goes_on_where_it_was(
    movies: Dataset[int], alone: Alone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "BLOCK_EXAMPLES", 5)
    view = VIEWS[1:2]
    with pytest.raises(ValueError, match="interrupted"):
        embed(Interrupted(), movies, view, root=tmp_path, options=OPTIONS)
    before = len(Store(tmp_path, store_key(movies, CARD, view[0])).status())
    assert before == 5
    rest = embed(Mean(), movies, view, root=tmp_path, options=OPTIONS)
    assert rest.encoded == len(movies.examples) - before
    assert stored(movies, tmp_path, view) == stored(movies, alone.root, view)


def test_live_features_are_those_of_single_examples(movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, passes = dataset(movie), []
    ids = [e.id for e in data.examples]
    for most in (32, 1):
        monkeypatch.setattr(decode_group, "MOST", most)
        with LiveFeatures(Mean(), data, ids, View(SAMPLERS[0], "grid", stored=False), options=OPTIONS) as live:
            orders = (None, [3, 4, 5, 0, 9, 8, 1])
            passes.append([batch.values for order in orders for batch in live.batches(4, order)])
    assert all(map(torch.equal, *passes))
