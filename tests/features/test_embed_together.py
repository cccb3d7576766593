"""Several encoders in one call: every frame is decoded once, and the stores are those of separate calls, bit by bit."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from formats import write
from helpers import blob, write_video
from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.core.worker_pool import Pool
from vitascope.encoders.base import Tokens
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.decode_group import decode_together
from vitascope.features.decode_job import DecodeJob, decode_example
from vitascope.features.extract import ExtractionOptions, embed, embed_together, store_key
from vitascope.features.view import View
from vitascope.motionlab.write import write_picture
from vitascope.sampling.names import MultiClip, Uniform, Views
from vitascope.video import frame_reader as reading

OPTIONS = ExtractionOptions(workers=1, batch=4, quiet=True)
CARD = Card(name="lab/a", digest="1", dim=3, frames=4, size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
SINGLE, CLIPS = (View(Uniform()),), (View(MultiClip(0.4, 0.2)), View(Views(3, 2, 1), "time"))


class Mean:
    """The mean color of a clip, and all batches that were seen."""

    def __init__(self, **card: Any) -> None:
        self.card = replace(CARD, **card)
        self.batches: list[np.ndarray] = []

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        self.batches.append(clips.numpy().copy())
        return Tokens(clips.mean((3, 4)).transpose(1, 2)[:, :, None, None], clips.mean((2, 3, 4)))


class Failing(Mean):
    """An encoder that fails at its second batch."""

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        if self.batches:
            raise UserError("broken on purpose")
        return super().__call__(clips)


def encoders() -> list[tuple[Mean, tuple[View, ...]]]:
    """Two that need the same pixels, and others of another size, length, transform or view."""
    return [
        (Mean(name="lab/a"), SINGLE + CLIPS),
        (Mean(name="lab/b", digest="2"), SINGLE + CLIPS),
        (Mean(name="lab/c", size=24, frames=7, image="single"), SINGLE),
        (Mean(name="lab/d", resize="square", filter="bicubic"), CLIPS),
        (Mean(name="lab/e", resize="square"), SINGLE + CLIPS),
    ]


def tree(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset[int]:
    """Whole videos, spans of one file, a picture, a damaged file and one that is none."""
    root = tmp_path_factory.mktemp("mixed")
    paths = [write_video(root / f"{i}.mp4", blob(i / 3, i, frames=14 + i)) for i in range(5)]
    movie = write(root / "movie.mp4", "libx264", frames=60, g="20")
    write_picture(root / "picture.png", blob(0.3, 1)[0])
    data = movie.read_bytes()
    (root / "damaged.mp4").write_bytes(data[: len(data) // 2] + bytes(400) + data[len(data) // 2 + 400 :])
    (root / "none.mp4").write_bytes(b"no video")
    whole = [*paths, root / "picture.png", root / "damaged.mp4", root / "none.mp4"]
    examples = [Example(id=p.name, path=str(p), truth=i % 2) for i, p in enumerate(whole)]
    spans = [(0.2 * t, 0.2 * t + 0.9) for t in range(6)]
    examples += [Example(id=f"movie@{s[0]:.1f}", path=str(movie), truth=0, span=s) for s in spans]
    ids = tuple(e.id for e in examples)
    fold = Fold(name="all", train=ids[:4], test=ids[4:5])
    return Dataset(name="mixed", examples=tuple(examples), classes=("x", "y"), folds=(fold,))


def test_the_stores_are_those_of_separate_calls(mixed: Dataset[int], tmp_path: Path) -> None:
    alone, together = encoders(), encoders()
    for encoder, views in alone:
        embed(encoder, mixed, views, root=tmp_path / "alone", options=OPTIONS)
    some = together[1][0]
    embed(Mean(name="lab/b", digest="2"), few(mixed), SINGLE, root=tmp_path / "t", options=OPTIONS)
    outcomes = embed_together(together, mixed, root=tmp_path / "t", options=replace(OPTIONS, workers=2))
    assert tree(tmp_path / "t") == tree(tmp_path / "alone")
    for (encoder, _), (other, _) in zip(alone, together, strict=True):
        if other is not some:  # it had some examples already, and so forms other batches
            assert len(encoder.batches) == len(other.batches)
            assert all(map(np.array_equal, encoder.batches, other.batches))
    for outcome in outcomes:
        assert not isinstance(outcome, UserError)
        assert set(outcome.failures) == {"none.mp4"}
        assert "damaged.mp4" in outcome.notes


def few(data: Dataset[int]) -> Dataset[int]:
    return replace(data, examples=data.examples[1:3])


def test_a_frame_is_decoded_once_for_all_sizes(mixed: Dataset[int], monkeypatch: pytest.MonkeyPatch) -> None:
    movie = next(e.path for e in mixed.examples if e.id.startswith("movie"))
    jobs = [
        DecodeJob("", "m", movie, None, None, tuple(v.sampler for v in views), e.card, readers=(n,))
        for n, (e, views) in enumerate(encoders())
    ]
    taken: list[int] = []
    take = reading._Stream._take
    monkeypatch.setattr(reading._Stream, "_take", lambda self, f: taken.append(f.pts) or take(self, f))
    together = [[(m, None if p is None else p.tobytes()) for m, p in part] for part in decode_together(jobs)]
    once = len(taken)
    assert once == len(set(taken)) <= 60
    taken.clear()
    assert together == [[(m, None if p is None else p.tobytes()) for m, p in decode_example(job)] for job in jobs]
    assert len(taken) > 2 * once


def test_an_encoder_that_fails_stops_no_other(mixed: Dataset[int], tmp_path: Path) -> None:
    good, bad = Mean(name="lab/a"), Failing(name="lab/bad")
    outcomes = embed_together([(bad, SINGLE), (good, SINGLE)], mixed, root=tmp_path / "s", options=OPTIONS)
    assert "broken on purpose" in str(outcomes[0])
    assert not isinstance(outcomes[1], UserError)
    assert outcomes[1].encoded == len(mixed.examples)
    with pytest.raises(UserError, match="broken on purpose"):
        embed(Failing(name="lab/bad"), mixed, SINGLE, root=tmp_path / "s", options=OPTIONS)


def test_one_encoder_twice_is_encoded_once(mixed: Dataset[int], tmp_path: Path) -> None:
    twice = [Mean(), Mean()]
    outcomes = embed_together([(e, SINGLE) for e in twice], mixed, root=tmp_path, options=OPTIONS)
    assert [o.encoded for o in outcomes if not isinstance(o, UserError)] == [len(mixed.examples), 0]
    assert not twice[1].batches
    assert store_key(mixed, twice[0].card, SINGLE[0]) == store_key(mixed, twice[1].card, SINGLE[0])


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[DecodeJob]:
    """All jobs that decoding processes were given."""
    given: list[DecodeJob] = []
    begin = Pool._begin
    monkeypatch.setattr(Pool, "_begin", lambda self, i, new: given.extend(new.values()) or begin(self, i, new))
    return given


def test_an_evaluation_decodes_once_for_its_encoders(
    mixed: Dataset[int], tmp_path: Path, jobs: list[DecodeJob]
) -> None:
    data = replace(mixed, examples=mixed.examples[:5], name="five")
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store", options=OPTIONS)
    two = [Mean(name="lab/a"), Mean(name="lab/b", digest="2")]
    results = evaluate(data, two, ["knn/clip"], config=config)
    assert [r.encoder for r in results] == ["lab/a", "lab/b"]
    ours = [job for job in jobs if isinstance(job, DecodeJob)]
    assert sorted(job.example for job in ours) == [e.id for e in data.examples]
    assert {job.readers for job in ours} == {(0, 1)}
    assert all(r.cost["encoded"] == 5 and r.seconds["encode"] > 0 for r in results)
