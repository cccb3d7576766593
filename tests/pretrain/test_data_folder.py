"""Folders and manifests as training data: every file once an epoch, resumable, and nothing broken stops it."""

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from helpers import blob, write_video
from vitascope.motionlab.write import write_picture
from vitascope.pretrain.data.base import Clips, ClipSpec
from vitascope.pretrain.data.folder import VideoFolder, list_files
from vitascope.pretrain.data.short_videos import notes
from vitascope.pretrain.data.webdataset import Shards
from vitascope.sampling.augmentations import at_epoch
from vitascope.sampling.names import Drawn, RandomClip, RandomCrop, Uniform
from vitascope.video import decode, inspect

SPEC = ClipSpec(frames=3, size=16)
PLAIN = Uniform()


def pixels(clips: Clips) -> np.ndarray:
    return clips.pixels.numpy()


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """Three videos that can be read and two that cannot."""
    root = tmp_path_factory.mktemp("broken") / "films"
    (root / "deep" / "er").mkdir(parents=True)
    for i, source in enumerate(sorted(videos.rglob("*.mp4"))[:3]):
        shutil.copy(source, root / "deep" / "er" / f"{i}.mp4")
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.avi").write_text("no video at all")
    return root


def test_every_file_comes_once_an_epoch_as_the_decoder_sees_it(videos: Path) -> None:
    source = VideoFolder(path=str(videos), sampler=PLAIN, labeled=True)
    classes = ["down", "left", "right"]
    expected: Counter[tuple[bytes, int]] = Counter()
    for path in videos.rglob("*.mp4"):
        video = inspect(path)
        ((_, clip),) = decode(video, PLAIN(video, 3), 16)
        expected[clip.tobytes(), classes.index(path.parent.name)] += 1
    reader = source.open(SPEC, seed=0)
    orders = []
    for _ in range(2):
        batch = reader.read(18)
        orders.append([(p.tobytes(), label) for p, label in zip(pixels(batch), batch.labels.tolist(), strict=True)])
        assert Counter(orders[-1]) == expected
    reader.close()
    assert orders[0] != orders[1]
    assert batch.source == videos.name
    assert source.pretraining_datasets == (videos.name,)
    unlabeled = VideoFolder(path=str(videos), name="clips", pretraining_datasets=("k400",))
    assert (unlabeled.name, unlabeled.pretraining_datasets) == ("clips", ("k400",))
    assert {file.label for file in list_files(unlabeled)} == {-1}


def test_draws_of_a_file_take_turns_from_epoch_to_epoch(videos: Path) -> None:
    source = VideoFolder(path=str(videos), sampler=Drawn(RandomCrop(RandomClip(2), flip=True), count=2))
    reader = source.open(SPEC, seed=0)
    epochs = [{clip.tobytes() for clip in pixels(reader.read(18))} for _ in range(4)]
    reader.close()
    assert epochs[0] == epochs[2]
    assert epochs[1] == epochs[3]
    assert not epochs[0] & epochs[1]
    listed = [inspect(path) for path in videos.rglob("*.mp4")]
    for epoch in range(2):
        draw = at_epoch(source.sampler, epoch)
        expected = {clip.tobytes() for video in listed for _, clip in decode(video, draw(video, 3), 16)}
        assert expected == epochs[epoch]


def test_restored_reader_gives_what_an_undisturbed_one_gives(broken: Path) -> None:
    source = VideoFolder(path=str(broken))
    undisturbed = source.open(SPEC, seed=5)
    whole = [pixels(undisturbed.read(2)) for _ in range(7)]
    lost = undisturbed.broken
    undisturbed.close()
    assert lost.keys() == {"empty.mp4", "text.avi"}
    assert len({clip.tobytes() for batch in whole for clip in batch}) > 3, "clips are drawn anew every epoch"
    for stop in (1, 2, 3, 6):
        first = source.open(SPEC, seed=5)
        for _ in range(stop):
            first.read(2)
        state = json.loads(json.dumps(first.state()))
        first.close()
        again = source.open(SPEC, seed=5)
        again.restore(state)
        assert np.array_equal([pixels(again.read(2)) for _ in range(7 - stop)], whole[stop:])
        assert again.broken == lost
        again.close()


def test_worker_processes_give_the_same(broken: Path) -> None:
    source = VideoFolder(path=str(broken))
    in_process, by_workers = source.open(SPEC, seed=2), source.open(SPEC, seed=2, workers=2)
    for _ in range(3):
        assert np.array_equal(pixels(in_process.read(3)), pixels(by_workers.read(3)))
    assert in_process.broken.keys() == by_workers.broken.keys()
    assert by_workers.seconds_waited > 0
    by_workers.close()
    in_process.close()


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_divide_an_epoch(videos: Path, world: int) -> None:
    source = VideoFolder(path=str(videos), sampler=RandomClip(1))
    alone = source.open(SPEC, seed=1)
    whole = pixels(alone.read(18))
    alone.close()
    for rank in range(world):
        reader = source.open(SPEC, seed=1, rank=rank, world=world)
        assert np.array_equal(pixels(reader.read(18 // world)), whole[rank::world])
        reader.close()


@pytest.mark.parametrize("packed", [False, True])
def test_short_videos_are_read_with_frames_closer_together(
    packed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten frames of rising gray, six of them asked for four apart: one apart, from five starts, and it is said."""
    ramp = (20 * np.arange(40, dtype=np.uint8) % 250)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    for name, frames in (("short.mp4", 10), ("long.mp4", 40), ("tiny.mp4", 4)):
        write_video(tmp_path / name, ramp[:frames])
    (tmp_path / "torn.mp4").write_bytes(b"nothing")
    source: VideoFolder | Shards = VideoFolder(path=str(tmp_path), sampler=RandomClip(4), name="films")
    if packed:
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for path in sorted(tmp_path.glob("*.mp4")):
                tar.add(path, path.name)
        source = Shards(pattern=str(tmp_path / "x.tar"), sampler=RandomClip(4), name="films")
    spec = ClipSpec(6, 16)
    reader = source.open(spec, seed=0)
    clips = pixels(reader.read(90)).mean((2, 3, 4)) / 20
    reader.close()
    starts = {round(float(clip[0])) for clip in clips if np.allclose(np.diff(clip), 1, atol=0.4)}
    assert starts == {0, 1, 2, 3, 4}
    note = (
        "films: 2 of 3 videos looked at are shorter than 24 frames (6 frames 4 apart); their frames are 0.67 to 1 apart"
    )
    assert [r.getMessage() for r in caplog.records] == [note]
    assert list(notes([source], spec)) == [note]
    assert source.note(ClipSpec(1, 16)) == ""
    assert source.open(spec, seed=0, rank=1, world=2).broken == {}
    assert len(caplog.records) == 1, "one process says it"


def test_images_are_clips_of_one_frame(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"n{i % 2}").mkdir(exist_ok=True)
        write_picture(tmp_path / f"n{i % 2}" / f"{i:06d}.png", np.full((20, 24, 3), 50 * i, np.uint8))
    reader = VideoFolder(path=str(tmp_path), kind="image", labeled=True).open(SPEC, seed=0)
    batch = reader.read(4)
    reader.close()
    assert batch.pixels.shape == (4, 1, 16, 16, 3)
    pairs = sorted(zip(pixels(batch).mean((1, 2, 3, 4)).tolist(), batch.labels.tolist(), strict=True))
    assert pairs == [(0.0, 0), (50.0, 1), (100.0, 0), (150.0, 1)]


def test_manifest_without_labels_gives_spans(tmp_path: Path) -> None:
    bright = np.repeat(np.array([20, 200], np.uint8), 10)[:, None, None, None]
    write_video(tmp_path / "a.mp4", np.broadcast_to(bright, (20, 32, 32, 3)))
    write_video(tmp_path / "unlisted.mp4", blob(0, 0))
    (tmp_path / "manifest.csv").write_text("path,start,end\na.mp4,0,0.9\na.mp4,1.1,2\n")
    source = VideoFolder(path=str(tmp_path), sampler=RandomClip(2))
    assert [file.id for file in list_files(source)] == ["a.mp4#0-0.9", "a.mp4#1.1-2"]
    reader = source.open(SPEC, seed=0)
    means = [pixels(reader.read(2)).mean((2, 3, 4)) for _ in range(3)]
    reader.close()
    for clips in means:
        dark, light = sorted(clips.tolist())
        assert dark == pytest.approx([20] * 3, abs=4)
        assert light == pytest.approx([200] * 3, abs=4)
    with pytest.raises(ValueError, match="no column 'label'"):
        VideoFolder(path=str(tmp_path), labeled=True).open(SPEC, seed=0)


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"nothing")
    reader = VideoFolder(path=str(tmp_path)).open(SPEC, seed=0)
    with pytest.raises(ValueError, match=r"none of its 2 videos is readable; [ab]\.mp4: "):
        reader.read(1)


def test_one_file_named_twice_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    (tmp_path / "manifest.csv").write_text("path,label\na.mp4,x\na.mp4,x\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is readable; a\.mp4"):
        VideoFolder(path=str(tmp_path)).open(SPEC, seed=0).read(1)


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with pytest.raises(ValueError, match="no such folder; did you mean 'clips'"):
        list_files(VideoFolder(path=str(tmp_path / "clip")))
    with pytest.raises(ValueError, match=r"no videos found$"):
        list_files(VideoFolder(path=str(tmp_path / "clips")))
    write_picture(tmp_path / "clips" / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"such as a\.png: set kind='image'"):
        list_files(VideoFolder(path=str(tmp_path / "clips")))


def test_a_clip_with_a_frame_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    for i in range(6):
        write_picture(tmp_path / "frames" / f"{i:06d}.png", np.full((16, 16, 3), 40 * i, np.uint8))
    shutil.copytree(tmp_path / "frames", tmp_path / "torn")
    torn = tmp_path / "torn" / "000003.png"
    torn.write_bytes(torn.read_bytes()[:40])
    reader = VideoFolder(path=str(tmp_path), sampler=Uniform()).open(ClipSpec(6, 16), seed=0)
    batch = reader.read(4)
    reader.close()
    assert np.array_equal(pixels(batch).mean((2, 3, 4)), [[0, 40, 80, 120, 160, 200]] * 4)
    assert list(reader.broken) == ["torn"]
    assert "undecodable frames" in reader.broken["torn"]
