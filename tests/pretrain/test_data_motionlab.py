"""MotionLab as training data: which scenes, rendered how, in which order, and taken up again to the bit."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch

from vitascope.core.types import plain
from vitascope.motionlab import suite
from vitascope.motionlab.render import render
from vitascope.motionlab.scene import APPEARANCES
from vitascope.pretrain.data import motionlab, motionlab_render
from vitascope.pretrain.data.base import Clips, ClipSpec
from vitascope.pretrain.data.motionlab import MotionLab, apply_symmetry, epoch_order

SPEC = ClipSpec(frames=4, size=28)
FEW = MotionLab(clips=10, seed=3, quiet=True)


def pixels(clips: Clips) -> np.ndarray:
    return clips.pixels.numpy()


def read_clips(source: MotionLab, spec: ClipSpec) -> np.ndarray:
    """The clips as they should be stored, by another route: one scene at a time, means by slicing."""
    clips = []
    for i in range(source.clips):
        wide = render(
            motionlab_render.draw_scene(source.seed, i)[0], spec.frames, side=112, fps=spec.frames / 2
        ).astype(float)
        step = 112 // spec.size
        total = sum(wide[:, a::step, b::step] for a in range(step) for b in range(step))
        clips.append(np.floor(total / step**2 + 0.5).astype(np.uint8))
    return np.stack(clips)


def test_clips_are_the_scenes_shrunk_turned_and_permuted_each_once_an_epoch() -> None:
    stored = read_clips(FEW, SPEC)
    reader = FEW.open(SPEC, seed=1)
    for epoch in range(2):
        clips, ways = epoch_order(1, epoch, FEW.clips)
        assert sorted(clips) == list(range(FEW.clips))
        batch = reader.read(FEW.clips)
        assert batch.pixels.shape == (10, 4, 28, 28, 3)
        assert batch.labels.tolist() == [-1] * 10
        assert batch.source == "motionlab"
        for clip_read, clip, way in zip(pixels(batch), clips, ways, strict=True):
            assert np.array_equal(clip_read, apply_symmetry(stored[clip], int(way)))
    assert not np.array_equal(epoch_order(1, 0, 10)[0], epoch_order(1, 1, 10)[0])
    assert not np.array_equal(epoch_order(1, 0, 10)[0], epoch_order(2, 0, 10)[0])
    reader.close()


def test_the_symmetries_are_the_sixteen_of_time_and_square() -> None:
    clip = np.random.default_rng(0).integers(256, size=(3, 5, 5, 3), dtype=np.uint8)
    group = set()
    for back, flip, turns in itertools.product((1, -1), (False, True), range(4)):
        square = np.rot90(clip[::back], turns, axes=(1, 2))
        group.add((square[:, ::-1] if flip else square).tobytes())
    assert {apply_symmetry(clip, s).tobytes() for s in range(motionlab.SYMMETRIES)} == group
    assert len(group) == 16
    ways = Counter(way for epoch in range(40) for way in epoch_order(0, epoch, 100)[1].tolist())
    assert set(ways) == set(range(16))
    expected = 4000 / 16
    assert sum((n - expected) ** 2 / expected for n in ways.values()) < 44.3  # chi-squared of 15 at 1e-4


def test_stills_are_middle_pictures_with_the_number_of_their_appearance() -> None:
    source = MotionLab(clips=6, seed=3, kind="still", quiet=True)
    reader = source.open(SPEC, seed=0)
    batch = reader.read(6)
    reader.close()
    assert batch.pixels.shape == (6, 1, 28, 28, 3)
    clips, _ = epoch_order(0, 0, 6)
    looks = [motionlab_render.draw_scene(3, int(i))[0] for i in clips]
    assert [APPEARANCES[k] for k in batch.labels.tolist()] == [f"{s.shape}-{s.texture}" for s in looks]
    assert [motionlab_render.draw_scene(3, int(i))[1] for i in clips] == batch.labels.tolist()


def test_restored_reader_gives_what_an_undisturbed_one_gives() -> None:
    undisturbed = FEW.open(SPEC, seed=5)
    whole = [pixels(undisturbed.read(3)) for _ in range(9)]
    undisturbed.close()
    for stop in range(9):
        first = FEW.open(SPEC, seed=5)
        before = [pixels(first.read(3)) for _ in range(stop)]
        state = json.loads(json.dumps(first.state()))
        first.close()
        again = FEW.open(SPEC, seed=5)
        again.read(2)  # is forgotten
        again.restore(state)
        after = [pixels(again.read(3)) for _ in range(9 - stop)]
        again.close()
        assert np.array_equal(before + after, whole)


def test_other_batch_sizes_continue_the_same_sequence() -> None:
    one, other = FEW.open(SPEC, seed=5), FEW.open(SPEC, seed=5)
    whole = pixels(one.read(12))
    parts = [pixels(other.read(n)) for n in (1, 4, 2, 5)]
    assert np.array_equal(np.concatenate(parts), whole)
    one.close()
    other.close()


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_divide_the_sequence(world: int) -> None:
    alone = FEW.open(SPEC, seed=5)
    whole = pixels(alone.read(6 * world))
    alone.close()
    for rank in range(world):
        reader = FEW.open(SPEC, seed=5, rank=rank, world=world)
        assert np.array_equal(pixels(reader.read(6)), whole[rank::world])
        assert reader.state()["position"] == {"taken": 6 * world}
        reader.close()
    with pytest.raises(ValueError, match="rank 2 of 2"):
        FEW.open(SPEC, seed=0, rank=2, world=2)


def test_scenes_are_of_no_suite() -> None:
    """By the words that NumPy makes of the seeds: in a suite the third is the number of a split."""
    words = [motionlab_render.STREAM & 0xFFFFFFFF, motionlab_render.STREAM >> 32]
    assert words[1] >= len(suite.SPLITS)
    as_words = np.random.SeedSequence([1, *words, 3, 7]).generate_state(4)
    assert np.array_equal(np.random.SeedSequence([1, motionlab_render.STREAM, 3, 7]).generate_state(4), as_words)
    states = {suite.scene(shot, 3).state for shot in suite.shots(suite.TINY, 3)}
    assert states.isdisjoint(motionlab_render.draw_scene(3, i)[0].state for i in range(100))
    assert len({motionlab_render.draw_scene(seed, i)[0].state for seed in (3, 4) for i in range(100)}) == 200


def test_rendering_is_resumed_and_a_torn_file_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motionlab_render, "CHUNK", 4)
    source, spec = MotionLab(clips=10, seed=8, quiet=True), ClipSpec(2, 14)
    plan = source.plan(spec)
    indices: list[int] = []

    def interrupted(seed: int, index: int) -> object:
        indices.append(index)
        if len(indices) == 7:
            raise OSError("killed")
        return real(seed, index)

    real = motionlab_render.draw_scene
    monkeypatch.setattr(motionlab_render, "draw_scene", interrupted)
    with pytest.raises(OSError, match="killed"):
        motionlab_render.open_chunks(plan, workers=0, quiet=True)
    assert [p.name for p in plan.folder.glob("*.npy")] == ["00000000+4.npy"]
    content = (plan.folder / "00000000+4.npy").read_bytes()
    (plan.folder / ".00000004+4.npy.0123").write_bytes(b"left by a process that was killed")
    whole = np.concatenate(motionlab_render.open_chunks(plan, workers=0, quiet=True))
    assert indices[7:] == list(range(4, 10))
    assert np.array_equal(whole, read_clips(source, spec))
    assert not list(plan.folder.glob(".*.npy.*"))
    chunk = plan.folder / "00000000+4.npy"
    chunk.write_bytes(content[:-1])
    indices.clear()
    motionlab_render.open_chunks(plan, workers=0, quiet=True)
    assert chunk.read_bytes() == content
    assert indices == [0, 1, 2, 3]


def test_worker_processes_render_the_same() -> None:
    plan = MotionLab(clips=6, seed=9).plan(ClipSpec(2, 28))
    motionlab_render.open_chunks(plan, workers=2, quiet=True)
    assert np.array_equal(np.load(plan.chunks[0].path), read_clips(MotionLab(clips=6, seed=9), ClipSpec(2, 28)))


def test_a_full_disk_raises_before_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motionlab_render.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    with pytest.raises(OSError, match=r"65,536 clips need another 9\.9 GB, but 1\.0 GB is free; free some space"):
        MotionLab(seed=99).open(ClipSpec(16, 56), seed=0)
    assert not list(MotionLab(seed=99).plan(ClipSpec(16, 56)).folder.glob("*.npy"))


@pytest.mark.parametrize("size", [100, 112, 56, 16])
def test_sizes(size: int) -> None:
    frames = np.random.default_rng(0).integers(256, size=(2, 112, 112, 3), dtype=np.uint8)
    small = motionlab_render.downscale(frames, size)
    assert small.shape == (2, size, size, 3)
    assert abs(small.mean() - frames.mean()) < 0.6
    if size == 112:
        assert np.array_equal(small, frames)


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"clips": 0}, "0 clips of seed 0"), ({"seed": -1}, "of seed -1")],
)
def test_bad_numbers(fields: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MotionLab(**fields)
    with pytest.raises(ValueError, match="frames is a whole number from 1"):
        ClipSpec(0, 8)


def test_states_of_other_sources_are_refused() -> None:
    reader = FEW.open(SPEC, seed=0)
    with pytest.raises(ValueError, match="a state of 'films'"):
        reader.restore(reader.state() | {"source": "films"})
    fewer = MotionLab(clips=5, seed=3, quiet=True).open(SPEC, seed=0)
    with pytest.raises(ValueError, match="its data, or the number of processes that share them, have changed"):
        reader.restore(fewer.state())
    with pytest.raises(ValueError, match="at least one clip"):
        reader.read(0)
    assert isinstance(reader.read(1).pixels, torch.Tensor)
    assert reader.seconds_waited > 0
    reader.close()


def test_a_level_of_the_second_version() -> None:
    """The clips are its scenes, reversed and mirrored left to right alone, and of no suite."""
    source = MotionLab(clips=3, seed=3, level="easy", quiet=True)
    reader = source.open(SPEC, seed=1)
    batch = reader.read(3)
    reader.close()
    assert (batch.source, source.pretraining_datasets) == ("motionlab2", ("motionlab2",))
    plan = source.plan(SPEC)
    assert plan.folder.parent.name == "easy"
    for clip_read, index in zip(pixels(batch), epoch_order(1, 0, 3)[0], strict=True):
        stored = motionlab_render.downscale(motionlab_render.draw_frames(plan, int(index)), 28)
        assert any(np.array_equal(clip_read, apply_symmetry(stored, way)) for way in (0, 1, 4, 5))
    with pytest.raises(ValueError, match="level 'esay'; did you mean 'easy'"):
        MotionLab(level="esay")
    with pytest.raises(ValueError, match="leave out stride-forward, stride-backward together"):
        MotionLab(level="hard", without=("stride-forward",))
    assert plain(MotionLab()) == {"type": "MotionLab", "clips": 65536, "seed": 0, "kind": "video", "quiet": False}
