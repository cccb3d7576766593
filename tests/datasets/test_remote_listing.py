"""What one listing of an S3 server tells: no request for each key, and folders of frames as on disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("moto", reason="moto's server is not installed")

import s3_server
from helpers import blob
from s3_server import Proxy
from vitascope.core import content, media_cache, remote_listing
from vitascope.core.file_identity import content_digest, state_of
from vitascope.datasets.open import open_dataset
from vitascope.datasets.splits import limit_examples
from vitascope.features.blocks import blocks
from vitascope.sampling.names import Uniform
from vitascope.video import decode, inspect


@pytest.fixture(scope="module")
def server() -> Iterator[Proxy]:
    with s3_server.proxied("bkt") as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _connected(server: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    s3_server.connect(server, monkeypatch)
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def frames(server: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames on disk, with the same at `s3://bkt/frames`."""
    root = tmp_path_factory.mktemp("local") / "frames"
    for c, name in enumerate(("right", "down")):
        for i in range(3):
            write_frames(root / name / f"clip{i}", blob(c * np.pi / 2, i))
    for path in sorted(root.rglob("*.png")):
        assert (
            s3_server.put(server.behind, f"/bkt/frames/{path.relative_to(root).as_posix()}", path.read_bytes()) == 200
        )
    return root


def upload(server: Proxy, path: Path, key: str) -> None:
    assert s3_server.put(server.behind, f"/bkt/{key}", path.read_bytes()) == 200


def write_frames(folder: Path, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for i, frame in enumerate(pixels[:8]):
        av.VideoFrame.from_ndarray(frame, "rgb24").to_image().save(folder / f"{i:04d}.png")


def test_keys_are_listed_by_the_page_and_not_asked_for(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(24):
        assert s3_server.put(server.behind, f"/bkt/many/c{i % 3}/{i:02d}.mp4", bytes(2000 + i)) == 200
    monkeypatch.setattr(remote_listing, "PAGE", 5)
    server.reset()
    dataset = limit_examples(open_dataset("s3://bkt/many"), 9)
    assert len(list(blocks(dataset.examples))) == 1
    assert all(state_of(e.path).size >= 2000 for e in dataset.examples)
    listings = [path for method, path, _ in server.requests if method == "GET" and "list-type=2" in path]
    paged = [path for path in listings if "max-keys=5" in path]
    assert len(paged) == 5
    others = [r for r in server.requests if r[1] not in paged]
    assert len(others) <= 2, "whether the URL is a file, or a folder"


def test_a_page_that_fails_is_asked_again_alone(server: Proxy, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = remote_listing.listing("s3://bkt/frames")
    monkeypatch.setattr(remote_listing, "PAGE", 20)
    failed: list[str] = []

    def fault(proxy: Proxy, method: str, path: str) -> str:
        if "continuation-token" in path and len(failed) < 2:
            failed.append(path)
            return "503"
        return ""

    server.reset(fault)
    assert remote_listing.listing("s3://bkt/frames") == whole
    assert len(whole) == 48
    assert len(server.requests) == 3 + 2


def test_folders_of_frames_are_those_on_disk(server: Proxy, frames: Path) -> None:
    server.reset()
    dataset, on_disk = open_dataset("s3://bkt/frames"), open_dataset(frames)
    assert len([r for r in server.requests if r[0] == "GET"]) <= 2
    assert dataset.digest == on_disk.digest
    assert not dataset.missing_files
    assert dataset.examples[0].path == "s3://bkt/frames/down/clip0/"
    for one, other in zip(dataset.examples, on_disk.examples, strict=True):
        assert content_digest(one.path) == content_digest(other.path)
        assert state_of(one.path).size == state_of(other.path).size == 0
        video, local = inspect(one.path, fps=5), inspect(other.path, fps=5)
        assert (video.times, video.kind) == (local.times, "frames")
        clips = Uniform()(local, 4)
        for (i, pixels), (j, same) in zip(decode(video, clips, 16), decode(local, clips, 16), strict=True):
            assert i == j
            np.testing.assert_array_equal(pixels, same)
    server.reset()
    content_digest(dataset.examples[0].path)
    assert not [r for r in server.requests if r[2]], "a copy is kept"


def test_another_frame_is_another_state(server: Proxy, frames: Path) -> None:
    shutil.copytree(frames / "down" / "clip0", frames.parent / "clip")
    url = "s3://bkt/other/clip/"
    for path in sorted((frames.parent / "clip").iterdir()):
        upload(server, path, f"other/clip/{path.name}")
    before, digest = state_of(url), content_digest(url)
    assert (
        s3_server.put(server.behind, "/bkt/other/clip/0003.png", (frames / "right/clip1/0003.png").read_bytes()) == 200
    )
    remote_listing.folder_state(url, fresh=True)
    assert state_of(url).stamp != before.stamp
    assert content_digest(url) != digest


def test_copies_of_folders_stay_within_the_bound(server: Proxy, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset("s3://bkt/frames")
    sizes = [sum(p.stat().st_size for p in (frames / e.id).iterdir()) for e in dataset.examples]
    monkeypatch.setenv("VITASCOPE_MEDIA_CACHE", str(2 * max(sizes)))
    for example in dataset.examples:
        with content.local_copy(example.path) as folder:
            assert len(list(Path(folder).iterdir())) == 8
    kept = [p for p in media_cache.folder().rglob("*.frames") if p.name[0] != "."]
    assert 1 <= len(kept) <= 3
    assert not [p for p in media_cache.folder().rglob(".*") if p.is_dir()], "nothing is left of those removed"
