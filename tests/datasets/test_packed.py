"""Videos in tar and Parquet files, and LeRobot datasets: the same examples, contents and vectors as in a folder."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import blob, vitascope, write_video
from vitascope.core import content, media_cache
from vitascope.core.addresses import part_of
from vitascope.core.errors import UserError
from vitascope.core.file_identity import content_digest, identify, state_of
from vitascope.core.types import Clip
from vitascope.datasets.open import open_dataset
from vitascope.datasets.readers.tar_videos import read_tars
from vitascope.video import decode, inspect

CLASSES = ("right", "down", "left")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("clips")
    return [write_video(root / f"{i}.mp4", blob(i % 3 * np.pi / 2, i)) for i in range(6)]


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def shards(root: Path, clips: list[Path], note: str) -> Path:
    for split, chosen in (("train", clips[:3] + clips[3:]), ("val", clips)):
        (root / split).mkdir(parents=True)
        with tarfile.open(root / split / "000.tar", "w") as archive:
            for i, clip in enumerate(chosen):
                label = CLASSES[i % 3]
                name = f"{label}/{i}" if note == "folders" else f"{i}"
                add(archive, f"{name}.mp4", clip.read_bytes())
                if note == "json":
                    add(archive, f"{name}.json", json.dumps({"label": label, "group": f"g{split}{i}"}).encode())
                if note == "cls":
                    add(archive, f"{name}.cls", str(i % 3).encode())
    return root


def parquet(path: Path, clips: list[Path], **options: Any) -> Path:
    """As the hub's library writes a `Video` and a `ClassLabel`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"video": {"_type": "Video"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    table = pa.table(
        {
            "video": pa.array(
                [{"bytes": c.read_bytes(), "path": c.name} for c in clips],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "label": pa.array([i % 3 for i in range(len(clips))]),
        }
    )
    described = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": described}), path, **options)
    return path


@pytest.mark.parametrize("note", ["json", "cls", "folders"])
def test_tar_files(tmp_path: Path, clips: list[Path], note: str) -> None:
    dataset = open_dataset(shards(tmp_path / "shards", clips, note))
    assert dataset.classes == (("0", "1", "2") if note == "cls" else tuple(sorted(CLASSES)))
    assert [(len(f.train), len(f.test)) for f in dataset.folds] == [(6, 6)]
    for example in dataset.examples:
        original = clips[int(Path(example.path).stem)]
        with content.local_copy(example.path) as copy:
            assert Path(copy).read_bytes() == original.read_bytes()
        assert content_digest(example.path) == content_digest(str(original))
        assert example.path != str(original)
        assert state_of(example.path).size == original.stat().st_size


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz"])
def test_compressed_tar_files(tmp_path: Path, clips: list[Path], ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    root = shards(tmp_path / "s", clips, "json")
    plain = open_dataset(root)
    for path in sorted(root.rglob("*.tar")):
        path.with_suffix(ending).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    dataset = open_dataset(root)
    assert dataset.classes == plain.classes
    assert [e.path.partition("[")[2] for e in dataset.examples] == [e.path.partition("[")[2] for e in plain.examples]
    (note,) = dataset.notes
    assert f"2 compressed tar files, such as train/000{ending}, are unpacked into the cache" in note
    example = dataset.examples[1]
    assert inspect(example.path).times == inspect(clips[1]).times
    assert identify(example.path).content == identify(str(clips[1])).content
    assert len(open_dataset(f"{root}/*/000{ending}").examples) == len(plain.examples)

    whole = (root / "val" / f"000{ending}").read_bytes()
    (tmp_path / f"cut{ending}").write_bytes(whole[: len(whole) * 2 // 3])
    cut = read_tars([(str(tmp_path / f"cut{ending}"), f"cut{ending}", "")])
    assert 3 <= len(cut.rows) < 6
    assert "truncated" in cut.notes[1]
    (tmp_path / f"none{ending}").write_bytes(b"no archive")
    with pytest.raises(UserError, match=rf"none{ending}: not a whole gzip file"):
        open_dataset(tmp_path / f"none{ending}")
    monkeypatch.setattr("vitascope.core.unpacking.ALLOWED", 1000)
    (tmp_path / f"bomb{ending}").write_bytes(gzip.compress(bytes(1 << 22)))
    with pytest.raises(UserError, match="refused: it unpacks to far more"):
        open_dataset(tmp_path / f"bomb{ending}")
    assert not [p for p in media_cache.folder().rglob("*.tar") if p.stat().st_size > 1 << 20]


def test_the_frames_of_packed_videos_are_those_of_files(tmp_path: Path, clips: list[Path]) -> None:
    tars = open_dataset(shards(tmp_path / "shards", clips, "json"))
    table = open_dataset(parquet(tmp_path / "data" / "train-00000-of-00001.parquet", clips))
    for dataset in (tars, table):
        for example in dataset.examples[:3]:
            original = clips[int(Path(example.path).stem)]
            video, file = inspect(example.path), inspect(original)
            assert (video.times, video.duration, video.path) == (file.times, file.duration, example.path)
            clip = [Clip((0.0, 0.4, 0.9), (0.0, 1.0))]
            ((_, one),) = decode(video, clip, 32)
            ((_, other),) = decode(file, clip, 32)
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{}, {"row_group_size": 2, "compression": "none"}])
def test_parquet_files_with_bytes(tmp_path: Path, clips: list[Path], options: dict[str, Any]) -> None:
    for split in ("train", "validation"):
        parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", clips, **options)
    dataset = open_dataset(tmp_path)
    assert dataset.classes == tuple(sorted(CLASSES))
    assert [len(f.train) for f in dataset.folds] == [6]
    for example in dataset.examples:
        original = clips[int(Path(example.path).stem)]
        assert dataset.classes[example.truth] == CLASSES[int(original.stem) % 3]
        assert identify(example.path).content == identify(str(original)).content


def test_parquet_files_with_paths(tmp_path: Path, clips: list[Path]) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [{"bytes": None, "path": os.path.relpath(c, tmp_path)} for c in clips]
    table = pa.table({"video": pa.array(values, kind), "label": [CLASSES[i % 3] for i in range(6)]})
    pq.write_table(table, tmp_path / "clips.parquet")
    dataset = open_dataset(tmp_path / "clips.parquet")
    assert [os.path.realpath(e.path) for e in dataset.examples] == [os.path.realpath(c) for c in clips]


def test_cells_of_a_row_group_are_read_once_and_the_cache_is_bounded(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    dataset = open_dataset(parquet(tmp_path / "data" / "x.parquet", clips))
    reads: list[int] = []
    cells = content._cells
    monkeypatch.setattr(content, "_cells", lambda c, f, column, row: reads.append(row) or cells(c, f, column, row))
    for example in dataset.examples:
        with content.local_copy(example.path):
            pass
    assert reads == [0]
    size = clips[0].stat().st_size
    monkeypatch.setenv("VITASCOPE_MEDIA_CACHE", f"{2.5 * size / 1000:.3f}KB")
    with content.local_copy(dataset.examples[0].path) as used:
        for example in dataset.examples[1:]:
            with content.local_copy(example.path) as copy:
                assert Path(copy).exists()
            media_cache.make_room(10 * size)
        assert Path(used).exists(), "a copy in use is never removed"
    media_cache.make_room(10 * size)
    left = sum(p.stat().st_size for p in media_cache.folder().rglob("*") if p.is_file() and p.name[0] != ".")
    assert 0 < left <= 2.5 * size


def lerobot(root: Path, clips: list[Path], version: str) -> Path:
    info: dict[str, Any] = {
        "codebase_version": version,
        "fps": 10,
        "chunks_size": 2,
        "features": {"observation.images.top": {"dtype": "video"}, "action": {"dtype": "float32"}},
    }
    (root / "meta").mkdir(parents=True)
    episodes = [{"episode_index": i, "tasks": [CLASSES[i % 3]], "length": 12} for i in range(6)]
    if version == "v2.1":
        info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)))
        paths = [
            info["video_path"].format(episode_chunk=i // 2, video_key="observation.images.top", episode_index=i)
            for i in range(6)
        ]
        for path, clip in zip(paths, clips, strict=True):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(clip.read_bytes())
    else:
        info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        key = "videos/observation.images.top/"
        for i, episode in enumerate(episodes):
            episode |= {f"{key}chunk_index": 0, f"{key}file_index": 0}
            episode |= {f"{key}from_timestamp": 1.2 * i, f"{key}to_timestamp": 1.2 * (i + 1)}
        (root / "meta/episodes/chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
        pictures = np.concatenate([blob(i % 3 * np.pi / 2, i) for i in range(6)])
        write_video(root / key / "chunk-000/file-000.mp4", pictures)
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot(tmp_path: Path, clips: list[Path], version: str) -> None:
    dataset = open_dataset(lerobot(tmp_path / "robot", clips, version))
    assert dataset.classes == tuple(sorted(CLASSES))
    assert [dataset.classes[e.truth] for e in dataset.examples] == [CLASSES[i % 3] for i in range(6)]
    spans = [inspect(e.path).within(e.span).end - inspect(e.path).within(e.span).start for e in dataset.examples]
    assert spans == pytest.approx([1.2] * 6)
    (tmp_path / "robot/meta/info.json").write_text('{"codebase_version": "v1.6"}')
    with pytest.raises(UserError, match=r"versions 2 and 3 are read"):
        open_dataset(tmp_path / "robot")


def test_bad_files_say_what_is_wrong(tmp_path: Path, clips: list[Path]) -> None:
    pq.write_table(pa.table({"video": pa.array([b"x"]), "caption": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: no column 'label'; videos are in 'video'"):
        open_dataset(tmp_path / "a.parquet")
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for i in range(2):
            add(archive, f"{i}.mp4", clips[i].read_bytes())
    with pytest.raises(UserError, match=r"b\.tar: 0\.mp4: no label"):
        open_dataset(tmp_path / "b.tar")
    assert [e.id for e in open_dataset(tmp_path / "b.tar", labeled=False).examples] == ["b.tar/0.mp4", "b.tar/1.mp4"]
    whole = shards(tmp_path / "cut", clips, "json") / "train/000.tar"
    with tarfile.open(whole) as archive:
        within = archive.getmember("5.mp4").offset_data + 100
    whole.write_bytes(whole.read_bytes()[:within])
    cut = open_dataset(tmp_path / "cut")
    assert [len(f.train) for f in cut.folds] == [5]
    assert any("truncated" in note for note in cut.notes), cut.notes


def test_names_of_parts() -> None:
    assert part_of("s3://b/x.tar[512:1024]/a/b.mp4") == ("s3://b/x.tar", "512:1024", "a/b.mp4")
    assert part_of("/x/y.parquet[video:3]/c.mp4").cell == ("video", 3)  # type: ignore[union-attr]
    assert part_of("/x/y.tar/c.mp4") is None


def test_embed_gives_the_vectors_of_the_files(tmp_path: Path, clips: list[Path]) -> None:
    table = parquet(tmp_path / "data" / "train.parquet", clips)
    done = vitascope("embed", table.parent, "-m", "pixels/thumbnail", "--store", tmp_path / "s", "-q", "--workers", 2)
    assert "6 examples" in done.stdout
    assert (
        "0 examples"
        in vitascope("embed", table.parent, "-m", "pixels/thumbnail", "--store", tmp_path / "s", "-q").stdout
    )
