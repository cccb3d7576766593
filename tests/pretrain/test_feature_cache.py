"""Teachers' features on disk: what is computed and what is read, the same losses, room, sharing, killed writers."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import pretraining
import processes
from pretraining import Blobs, everything, losses, recipe, same, state, train
from vitascope.core import files
from vitascope.core.device import generator
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.targets import feature_cache
from vitascope.pretrain.targets.feature_cache import FOLDER, FeatureCache, clip_keys
from vitascope.pretrain.targets.targets import Distilled

GB = 10**9
IDENTITY = {"teacher": "t", "digest": "00"}
TARGET = Distilled(name="films", teacher="pretraining:teacher", width=16, depth=1)


@dataclass(frozen=True, kw_only=True)
class Repeated(Blobs):
    """Ten clips again and again, so that a batch of eight holds both known and new ones."""

    def clip(self, spec: ClipSpec, seed: int, place: int) -> tuple[np.ndarray, int]:
        """The same every ten."""
        return super().clip(spec, seed, place % 10)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pixels(count: int) -> Tensor:
    return torch.randint(256, (count, 2, 4, 4, 3), dtype=torch.uint8, generator=generator(count))


def ask(cache: FeatureCache, clips: Tensor) -> tuple[list[Tensor], list[int]]:
    """The features of clips, and the rows that were computed: two layers, one in half precision."""
    asked: list[int] = []

    def compute(rows: list[int]) -> list[Tensor]:
        asked.extend(rows)
        flat = clips[rows].float().flatten(1)
        return [flat.reshape(-1, 2, 4, 4, 3) / 7, (flat[:, :5] / 3).bfloat16()]

    return cache.features(clip_keys(clips), compute), asked


def expected(clips: Tensor) -> list[Tensor]:
    return [clips.float() / 7, (clips.float().flatten(1)[:, :5] / 3).bfloat16()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_only_new_clips_are_computed_and_all_features_are_the_same_bits(tmp_path: Path) -> None:
    clips = pixels(6)
    cache = FeatureCache(tmp_path, IDENTITY, limit=GB)
    first, asked = ask(cache, clips[[0, 1, 1, 2]])
    assert asked == [0, 1, 3]
    assert equal(first, expected(clips[[0, 1, 1, 2]]))
    mixed, asked = ask(cache, clips[[2, 3, 0]])
    assert asked == [1]
    assert equal(mixed, expected(clips[[2, 3, 0]]))
    assert (cache.hits, cache.misses) == (3, 4)
    cache.flush()
    again = FeatureCache(tmp_path, IDENTITY, limit=GB)
    read, asked = ask(again, clips[[3, 2, 1, 0]])
    assert asked == []
    assert equal(read, expected(clips[[3, 2, 1, 0]]))


def test_a_key_is_of_every_pixel_and_of_the_shape() -> None:
    clips = pixels(1)
    changed = clips.clone()
    changed[0, 1, 3, 2, 1] ^= 1
    keys = [clip_keys(c)[0] for c in (clips, changed, clips.flip(3), clips.flip(1), clips.reshape(1, 4, 2, 4, 3))]
    assert len(set(keys)) == 5
    assert clip_keys(torch.cat([changed, clips])) == [keys[1], keys[0]]


def test_pictures_and_clips_share_a_folder(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, IDENTITY, limit=GB)
    for count in (3, 5):
        clips = torch.arange(count * 24, dtype=torch.uint8).reshape(1, count, 2, 4, 3)
        cache.features(clip_keys(clips), lambda rows, clips=clips: [clips[rows].float()])
    cache.flush()
    assert len(list(cache.folder.glob("*.safetensors"))) == 2
    again = FeatureCache(tmp_path, IDENTITY, limit=GB)
    (found,) = again.features(clip_keys(clips), lambda _: pytest.fail("it is in the cache"))
    assert torch.equal(found, clips.float())


def test_what_one_process_writes_the_other_reads(tmp_path: Path) -> None:
    clips = pixels(4)
    one, other = (FeatureCache(tmp_path, IDENTITY, limit=GB) for _ in range(2))
    ask(one, clips[:2])
    ask(other, clips[1:3])
    one.flush()
    other.flush()
    assert ask(one, clips)[1] == [3]
    assert ask(other, clips)[1] == [3]
    stored = [key for path in one.folder.glob("*.safetensors") for key in feature_cache.read_segment(path)[1]]
    assert len(stored) == len(set(stored)) == 3


def test_another_teacher_has_another_folder(tmp_path: Path) -> None:
    clips = pixels(2)
    cache = FeatureCache(tmp_path, IDENTITY, limit=GB)
    ask(cache, clips)
    cache.flush()
    assert ask(FeatureCache(tmp_path, {**IDENTITY, "digest": "01"}, limit=GB), clips)[1] == [0, 1]
    assert json.loads((cache.folder / "teacher.json").read_text())["digest"] == "00"


def test_a_full_cache_says_so_once_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = pixels(6)
    room = 3 * (2 * 4 * 4 * 3 * 4 + 5 * 2 + 16)
    cache = FeatureCache(tmp_path, IDENTITY, limit=room)
    for start in range(0, 6, 3):
        ask(cache, clips[start : start + 3])
        cache.flush()
    found, asked = ask(cache, clips)
    assert asked == [3, 4, 5]
    assert equal(found, expected(clips))
    cache.flush()
    assert [r.message for r in caplog.records if "--teacher-cache" in r.message] == [caplog.messages[0]]
    assert len(list(cache.folder.glob("*.safetensors"))) == 1


def test_a_damaged_segment_is_reported_and_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = pixels(3)
    cache = FeatureCache(tmp_path, IDENTITY, limit=GB)
    ask(cache, clips)
    cache.flush()
    (segment,) = cache.folder.glob("*.safetensors")
    segment.write_bytes(segment.read_bytes()[:-3])
    found, asked = ask(FeatureCache(tmp_path, IDENTITY, limit=GB), clips)
    assert asked == [0, 1, 2]
    assert equal(found, expected(clips))
    assert "computed again" in caplog.text


def fill(root: Path) -> None:
    """Write three segments; see `test_a_killed_writer_leaves_whole_segments`."""
    cache = FeatureCache(root, IDENTITY, limit=GB)
    clips = pixels(6)
    for start in (0, 2, 4):
        ask(cache, clips[start : start + 2])
        cache.flush()


def test_a_killed_writer_leaves_whole_segments(tmp_path: Path) -> None:
    process = processes.start(processes.dying, "os.replace", 3, fill, tmp_path)
    assert processes.ended(process) == processes.KILLED
    cache = FeatureCache(tmp_path, IDENTITY, limit=GB)
    found, asked = ask(cache, pixels(6))
    assert asked == [2, 3, 4, 5]  # the file of the identity came first, then one segment
    assert equal(found, expected(pixels(6)))
    cache.flush()
    assert [p.name for p in cache.folder.iterdir() if p.name.startswith(".")] == []
    assert ask(FeatureCache(tmp_path, IDENTITY, limit=GB), pixels(6))[1] == []


def test_a_run_with_a_cache_has_the_losses_and_weights_of_one_without(tmp_path: Path) -> None:
    sources = tuple((Repeated(name=source.name, still=source.still), share) for source, share in everything().data)
    given = everything(targets=(TARGET, *recipe().targets), data=sources)
    runs = {name: tmp_path / name for name in ("without", "first", "second")}
    train(runs["without"], given, save_every=6)
    for name in ("first", "second"):
        train(runs[name], given, save_every=6, teacher_cache=1.0)
    assert losses(runs["without"]) == losses(runs["first"]) == losses(runs["second"])
    without, *others = (state(run, 6, tmp_path) for run in runs.values())
    assert all(same(without, other) for other in others)


def test_the_second_run_computes_nothing_and_other_weights_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    given = recipe(targets=(TARGET,), data=((Repeated(), 1.0),), steps=3)
    for name in ("first", "second"):
        train(tmp_path / name, given, save_every=3, teacher_cache=1.0)
    original = pretraining.card
    monkeypatch.setattr(pretraining, "card", lambda **changes: original(**{**changes, "digest": "ffff"}))
    train(tmp_path / "other", given, save_every=3, teacher_cache=1.0)
    counted = [line.partition("features of ")[2] for line in caplog.messages if line.startswith("target films")]
    assert counted == [
        "14 clips from the cache, 10 computed",
        "24 clips from the cache, 0 computed",
        "14 clips from the cache, 10 computed",
    ]
    assert len(list((files.cache() / FOLDER).glob("*/teacher.json"))) == 2


def test_room_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="gigabytes of disk, a number from 0"):
        train(Path("never"), teacher_cache=-1.0)
