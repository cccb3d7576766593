"""Whether a file is still the one that something was computed from: by its times, and where these differ, its bytes."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from vitascope.core import file_identity
from vitascope.core.file_identity import BEFORE, FULL, content_digest, identify, is_unchanged, state_of


def unchanged(path: Path, identity: file_identity.FileIdentity) -> bool:
    return is_unchanged(str(path), state_of(str(path)), identity.stamp, identity.content)


def large(path: Path, seed: int = 0, size: int = 3_000_000) -> Path:
    path.write_bytes(np.random.default_rng(seed).bytes(size))
    return path


def set_times(path: Path, ns: int = 1_600_000_000_000_000_000) -> None:
    os.utime(path, ns=(ns, ns))


def test_a_file_that_nobody_touched_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large(tmp_path / "a.mp4")
    identity = identify(str(path))

    def refuse(*_: object, **__: object) -> str:
        raise AssertionError("read")

    monkeypatch.setattr(file_identity, "content_digest", refuse)
    assert unchanged(path, identity)


def test_another_file_of_the_same_size_and_time_is_told(tmp_path: Path) -> None:
    path = large(tmp_path / "a.y4m")
    set_times(path)
    identity = identify(str(path))
    large(path, seed=1)
    set_times(path)
    assert not unchanged(path, identity)


@pytest.mark.parametrize("place", [0, 1_499_990, 2_999_999])
def test_a_change_at_either_end_or_in_the_middle_of_a_sampled_place_is_told(tmp_path: Path, place: int) -> None:
    path = large(tmp_path / "a.y4m", size=200_000 if 0 < place < 2_999_999 else 3_000_000)
    identity = identify(str(path))
    data = bytearray(path.read_bytes())
    data[min(place, 150_000) if len(data) == 200_000 else place] ^= 1
    path.write_bytes(data)
    assert not unchanged(path, identity)


def test_a_restored_copy_is_the_same_file(tmp_path: Path) -> None:
    path = large(tmp_path / "a.mp4")
    identity = identify(str(path))
    shutil.copy(path, tmp_path / "backup")
    path.unlink()
    shutil.copy(tmp_path / "backup", path)
    set_times(path)
    assert state_of(str(path)).stamp != identity.stamp
    assert unchanged(path, identity)


def test_only_a_full_digest_sees_a_byte_between_the_samples(tmp_path: Path) -> None:
    path = large(tmp_path / "a.y4m")
    sampled, full = identify(str(path)), identify(str(path), full=True)
    data = bytearray(path.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)
    assert unchanged(path, sampled)
    assert full.content.startswith(FULL)
    assert not unchanged(path, full)


def test_a_file_without_an_identity_must_be_older_than_the_record(tmp_path: Path) -> None:
    path = large(tmp_path / "a.mp4")
    set_times(path, 1_000)
    for record, expected in ((1_001, True), (1_000, False), (999, False)):
        assert is_unchanged(str(path), state_of(str(path)), f"{BEFORE}{record}", "") is expected


def frames(folder: Path, count: int = 90, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        (folder / f"{i:05d}.bmp").write_bytes(rng.bytes(20_000))
    return folder


@pytest.mark.parametrize("which", [0, 1, 44, 89])
def test_a_replaced_frame_is_told(tmp_path: Path, which: int) -> None:
    folder = frames(tmp_path / "video")
    identity = identify(str(folder), full=True)
    path = folder / f"{which:05d}.bmp"
    path.write_bytes(path.read_bytes()[::-1])
    assert not unchanged(folder, identity)


def test_all_frames_replaced_by_others_of_the_same_names_and_sizes(tmp_path: Path) -> None:
    folder = frames(tmp_path / "video")
    before = os.stat(folder).st_mtime_ns
    identity = identify(str(folder))
    frames(folder, seed=1)
    assert os.stat(folder).st_mtime_ns == before
    assert not unchanged(folder, identity)


def test_frames_added_or_taken_away(tmp_path: Path) -> None:
    folder = frames(tmp_path / "video", count=5)
    identity = identify(str(folder))
    (folder / "00004.bmp").rename(tmp_path / "aside")
    assert not unchanged(folder, identity)
    (tmp_path / "aside").rename(folder / "00004.bmp")
    assert unchanged(folder, identity)
    (folder / ".thumbnails").write_bytes(b"hidden")
    assert unchanged(folder, identity)


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(OSError, match="no regular file"):
            content_digest(path)
    assert state_of(str(tmp_path / "nothing")).stamp == ""


def test_the_digest_of_a_long_video_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large(tmp_path / "a.mp4")
    set_times(path)
    identity = identify(str(path))
    monkeypatch.setattr(file_identity, "content_digest", lambda *_, **__: "read again")
    assert identify(str(path)) == identity
    os.utime(path)  # as young as this, the clock of the file system may hide a change
    assert identify(str(path)).content == "read again"
