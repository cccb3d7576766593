"""Live features say what stored ones say, in the order asked, and name what they cannot read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitascope.core.types import Card, Dataset
from vitascope.datasets.builders.folder import build
from vitascope.encoders.base import Tokens
from vitascope.features.base import Batch, Features
from vitascope.features.encode import encode_clips
from vitascope.features.extract import ExtractionOptions, embed
from vitascope.features.live import LiveFeatures
from vitascope.features.source import (
    FeatureSource,
    draws_endlessly,
    load_memmap,
    load_stored,
    stored_bytes,
    views_within_budget,
)
from vitascope.features.view import View
from vitascope.sampling.names import (
    Drawn,
    Frozen,
    MultiClip,
    RandomClip,
    RandomCrop,
    Reversed,
    Sampler,
    Slowed,
    Uniform,
)
from vitascope.video import decode, inspect

CARD = Card(name="lab/mean", digest="1", dim=3, frames=4, size=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
OPTIONS = ExtractionOptions(workers=1, batch=3, quiet=True)
DRAWS = Drawn(RandomCrop(RandomClip(2), flip=True), 3, seed=5)


class Blocks:
    """Mean colors of each frame's quarters."""

    card = CARD

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        grid = torch.nn.functional.avg_pool3d(clips, (1, 8, 8)).movedim(1, -1)
        return Tokens(grid, grid.mean((1, 2, 3)))


def opened(dataset: Dataset[int], view: View, ids: list[str]) -> LiveFeatures:
    return LiveFeatures(Blocks(), dataset, ids, view, options=OPTIONS)


def unpadded(batches: Iterator[Batch]) -> list[tuple[int, torch.Tensor]]:
    return [(int(o), v[m]) for b in batches for v, m, o in zip(b.values, b.mask, b.owner, strict=True)]


REDUCTIONS = ("clip", "time", "grid")


@pytest.fixture(scope="module")
def store(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All views that are stored, of all videos."""
    root = tmp_path_factory.mktemp("store")
    views = [View(sampler, reduce) for sampler in (Uniform(), MultiClip(0.5), DRAWS) for reduce in REDUCTIONS]
    embed(Blocks(), build("", videos), views, root=root, options=OPTIONS)
    return root


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(
    ("sampler", "draws"), [(Uniform(), (None, 1)), (MultiClip(0.5), (None,)), (DRAWS, (None, 0, 4))]
)
def test_live_is_stored(
    videos: Path, store: Path, reduce: str, draws: tuple[int | None, ...], sampler: Sampler
) -> None:
    dataset = build("", videos)
    ids = [e.id for e in dataset.examples[::-2]]
    view = View(sampler, reduce)  # type: ignore[arg-type]
    order = [3, 0, 8, 1, 2, 7, 6, 5, 4]
    disk = load_memmap(dataset, CARD, view, ids=ids, root=store)
    memory = load_stored(dataset, CARD, view, ids=ids, root=store)
    with opened(dataset, replace(view, stored=False), ids) as live:
        assert isinstance(live, Features)
        read = {draw: list(live.batches(2, order, draw)) for draw in draws}
    results = {draw: unpadded(iter(batches)) for draw, batches in read.items()}
    for batch in read.get(None, []):
        for owner, spans in zip(batch.owner.tolist(), batch.spans, strict=True):
            assert np.array_equal(spans, memory.spans[owner])
    for draw, result in results.items():
        for kept in (disk, memory):
            expected = unpadded(kept.batches(2, order, draw))
            assert [o for o, _ in result] == [o for o, _ in expected] == order
            for (_, ours), (_, theirs) in zip(result, expected, strict=True):
                torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)
    assert not live.failures


def test_endless_draws_never_repeat(videos: Path) -> None:
    dataset = build("", videos)
    view = View(replace(DRAWS, count=0), stored=False)
    ids = [e.id for e in dataset.examples[:2]]
    with opened(dataset, view, ids) as live:
        passes = [torch.cat([v for _, v in unpadded(live.batches(8, draw=n))]) for n in (0, 1, 2, 3, 1)]
    assert torch.equal(passes[1], passes[4])
    assert len({p.numpy().tobytes() for p in passes}) == 4


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("wrap", [Reversed, lambda inner: Slowed(Frozen(inner))])
def test_draws_go_on_under_an_alteration(videos: Path, count: int, wrap: Callable[[Sampler], Sampler]) -> None:
    """An altered drawing sampler draws anew at every pass, and each pass is that of the plain one, altered."""
    dataset = build("", videos)
    ids = [e.id for e in dataset.examples[:2]]
    drawn = replace(DRAWS, count=count)
    assert draws_endlessly(wrap(drawn)) == (count == 0)
    with opened(dataset, View(wrap(drawn), stored=False), ids) as live:
        passes = [torch.cat([v for _, v in unpadded(live.batches(8, draw=n))]) for n in range(4)]
    assert len({p.numpy().tobytes() for p in passes}) == (count or 4)
    for n, result in enumerate(passes):
        assert torch.equal(result, by_hand(dataset, ids, wrap(drawn.at(n))))


def by_hand(dataset: Dataset[int], ids: list[str], sampler: Sampler) -> torch.Tensor:
    """The vectors of the clips of each example, decoded here."""
    videos = [inspect(dataset.by_id()[i].path) for i in ids]
    clips = [dict(decode(video, sampler(video, CARD.frames), CARD.size, CARD.resize)) for video in videos]
    pixels = np.stack([of_video[i] for of_video in clips for i in sorted(of_video)])
    return encode_clips(Blocks(), torch.from_numpy(pixels)).clip.float()


def test_what_cannot_be_read_is_left_out_and_named(videos: Path, tmp_path: Path) -> None:
    dataset = build("", videos)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    examples = list(dataset.examples)
    examples[2] = replace(examples[2], path=str(broken))
    dataset = replace(dataset, examples=tuple(examples), missing_files={examples[4].id: "no such file"})
    ids = [e.id for e in examples[:7]]
    with opened(dataset, View(MultiClip(0.5), stored=False), ids) as live:
        assert [e.id for e in live.examples] == [i for i in ids if i != examples[4].id]
        result = [o for o, _ in unpadded(live.batches(4))]
    assert result == [0, 1, 3, 4, 5]
    assert set(live.failures) == {examples[2].id, examples[4].id}
    assert live.failures[examples[4].id] == "no such file"


def test_a_budget_decides_which_grids_are_stored(videos: Path, tmp_path: Path) -> None:
    dataset = build("", videos)
    grid, endless = View(Uniform(), "grid", stored=False), View(replace(DRAWS, count=0), "grid", stored=False)
    one = stored_bytes(Blocks(), dataset, grid)
    assert one == 18 * 4 * 2 * 2 * 3 * 2
    drawn = View(DRAWS, "grid", stored=False)
    assert stored_bytes(Blocks(), dataset, drawn) == 3 * one
    views = [endless, grid, drawn]
    assert views_within_budget(Blocks(), dataset, views, 0) == []
    assert views_within_budget(Blocks(), dataset, views, 2 * one) == [grid]
    assert views_within_budget(Blocks(), dataset, views, 4 * one) == [grid, drawn]
    with FeatureSource(Blocks(), dataset, tmp_path, OPTIONS, budget=2 * one) as source:
        source.prepare(views)
        kinds = [type(source.features(v, [dataset.examples[0].id])).__name__ for v in views]
    assert kinds == ["LiveFeatures", "MemmapFeatures", "LiveFeatures"]


@pytest.mark.parametrize("full", [False, True])
def test_live_results_follow_their_files(tmp_path: Path, full: bool) -> None:
    data = bytearray(300_000)
    for name in ("a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
        data[100_000 if full else 0] += 1  # outside the samples, or at the start
    dataset, views = build("", tmp_path), [View(DRAWS, "grid", stored=False)]

    def source() -> FeatureSource:
        return FeatureSource(Blocks(), dataset, tmp_path / "store", replace(OPTIONS, full_digest=full))

    with source() as first:
        first.prepare(views)
        inputs = first.inputs(views)
    assert inputs
    assert not source().has_changed(views, inputs)
    assert not FeatureSource(Blocks(), dataset, tmp_path / "store", OPTIONS).has_changed(views, inputs), "its own kind"
    assert not source().has_changed(views, ""), "a result of before, which says nothing of its files"
    path = Path(dataset.examples[0].path)
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert source().has_changed(views, inputs)
