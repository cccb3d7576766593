"""Tar shards as training data: what Python's own tarfile finds, each sample once an epoch, whatever is cut short."""

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.media import VIDEO_SUFFIXES
from vitascope.core.types import digest
from vitascope.datasets.readers import shard_urls, tar_reader
from vitascope.motionlab.write import write_picture, write_video
from vitascope.pretrain.data.base import Clips, ClipSpec
from vitascope.pretrain.data.webdataset import Shards
from vitascope.sampling.names import Uniform

SPEC = ClipSpec(frames=2, size=16)
LONG = "a-folder-with-a-very-long-name/" * 5


def pixels(clips: Clips) -> np.ndarray:
    return clips.pixels.numpy()


def pack(path: Path, files: list[tuple[str, bytes]], **options: object) -> Path:
    """A tar file as Python writes it."""
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode, **options) as tar:  # type: ignore[call-overload]
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Videos of one gray each: 10, 25, 40 ..."""
    items = []
    for i in range(12):
        path = tmp_path_factory.mktemp("clip") / "x.mp4"
        write_video(path, np.full((3, 16, 16, 3), 10 + 15 * i, np.uint8), 5.0)
        items.append(path.read_bytes())
    return items


@pytest.fixture
def folder(tmp_path: Path, clip: list[bytes]) -> Path:
    """Four shards of three labeled samples."""
    for s in range(4):
        files = []
        for i in range(3 * s, 3 * s + 3):
            files += [(f"{i:03d}.mp4", clip[i]), (f"{i:03d}.cls", str(i).encode()), (f"{i:03d}.txt", b"words")]
        pack(tmp_path / f"data-{s:03d}.tar", files)
    return tmp_path


def shards(folder: Path, **fields: object) -> Shards:
    return Shards(**{"pattern": f"{folder}/data-{{000..003}}.tar", "sampler": Uniform(), "labeled": True} | fields)


def number(frame: np.ndarray) -> int:
    return round((float(frame.mean()) - 10) / 15)


KEYS = {
    "dots before numbers": ["scene_v1.0_0000.mp4", "scene_v1.0_0001.mp4", "scene_v1.0_0002.mp4"],
    "words after dots": ["my.beach.mp4", "my.harbor.mp4", "my.sunset.mp4"],
    "versions": ["a.v1.mp4", "a.v2.mp4", "b.v1.mp4"],
    "folders": ["x.y/a.1.mp4", "x.y/a.2.mp4", "x.z/a.1.mp4"],
    "one by one": ["a.mp4", "b.mp4", "c.mp4"],
}


@pytest.mark.parametrize("names", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("labels", ["before", "after", "half", "none"])
def test_no_video_of_a_shared_key_is_lost(names: list[str], labels: str, tmp_path: Path, clip: list[bytes]) -> None:
    """Each has the label that is named as it is; reading again from any of them gives the rest."""
    files, expected = [], []
    for i, name in enumerate(names):
        note = (f"{name[:-4]}.cls", str(i).encode())
        labeled = labels in ("before", "after") or (labels == "half" and i != 0)
        own = [note] if labeled else []
        files += [(name, clip[i]), *own] if labels == "after" else [*own, (name, clip[i])]
        expected.append((name, clip[i], i if labeled else -1))
    whole = pack(tmp_path / "x.tar", files).read_bytes()
    samples = list(tar_reader.iter_samples(io.BytesIO(whole), 0, VIDEO_SUFFIXES, labeled=True))
    assert [(s.name, s.content, s.label) for s in samples] == expected
    assert len({s.key for s in samples}) == 3
    assert not any(s.error for s in samples)
    for i, sample in enumerate(samples):
        again = list(tar_reader.iter_samples(io.BytesIO(whole), sample.offset, VIDEO_SUFFIXES, labeled=True))
        assert [(s.name, s.label) for s in again] == [(n, label) for n, _, label in expected[i:]]


def test_what_belongs_to_one_sample_stays_together(tmp_path: Path, clip: list[bytes]) -> None:
    """As in WebDataset: all after the first dot says what a file holds."""
    files = [
        ("7.cls", b"3"),
        ("7.left.mp4", clip[0]),
        ("7.depth.bin", b"x"),
        ("7.txt", b"y"),
        ("8.clip.mp4", clip[1]),
        ("8.json", b'{"label": 4}'),
    ]
    samples = list(
        tar_reader.iter_samples(
            io.BytesIO(pack(tmp_path / "x.tar", files).read_bytes()), 0, VIDEO_SUFFIXES, labeled=True
        )
    )
    assert [(s.key, s.name, s.label, s.error) for s in samples] == [
        ("7", "7.left.mp4", 3, ""),
        ("8", "8.clip.mp4", 4, ""),
    ]
    assert [tar_reader.split_name(n) for n in ("a/b.c.MP4", "v1.0.mp4", "x.mp4.json", ".h.mp4", "x.3gp")] == [
        *(("a/b", "c.mp4"), ("v1.0", "mp4"), ("x", "mp4.json"), ("", "h.mp4"), ("x", "3gp")),
    ]


def test_every_sample_comes_once_an_epoch_with_its_label(folder: Path) -> None:
    source = shards(folder)
    assert (source.name, source.pretraining_datasets) == ("data", ("data",))
    reader = source.open(SPEC, seed=0)
    orders = []
    for _ in range(3):
        batch = reader.read(12)
        assert batch.labels.tolist() == [number(p) for p in pixels(batch)]
        orders.append(batch.labels.tolist())
        assert sorted(orders[-1]) == list(range(12))
    reader.close()
    assert len(set(map(tuple, orders))) == 3
    unlabeled = shards(folder, labeled=False).open(SPEC, seed=0)
    assert unlabeled.read(5).labels.tolist() == [-1] * 5
    unlabeled.close()


@pytest.mark.parametrize("window", [1, 4, 128])
def test_restored_reader_gives_what_an_undisturbed_one_gives(folder: Path, window: int) -> None:
    torn = folder / "data-002.tar"
    torn.write_bytes(torn.read_bytes()[:-11000])  # the end mark and more
    source = shards(folder, window=window)
    undisturbed = source.open(SPEC, seed=4)
    whole = [(b.labels.tolist(), pixels(b)) for b in (undisturbed.read(3) for _ in range(8))]
    broken = undisturbed.broken
    undisturbed.close()
    assert list(broken) == [str(torn)]
    for stop in range(window % 2, 8, 2):
        first = source.open(SPEC, seed=4)
        for _ in range(stop):
            first.read(3)
        state = json.loads(json.dumps(first.state()))
        first.close()
        again = source.open(SPEC, seed=4)
        again.restore(state)
        for labels, clips in whole[stop:]:
            batch = again.read(3)
            assert batch.labels.tolist() == labels
            assert np.array_equal(pixels(batch), clips)
        assert again.broken == broken
        again.close()


def test_worker_processes_give_the_same(folder: Path) -> None:
    in_process, by_workers = (shards(folder).open(SPEC, seed=1, workers=n) for n in (0, 2))
    for _ in range(4):
        assert np.array_equal(pixels(in_process.read(4)), pixels(by_workers.read(4)))
    in_process.close()
    by_workers.close()


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_divide_an_epoch(folder: Path, world: int) -> None:
    clips: list[int] = []
    for rank in range(world):
        reader = shards(folder).open(SPEC, seed=1, rank=rank, world=world)
        clips += reader.read(12 // world).labels.tolist()
        reader.close()
    assert sorted(clips) == list(range(12))


def test_a_state_of_an_earlier_version_goes_on(folder: Path) -> None:
    """With the name of its shard, and a digest of the rank among the data."""
    reader = shards(folder).open(SPEC, seed=1, rank=1, world=2)
    batches = [reader.read(2).labels.tolist() for _ in range(4)]
    reader.close()
    paths = [str(p) for p in sorted(folder.glob("*.tar"))]
    former = {"shard": 1, "offset": 0, "number": 0, "given": 4}
    data = digest([paths, "video", True, 128, 1, 2])
    reader.restore({"source": "data", "data": data, "position": former, "broken": {}})
    assert [reader.read(2).labels.tolist() for _ in range(2)] == batches[2:]
    reader.close()
    for wrong in (digest([paths, "video", True, 128, 0, 2]), digest([paths[:3], "video", True, 128])):
        with pytest.raises(ValueError, match="data: its data have changed"):
            reader.restore({"source": "data", "data": wrong, "position": former, "broken": {}})


def test_a_shard_cut_short_gives_what_is_whole(tmp_path: Path, clip: list[bytes]) -> None:
    """At every 200th byte: the samples all of whose members are whole, as their known places in the file tell."""
    files = [(f"{i}.{kind}", clip[i] if kind == "mp4" else b"7") for i in range(3) for kind in ("mp4", "cls")]
    path = pack(tmp_path / "whole.tar", files)
    with tarfile.open(path) as tar:
        ends = {m.name: m.offset_data + -(-m.size // 512) * 512 for m in tar.getmembers()}
    whole = path.read_bytes()
    mark = max(ends.values())
    for cut in [*range(0, mark, 200), *ends.values()]:
        items = list(tar_reader.iter_samples(io.BytesIO(whole[:cut]), 0, VIDEO_SUFFIXES, labeled=True))
        *good, error = items
        assert error.key == ""
        assert "truncated" in error.error
        assert all(s.content == clip[int(s.key)] for s in good)
        both = [str(i) for i in range(3) if ends[f"{i}.cls"] <= cut]
        # a video whose label was to come next is whole too, when nothing of the label is there
        alone = [str(i) for i in range(3) if ends[f"{i}.mp4"] <= cut < ends[f"{i}.mp4"] + 512]
        assert [s.key for s in good] == both + alone, cut
        again = list(tar_reader.iter_samples(io.BytesIO(whole[:cut]), error.offset, VIDEO_SUFFIXES, labeled=True))
        assert [s.key for s in again] == [""], "reading from there again gives only the error"
    assert [s.error for s in tar_reader.iter_samples(io.BytesIO(whole), 0, VIDEO_SUFFIXES, labeled=True)] == [""] * 3


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\n", exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(NAMES | st.just(LONG + "x"), st.binary(max_size=1500)), max_size=4),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_that_tarfile_finds(files: list[tuple[str, bytes]], layout: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as tar:
        for name, content in files:
            folder = tarfile.TarInfo("folder")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        expected = [(m.name, tar.extractfile(m).read()) for m in tar.getmembers() if m.isreg()]  # type: ignore[union-attr]
    items = list(tar_reader.iter_members(buffer, 0, lambda name, size: True))
    assert [(m.name, m.content) for m in items] == expected
    for i, member in enumerate(items):
        rest = tar_reader.iter_members(buffer, member.offset, lambda name, size: True)
        assert [(m.name, m.content) for m in rest] == expected[i:]


def test_what_is_broken_is_left_out_and_named(tmp_path: Path, clip: list[bytes]) -> None:
    path = pack(
        tmp_path / "x.tar",
        [
            *[("good.mp4", clip[3]), ("good.json", b'{"label": 3}'), ("._good.mp4", b"of another system")],
            *[("torn.mp4", clip[0][:300]), ("odd.mp4", clip[1]), ("odd.cls", b"cat")],
            *[("words.txt", b"no video"), ("json.mp4", clip[1]), ("json.json", b"{")],
        ],
    )
    reader = Shards(pattern=str(path), labeled=True).open(SPEC, seed=0)
    batch = reader.read(2)
    assert batch.labels.tolist() == [3, 3]
    assert [number(p) for p in pixels(batch)] == [3, 3]
    reader.close()
    why = {id.removeprefix(f"{path}#"): cause for id, cause in reader.broken.items()}
    assert why.keys() == {"torn", "odd", "words", "json"}
    assert why["torn"].startswith("torn.mp4: ")
    assert why["odd"] == "label 'cat' is not an integer"
    assert why["words"] == "no video or image among its files"
    assert why["json"] == "its .json is invalid JSON (Expecting property name enclosed in double quotes, line 1)"


def test_images_are_clips_of_one_frame(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", np.full((20, 30, 3), 70, np.uint8))
    picture = (tmp_path / "x.png").read_bytes()
    pack(tmp_path / "x.tar.gz", [("a/1.png", picture), ("a/1.cls", b"5"), ("b/1.png", picture)])
    reader = Shards(pattern=f"{tmp_path}/*.tar.gz", kind="image", labeled=True).open(SPEC, seed=0)
    batch = reader.read(2)
    reader.close()
    assert batch.pixels.shape == (2, 1, 16, 16, 3)
    assert (pixels(batch) == 70).all()
    assert sorted(batch.labels.tolist()) == [-1, 5]


@pytest.fixture
def far(folder: Path) -> Iterator[str]:
    """The shards at a url."""
    memory = fsspec.filesystem("memory")
    for path in folder.glob("*.tar"):
        memory.pipe_file(f"/far/{path.name}", path.read_bytes())
    yield "memory://far"
    memory.rm("/far", recursive=True)


def test_urls_are_streamed(folder: Path, far: str) -> None:
    near = shards(folder, window=2).open(SPEC, seed=3)
    labels = near.read(12).labels.tolist()
    near.close()
    for pattern in (f"{far}/data-{{000..003}}.tar", f"{far}/data-*.tar"):
        reader = shards(folder, window=2, pattern=pattern).open(SPEC, seed=3)
        first = reader.read(5).labels.tolist()
        state = reader.state()
        reader.close()
        reader.restore(state)
        assert first + reader.read(7).labels.tolist() == labels
        reader.close()
    with pytest.raises(ValueError, match="1 of the 2 shards checked do not exist"):
        shards(folder, pattern=f"{far}/data-{{000..009}}.tar").open(SPEC, seed=3)
    with pytest.raises(ValueError, match="nosuch"):
        shards(folder, pattern="nosuch://bucket/x.tar").open(SPEC, seed=3)


def test_a_shard_that_goes_away_is_named(folder: Path) -> None:
    reader = shards(folder).open(SPEC, seed=0)
    (folder / "data-001.tar").unlink()
    assert sorted(reader.read(9).labels.tolist()) == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    reader.read(9)
    reader.close()
    assert list(reader.broken) == [f"{folder}/data-001.tar"]
    assert "cannot be opened" in reader.broken[f"{folder}/data-001.tar"]


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    empty = pack(tmp_path / "empty.tar", [])
    other = pack(tmp_path / "other.tar", [("a.mp4", b"nothing"), ("b.txt", b"words")])
    for path, says in ((empty, "contain no files"), (other, "no video is readable")):
        reader = Shards(pattern=str(path)).open(SPEC, seed=0)
        with pytest.raises(ValueError, match=says):
            reader.read(1)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("x-{000..012}.tar", [f"x-{i:03d}.tar" for i in range(13)]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{a,b}/{1..2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert list(shard_urls.expand_braces(pattern)) == names


def test_bad_patterns(folder: Path) -> None:
    cases = {
        "data-{000..009}.tar": "6 of the 10 shards checked do not exist, first .*data-004.tar; did you mean",
        "data_000.tar": "did you mean 'data-000.tar'",
        "train-*.tar": "no shard matches",
        "data-{000-003}.tar": "neither a range like",
        "data-{3..1}.tar": "must be an increasing range",
        "nowhere/x.tar": "the folder .*nowhere does not exist",
    }
    for pattern, says in cases.items():
        with pytest.raises(ValueError, match=says) as caught:
            shards(folder, pattern=f"{folder}/{pattern}").open(SPEC, seed=0)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no shard pattern given"):
        shards(folder, pattern=()).open(SPEC, seed=0)
    with pytest.raises(ValueError, match="a window of at least 1"):
        shards(folder, window=0)
    several = shards(folder, pattern=(f"{folder}/data-000.tar", f"{folder}/data-00[01].tar"))
    assert len(shard_urls.list_shards(several.patterns)) == 2
    reader = several.open(SPEC, seed=0)
    assert Counter(reader.read(6).labels.tolist()) == Counter(range(6))
    reader.close()
    shutil.rmtree(folder)
