"""Folders as people have them: everything met below is an example, or ignored by a name, or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import vitascope
from vitascope.cli.evaluate import _jobs as open_jobs
from vitascope.core.media import MEDIA_SUFFIXES, is_clutter, suffix
from vitascope.core.types import Dataset
from vitascope.datasets.builders.folder import build
from vitascope.datasets.readers.class_folders import ClassFolders, is_thumbnail
from vitascope.datasets.readers.ignored import Ignored
from vitascope.datasets.readers.video_files import walk
from vitascope.datasets.summary import describe
from vitascope.pretrain.data.folder import VideoFolder, list_files

CLIPS = [f"{label}/{i}.mp4" for label in ("left", "right") for i in range(3)]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def ids(dataset: Dataset[int]) -> list[str]:
    return [e.id for e in dataset.examples]


def ignored(dataset: Dataset[int]) -> str:
    """What is said to be ignored."""
    return describe(dataset)[-1].removeprefix("ignored: ")


def test_plain_folders_ignore_nothing(tmp_path: Path) -> None:
    dataset = build(str(touch(tmp_path, *CLIPS)))
    assert ids(dataset) == CLIPS
    assert dataset.notes == ()
    assert describe(dataset) == [
        "layout: class folders: 6 videos",
        "labels: 2 classes (left 3, right 3)",
        "split: none given: 3 folds",
        "groups: none; every example is a recording of its own",
        "ignored: nothing",
    ]


@pytest.mark.parametrize("ending", ["jpg", "webp", "heic", "mp4.jpg", "gif", "THM"])
@pytest.mark.parametrize("mark", ["", "-thumb", "_thumbnail", ".preview", " 1"])
def test_thumbnails_beside_videos_are_no_examples(ending: str, mark: str, tmp_path: Path) -> None:
    thumbnails = [f"{clip.removesuffix('.mp4')}{mark}.{ending}" for clip in CLIPS]
    dataset = build(str(touch(tmp_path, *CLIPS, *thumbnails)))
    assert ids(dataset) == CLIPS
    assert ignored(dataset) == f"6 thumbnails ({thumbnails[0]} ...)"
    assert dataset.notes == (f"ignored: 6 thumbnails ({thumbnails[0]} ...)",)


def test_thumbnails_in_folders_of_their_own(tmp_path: Path) -> None:
    apart = [f"left/thumbs/{i}.jpg" for i in range(3)]
    dataset = build(str(touch(tmp_path, *CLIPS, *apart, "right/.thumbs/0.jpg", "left/@eaDir/0.mp4/a.jpg")))
    assert ids(dataset) == CLIPS
    assert ignored(dataset) == "left/thumbs/ (3 thumbnails), 2 hidden or system files (left/@eaDir ...)"


def test_thumbnails_with_numbers_do_not_hide_their_videos(tmp_path: Path) -> None:
    """Whichever the file system lists first."""
    names = [f"{kind}/clip_{i:04d}.{end}" for kind in "ab" for i in range(8) for end in ("jpg", "mp4")]
    touch(tmp_path, *sorted(names))
    assert sorted(walk(tmp_path)) == sorted(n for n in names if n.endswith("mp4"))
    assert len(ids(build(str(tmp_path)))) == 16


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["left/other.jpg"], "left/ has 3 videos (0.mp4 ...) and 1 image (other.jpg ...); move one kind out, or list"),
        (["up/1.jpg", "up/2.jpg"], "6 videos (left/0.mp4 ...) and 2 images (up/1.jpg ...) in class folders; move one"),
        (["train/a/1.mp4", "val/a/2.mp4"], "train/ and val/ divide the class folders, but left/ has videos too; move"),
    ],
)
def test_mixtures_are_refused_by_name(more: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        build(str(touch(tmp_path, *CLIPS, *more)))
    assert message in str(caught.value)


def test_classes_in_other_capitals_on_the_other_side_are_named(tmp_path: Path) -> None:
    names = [f"{split}/{i}.mp4" for split in ("train/Left", "train/right", "val/left", "val/right") for i in range(2)]
    with pytest.raises(ValueError, match=r"in test but not in training .*'left'; the labels 'Left' and 'left' differ"):
        build(str(touch(tmp_path, *names)))


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    names = [f"{split}/{clip}" for split in ("train", "val", "eval") for clip in CLIPS]
    with pytest.raises(ValueError, match="'eval/' and 'val/' both stand for val; rename or remove one"):
        build(str(touch(tmp_path, *names)))


@pytest.mark.parametrize("top", ["", "videos/", "data/clips/"])
@pytest.mark.parametrize("words", [("train", "val"), ("Training", "eval"), ("train", "test"), ("trn", "dev")])
def test_splits_are_seen_below_and_beside_other_folders(top: str, words: tuple[str, str], tmp_path: Path) -> None:
    names = [f"{top}{word}/{clip}" for word in words for clip in CLIPS]
    dataset = build(str(touch(tmp_path, *names, "annotations/classes.txt", "README.md")))
    (fold,) = dataset.folds
    assert (set(fold.train), set(fold.test)) == (set(names[:6]), set(names[6:]))
    assert dataset.classes == ("left", "right")
    assert ignored(dataset) == "annotations/ (no video: classes.txt), 1 .md file (README.md)"


def test_folders_in_class_folders_are_groups(tmp_path: Path) -> None:
    names = [f"{label}/person{p}/{i}.mp4" for label in ("box", "wave") for p in range(3) for i in range(2)]
    dataset = build(str(touch(tmp_path, *names)))
    assert ids(dataset) == names
    assert [e.group for e in dataset.examples] == [n.split("/")[1] for n in names]
    assert dataset.notes == ("videos in folders in class folders are grouped by those, 3 in all, such as person0/",)
    for fold in dataset.folds:
        assert not {n.split("/")[1] for n in fold.train} & {n.split("/")[1] for n in fold.test}


@pytest.mark.parametrize("ending", ["mp4", "jpg"])
def test_splits_in_class_folders(ending: str, tmp_path: Path) -> None:
    names = [f"{label}/{split}/{i}.{ending}" for label in "ab" for split in ("test", "train") for i in range(2)]
    dataset = build(str(touch(tmp_path, *names)))
    (fold,) = dataset.folds
    assert list(fold.train) == [n for n in names if "/train/" in n]
    assert list(fold.test) == [n for n in names if "/test/" in n]
    assert {e.group for e in dataset.examples} == {None}


def test_folders_that_the_split_divides_are_no_groups(tmp_path: Path) -> None:
    names = [f"{s}/{label}/part{p}/{i}.mp4" for s in ("train", "val") for label in "ab" for p in (1, 2) for i in (1, 2)]
    dataset = build(str(touch(tmp_path, *names)))
    assert {e.group for e in dataset.examples} == {None}
    assert dataset.notes == (
        "folders in class folders, such as part1/, are not taken as groups: the split divides them",
    )


def test_frames_beside_flow_and_masks(tmp_path: Path) -> None:
    names = [
        f"{label}/v{i}/{kind}/{j:05d}.jpg"
        for label in "ab"
        for i in (1, 2)
        for kind in ("flow_x", "masks", "rgb")
        for j in (1, 2)
    ]
    dataset = build(str(touch(tmp_path, *names)))
    assert ids(dataset) == [f"{label}/v{i}/rgb" for label in "ab" for i in (1, 2)]
    assert "a/v1/flow_x/ (no frames of the videos beside it), a/v1/masks/" in ignored(dataset)
    other = touch(tmp_path / "other", *(f"{kind}/{clip}" for kind in ("rgb", "flow") for clip in CLIPS))
    assert ids(build(str(other))) == [f"rgb/{clip}" for clip in CLIPS]


def test_unknown_endings_are_counted_and_named(tmp_path: Path) -> None:
    odd = ["left/a.xyz", "right/b.xyz", "left/noending", "right/c.srt", "left/Thumbs.db", "__MACOSX/left/._0.mp4"]
    dataset = build(str(touch(tmp_path, *CLIPS, *odd)))
    assert ids(dataset) == CLIPS
    for part in (
        "2 .xyz files (left/a.xyz ...)",
        "1 file without ending (left/noending)",
        "1 .srt file (right/c.srt)",
        "2 hidden or system files",
    ):
        assert part in ignored(dataset)


def test_empty_folders_and_files_in_no_class(tmp_path: Path) -> None:
    (touch(tmp_path, *CLIPS, "stray.mp4", "notes/a.txt") / "up").mkdir()
    os.mkfifo(tmp_path / "left" / "pipe.mp4")
    dataset = build(str(tmp_path))
    assert ids(dataset) == CLIPS
    assert ignored(dataset) == (
        "notes/ (no video: a.txt), up/ (empty), 1 file in no class folder (stray.mp4), 1 pipe or device (left/pipe.mp4)"
    )


def test_results_beside_the_videos_are_no_class(tmp_path: Path) -> None:
    dataset = build(str(touch(tmp_path, *CLIPS, "runs/latest/results.jsonl", "runs/latest/report.png")))
    assert ids(dataset) == CLIPS
    assert "runs/ (results, or a link to a folder above it)" in ignored(dataset)


def test_links_in_circles_end(tmp_path: Path) -> None:
    os.symlink(touch(tmp_path, *CLIPS), tmp_path / "left" / "again")
    os.symlink(tmp_path / "right", tmp_path / "zoo")
    assert ids(build(str(tmp_path))) == [*CLIPS, "zoo/0.mp4", "zoo/1.mp4", "zoo/2.mp4"]


NAMES = st.sampled_from(["a", "b", "train", "val", "v1", "v1_thumb", "x.y", ".h", "Thumbs.db", "rgb", "flow"])
ENDINGS = st.sampled_from([".mp4", ".jpg", ".m2ts", ".txt", "", ".xyz", ".ppm"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(NAMES, max_size=3), NAMES, ENDINGS), max_size=12))
def test_every_file_is_used_or_ignored_or_refused(files: list[tuple[list[str], str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for above, name, ending in files:
            try:
                touch(root, "/".join([*above, f"{name}{ending}"]))
            except OSError:  # a file where a folder should be
                continue
        found = ClassFolders(root)
        try:
            found.read()
        except ValueError:
            return
        used = {row.path for row in found.rows}
        media = [p.relative_to(root) for p in root.rglob("*") if p.is_file() and suffix(p.name) in MEDIA_SUFFIXES]
        for path in media:
            above = {str(p) for p in path.parents}
            known = str(path) in used or above & used or any(map(is_clutter, path.parts))
            folders = {entry.partition("/ (")[0] for entry in found.ignored.folders}
            assert known or above & folders or found.ignored.counts, path


def test_check_says_first_how_a_folder_is_understood(tmp_path: Path) -> None:
    names = [f"{split}/{clip}" for split in ("train", "val") for clip in CLIPS]
    root = touch(tmp_path / "set", *names, *(n.replace("mp4", "jpg") for n in names), "annotations/a.txt")
    done = vitascope("check", root, "-o", tmp_path / "out.csv", "-q", "--workers", 1, code=1)  # the files are no videos
    assert done.stdout.splitlines()[:5] == [
        "layout: class folders in train/ and val/: 12 videos",
        "labels: 2 classes (left 6, right 6)",
        "split: given (train/val): 6 to train, 6 to test",
        "groups: none; every example is a recording of its own",
        "ignored: annotations/ (no video: a.txt), 12 thumbnails (train/left/0.jpg ...)",
    ]
    again = vitascope("check", root, "-o", tmp_path / "out.csv", "-q", "--workers", 1, "--json", code=1)
    assert json.loads(again.stdout)["understood"] == done.stdout.splitlines()[:5]


def test_training_data_say_what_they_ignore(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *CLIPS, "left/0.jpg", "left/1.jpg", "cafe\u0301/1.mp4", "caf\u00e9/2.mp4", "notes.txt")
    with caplog.at_level("WARNING", "vitascope"):
        files = list_files(VideoFolder(path=str(tmp_path), labeled=True))
    assert {f.id.split("/")[0]: f.label for f in files} == {"cafe\u0301": 0, "caf\u00e9": 0, "left": 1, "right": 2}
    assert caplog.messages == [f"{tmp_path}: ignored: 2 .jpg files (left/0.jpg ...), 1 .txt file (notes.txt)"]


def test_evaluate_says_what_a_folder_ignores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path / "set", *CLIPS, "left/0.jpg", "left/a.m4p")
    with caplog.at_level("WARNING", "vitascope"):
        open_jobs([str(root)], ["knn"], "", None)
    assert caplog.messages == ["set: ignored: 1 thumbnail (left/0.jpg), 1 .m4p file (left/a.m4p)"]


def test_frames_in_place_of_class_folders_are_asked_about(tmp_path: Path) -> None:
    frames = touch(tmp_path / "frames", *(f"v{i}/{j:05d}.jpg" for i in range(3) for j in range(4)))
    (note,) = build(str(frames)).notes
    assert "numbered without a gap: if they are the frames of one video, move its folder into a class folder" in note
    photos = touch(tmp_path / "photos", *(f"{label}/{i}.jpg" for label in "ab" for i in (3, 7, 8)))
    assert build(str(photos)).notes == ()
    one = touch(tmp_path / "one", *(f"videos/v{i}/{j:05d}.jpg" for i in range(3) for j in range(4)))
    with pytest.raises(ValueError, match="only one class, 'videos'"):
        build(str(one))


def test_a_folder_without_examples_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no videos; expected .*; ignored: a/ \(no video: 1\.heic\), b/ \(no video"):
        build(str(touch(tmp_path, "a/1.heic", "b/2.heic")))


def test_what_names_a_thumbnail() -> None:
    videos = {"c00", "my clip.v2"}
    for name in ("c00.jpg", "C00.JPG", "c00-poster.png", "my clip.v2.webp", "c00.mp4.jpg", "c00_3.jpg"):
        assert is_thumbnail(name, videos), name
    for name in ("c01.jpg", "c000.jpg", "c00.txt", "c00x.jpg", "my clip.jpg"):
        assert not is_thumbnail(name, videos), name


def test_ignored_in_words() -> None:
    nothing, some = Ignored(), Ignored()
    assert not nothing
    some.add_files("a", ["x.srt", "y.srt", ".z"])
    for name in "pqrst":
        some.add_folder(name, "empty")
    assert str(some) == (
        "p/ (empty), q/ (empty), r/ (empty), 2 more such folders, 2 .srt files (a/x.srt ...), "
        "1 hidden or system file (a/.z)"
    )
