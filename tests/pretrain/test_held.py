"""Data held in the device's memory: bit for bit the batches and states of the ordinary readers, or a refusal."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import write_video
from pretraining import Blobs, losses, recipe, train
from vitascope.pretrain.data.base import ClipSource, ClipSpec
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.held import Memory
from vitascope.pretrain.data.mixture import Mixture
from vitascope.pretrain.data.motionlab import MotionLab, apply_symmetries, apply_symmetry
from vitascope.sampling.names import RandomClip, RandomCrop, Sampler, Uniform, Views

CPU = torch.device("cpu")
SPEC = ClipSpec(4, 16)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 6, 13 and 20 frames, and one that is none."""
    root, rng = tmp_path_factory.mktemp("held") / "films", np.random.default_rng(0)
    for frames in (6, 13, 20):
        write_video(root / f"{frames}.mp4", rng.integers(0, 255, (frames, 20, 28, 3), np.uint8))
    (root / "torn.mp4").write_bytes(b"nothing")
    return root


def equal(source: ClipSource, rank: int = 0, world: int = 1) -> None:
    """Seven batches and the states after them, also after going on from a state of the other reader."""
    mixture = Mixture(((source, 1.0),))
    share = {"seed": 3, "rank": rank, "world": world}
    usual, held = mixture.open(SPEC, **share), mixture.hold(SPEC, Memory(CPU, 1.0), **share)
    for step in range(7):
        one, other = usual.read(3), held.read(3)
        assert torch.equal(one.pixels, other.pixels)
        assert (one.labels.tolist(), one.source) == (other.labels.tolist(), other.source)
        assert usual.state() == held.state()
        if step == 3:
            state = json.loads(json.dumps(usual.state()))
            held.close()
            held = mixture.hold(SPEC, Memory(CPU, 1.0), **share)
            held.restore(state)
    assert usual.broken == held.broken
    usual.close()


@pytest.mark.parametrize(
    ("sampler", "repeat"), [(RandomClip(4), 1), (RandomClip(2), 3), (Uniform(), 1), (Views(2, 2, 2), 1)]
)
def test_a_folder_in_memory_gives_the_batches_of_the_folder(sampler: Sampler, repeat: int, films: Path) -> None:
    equal(VideoFolder(path=str(films), sampler=sampler, repeat=repeat))


@pytest.mark.parametrize(("kind", "rank", "world"), [("video", 0, 1), ("video", 1, 2), ("still", 0, 1)])
def test_motionlab_in_memory_gives_the_batches_of_motionlab(
    kind: str, rank: int, world: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path))
    equal(MotionLab(clips=10, kind=kind, quiet=True), rank, world)


def test_symmetries_on_the_device_are_those_of_arrays() -> None:
    clips = np.random.default_rng(0).integers(0, 255, (32, 3, 5, 5, 3), np.uint8)
    symmetries = [int(s) for s in np.random.default_rng(1).permutation(32) % 16]
    expected = [apply_symmetry(clip, s) for clip, s in zip(clips, symmetries, strict=True)]
    assert np.array_equal(apply_symmetries(torch.from_numpy(clips), symmetries).numpy(), expected)


def test_what_does_not_fit_or_cannot_be_held_is_refused(films: Path, tmp_path: Path) -> None:
    source = VideoFolder(path=str(films), sampler=RandomClip(4))
    needed = 39 * 16 * 16 * 3
    Mixture(((source, 1.0),)).hold(SPEC, Memory(CPU, needed / 1e9), seed=0)
    cases: list[tuple[ClipSource, float, str]] = [
        (
            source,
            (needed - 1) / 1e9,
            r"films: its 3e-05 GB do not fit the 3e-05 GB left of --hold 2\.9951e-05; hold more",
        ),
        (MotionLab(clips=10**6), 0.001, "motionlab: its 3.07 GB do not fit the 0.001 GB left of --hold 0.001"),
        (VideoFolder(path=str(films)), 1.0, "films: its sampler crops at random.*without --hold"),
        (VideoFolder(path=str(films), sampler=RandomCrop(Uniform())), 1.0, "films: its sampler crops at random"),
        (Blobs(), 1.0, "blobs: a Blobs cannot be held in memory; train without --hold"),
    ]
    for refused, gigabytes, message in cases:
        with pytest.raises(ValueError, match=message) as error:
            Mixture(((refused, 1.0),)).hold(SPEC, Memory(CPU, gigabytes), seed=0)
        assert "\n" not in str(error.value)
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none of its 1 files is readable; x\.mp4: "):
        VideoFolder(path=str(tmp_path), sampler=Uniform(), name="x").hold(SPEC, Memory(CPU, 1.0), seed=0)


def test_a_run_goes_on_with_data_in_memory(films: Path, tmp_path: Path) -> None:
    made = recipe(data=((VideoFolder(path=str(films), sampler=RandomClip(2)), 1.0),), steps=4)
    train(tmp_path / "a", made)
    train(tmp_path / "b", made, stop_at=2)
    train(tmp_path / "b", made, hold=0.1)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
