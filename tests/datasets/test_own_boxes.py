"""Boxes of one's own: every form of them reads as the same truth, and what is doubtful is one clear line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from helpers import blob, vitascope, write_video
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.open import open_dataset
from vitascope.datasets.splits import are_drawn
from vitascope.datasets.summary import describe

WIDE, HIGH, FRAMES, FPS = 48, 32, 20, 10
HEAD = "video,time,x1,y1,x2,y2,label,person"
Actor = tuple[str, int, tuple[int, int, int, int], str, str]
"""Video, frame, box in pixels, label, person."""


def pictures(number: int) -> np.ndarray:
    return blob(number * 1.1, number, FRAMES)[:, :HIGH]


def write_webm(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libvpx", rate=FPS, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        stream.codec_context.thread_count = 1
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of 2 s: three containers, and a folder of frames numbered from 1."""
    root = tmp_path_factory.mktemp("clips")
    write_video(root / "videos" / "a.mp4", pictures(0), FPS)
    write_video(root / "videos" / "b.mkv", pictures(1), FPS)
    write_webm(root / "videos" / "c.webm", pictures(2))
    (root / "frames" / "d").mkdir(parents=True)
    for i, picture in enumerate(pictures(3), 1):
        Image.fromarray(picture).save(root / "frames" / "d" / f"{i:06d}.png")
    return root


@pytest.fixture
def mine(clips: Path, tmp_path: Path) -> Path:
    """A folder of its own with these videos."""
    root = tmp_path / "mine"
    shutil.copytree(clips, root, copy_function=lambda a, b: Path(b).hardlink_to(a))
    return root


def actors() -> Iterator[Actor]:
    rng = np.random.default_rng(3)
    for video in "abcd":
        for frame in (0, 5, 15):
            for person in ("p1", "p2"):
                x, y = rng.integers(0, 20), rng.integers(0, 12)
                box = (int(x), int(y), int(x + rng.integers(4, 28)), int(y + rng.integers(4, 20)))
                for label in ("run", "jump")[: 1 + (person == "p1")]:
                    yield video, frame, box, label, person


ACTORS = tuple(actors())
EMPTY = ("b", 10)
"""A frame without people."""


def truth_of(dataset: Dataset[Any]) -> set[tuple[Any, ...]]:
    """Video, time, box, labels and whether it is the first person of every actor; video and time of empty frames."""
    found: set[tuple[Any, ...]] = set()
    tracks: dict[str | None, set[int]] = {}
    for e in dataset.examples:
        tracks.setdefault(e.group, set()).update(a.track for a in e.truth.actors)
    for e in dataset.examples:
        assert e.span == (e.truth.times[0] - 6.0, e.truth.times[0] + 6.0)
        video = str(e.group).removesuffix(".mp4")
        found |= {(video, round(t, 3)) for t in e.truth.times if not e.truth.actors}
        for a in e.truth.actors:
            labels = tuple(sorted(dataset.classes[i] for i in a.labels))
            first = a.track == min(tracks[e.group])
            found.add((video, round(a.time, 3), tuple(np.round(a.box, 4)), labels, first))
    return found


def expected() -> set[tuple[Any, ...]]:
    people: dict[tuple[Any, ...], set[str]] = {}
    for video, frame, box, label, person in ACTORS:
        place = tuple(np.round(np.array(box) / (WIDE, HIGH, WIDE, HIGH), 4))
        people.setdefault((video, round(frame / FPS, 3), place, person == "p1"), set()).add(label)
    rows: set[tuple[Any, ...]] = {
        (v, t, box, tuple(sorted(labels)), one) for (v, t, box, one), labels in people.items()
    }
    return rows | {(EMPTY[0], EMPTY[1] / FPS)}


def seconds_and_fractions() -> str:
    rows = [
        f"{v},{frame / FPS},{x1 / WIDE:.9f},{y1 / HIGH:.9f},{x2 / WIDE:.9f},{y2 / HIGH:.9f},{label},{p},{FPS}"
        for v, frame, (x1, y1, x2, y2), label, p in ACTORS
    ]
    return "\n".join([f"{HEAD},fps", *rows, f"{EMPTY[0]},{EMPTY[1] / FPS},,,,,,,{FPS}"])


def frames_and_pixels(first: int) -> str:
    rows = [
        f"{v}.mp4;{frame + first};{';'.join(map(str, box))};{label};{p};{FPS};x" for v, frame, box, label, p in ACTORS
    ]
    head = "Video_ID;frame;xmin;ymin;xmax;ymax;action;track_id;fps;remark"
    return "\n".join([head, *rows, f"{EMPTY[0]}.mp4;{EMPTY[1] + first};;;;;;;{FPS};"])


def coco(*, videos: bool = True) -> dict[str, Any]:
    """Frame ids count from 0, the images of `d` from 1 as in their names."""
    frames = sorted({(v, frame) for v, frame, *_ in ACTORS} | {EMPTY})
    number = {key: i for i, key in enumerate(frames, 100)}
    images = [
        {"id": i, "file_name": f"{v}/{frame + 1:06d}.jpg", "width": 2 * WIDE, "height": 2 * HIGH}
        | ({"video_id": 1 + "abcd".index(v), "frame_id": frame} if videos else {})
        for (v, frame), i in number.items()
    ]
    boxes = [
        {
            "id": i,
            "image_id": number[v, frame],
            "category_id": {"run": 7, "jump": 3}[label],
            "bbox": [2 * x1, 2 * y1, 2 * (x2 - x1), 2 * (y2 - y1)],
            "instance_id": {"p1": 1, "p2": 2}[p],
        }
        for i, (v, frame, (x1, y1, x2, y2), label, p) in enumerate(ACTORS)
    ]
    listed = [{"id": 1 + i, "name": v, "fps": FPS} for i, v in enumerate("abcd")]
    categories = [{"id": 7, "name": "run"}, {"id": 3, "name": "jump"}]
    return {"images": images, "annotations": boxes, "categories": categories, **({"videos": listed} if videos else {})}


FORMS = {
    "boxes.csv": (seconds_and_fractions, "fractions of the frame; times in seconds (column 'time')"),
    "annotations.csv": (
        lambda: frames_and_pixels(0),
        "pixels of each video; times are frames (column 'frame'), counted from 0",
    ),
    "annotations/all.csv": (lambda: frames_and_pixels(1), "times are frames (column 'frame'), counted from 1"),
    "annotations/vid.json": (lambda: json.dumps(coco()), "pixels of the annotated images; times are frames"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_same_truth(mine: Path, name: str) -> None:
    text, about = FORMS[name]
    (mine / name).parent.mkdir(exist_ok=True)
    (mine / name).write_text(text())
    dataset = open_dataset(mine)
    assert truth_of(dataset) == expected()
    assert about in dataset.layout
    assert (dataset.kind, dataset.classes, dataset.notes) == ("detection", ("jump", "run"), ())
    assert open_dataset(mine / name).digest == dataset.digest
    assert are_drawn(dataset)
    for fold in dataset.folds:
        assert not {i.partition("@")[0] for i in fold.train} & {i.partition("@")[0] for i in fold.test}


def test_frames_of_folders_need_no_videos_in_coco(mine: Path) -> None:
    """Images named `video/000123.jpg` are frames by their numbers, here of folders and of files."""
    (mine / "boxes.json").write_text(json.dumps(coco(videos=False)))
    dataset = open_dataset(mine)
    times = {e.id: e.truth.times[0] for e in dataset.examples if e.id.partition("@")[0] in "ad"}
    assert {i: round(t, 3) for i, t in times.items() if i[0] == "a"} == {"a@1": 0.0, "a@6": 0.5, "a@16": 1.5}
    assert {i: round(t * 3, 3) for i, t in times.items() if i[0] == "d"} == {"d@1": 0.0, "d@6": 0.5, "d@16": 1.5}
    assert any("'d' is a folder of frames, taken at 30 frames per second" in note for note in dataset.notes)


def rows(*listed: str, head: str = HEAD) -> str:
    return "\n".join([head, *listed])


GOOD = ("a,0.5,.1,.1,.5,.9,run,1", "a,1,.2,.1,.6,.9,run,1", "b,0.5,.1,.1,.5,.9,jump,1", "b,1,.1,.1,.5,.9,run,1")
PIXELS = ("a,0.5,4,4,30,30,run,1", "a,1,6,4,32,30,run,1", "b,0.5,4,4,30,30,jump,1", "b,1,6,4,32,30,run,1")
PLENTY = tuple(f"a,1,.1,.{i},.5,.9,run,{i}" for i in range(1, 9)) + tuple(
    f"b,1,.1,.{i},.5,.9,jump,{i}" for i in range(1, 9)
)


def opened(folder: Path, text: str) -> Dataset[Any]:
    (folder / "boxes.csv").write_text(text)
    return open_dataset(folder)


@pytest.mark.parametrize(
    ("listed", "note"),
    [
        ((*PLENTY, "a,.5,.5,.1,.1,.9,run,1"), "1 box inverted, with x2 < x1 or y2 < y1: left out (boxes.csv:18)"),
        ((*PLENTY, "a,.5,.5,.1,.5,.9,run,1"), "1 box of zero area: left out (boxes.csv:18)"),
        ((*GOOD, "a,.1,-.2,.1,.5,.9,run,1"), "1 box reaching outside the frame: cut at its edge (boxes.csv:6)"),
        ((*PLENTY, "a,.1,1.2,.1,1.5,.9,run,1"), "1 box outside the frame: left out (boxes.csv:18)"),
        ((*GOOD, GOOD[0], GOOD[2]), "2 boxes listed twice: counted once (the first is boxes.csv:6)"),
        (
            (*GOOD, "a,.5,.3,.3,.8,.9,run,1"),
            "1 box of a person that has another box in the same keyframe: taken as two actors (boxes.csv:6)",
        ),
        ((*GOOD, "a,2.5,.3,.3,.8,.9,run,1"), "1 box in 1 keyframe after the end of their video: left out"),
        ((*GOOD, "b,1.5,.1,.1,.5,.9,,1"), "1 box without a label: left out (boxes.csv:6)"),
        ((*GOOD, "b,1.5,.1,.1,.5,.9,Run,1"), "the labels 'Run' and 'run' differ only in capitals or spacing"),
        ((*GOOD, "e,1,.1,.1,.5,.9,run,1"), "1 of 3 listed videos not there, e.g. e"),
        (GOOD, "2 videos without a row: not used, e.g. frames/d"),
        ((GOOD[0], GOOD[3]), "only one class, 'run'"),
        (GOOD, "1 class of one video only, never both trained and tested, e.g. 'jump'"),
        (PIXELS * 5, "16 boxes listed twice"),
        (
            tuple(f"{v},1,{i},2,{i + 6},12,{label},{i}" for v, label in ("ar", "bs") for i in range(12)),
            "boxes reach only 35% of the width and 38% of the height of the frame; are they pixels of a smaller copy",
        ),
    ],
)
def test_what_is_doubtful_is_one_line(mine: Path, listed: Sequence[str], note: str) -> None:
    dataset = opened(mine, rows(*listed))
    assert [n for n in dataset.notes if note.replace("boxes.csv", f"{mine}/boxes.csv") in n], dataset.notes
    assert all(0 <= v <= 1 for e in dataset.examples for a in e.truth.actors for v in a.box)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (
            ("a,1,10,10,20,10,run,1", "a,1,10,20,8,30,run,2"),
            "boxes.csv:3: box 10, 20, 8, 30 (1 of 2) has x2 < x1 or y2 < y1; the columns are corners: add x and y",
        ),
        ((*PIXELS, "a,1.5,.1,.1,.5,.9,run,1"), "boxes.csv:6: box 0.1, 0.1, 0.5, 0.9 is in fractions of the frame, but"),
        (
            ("a,1,100,10,300,200,run,1", "b,1,1,1,30,30,jump,1"),
            "boxes.csv:2: box 100, 10, 300, 200 (1 of 2) is outside the frame of 48 x 32 pixels",
        ),
        (
            ("a,5,.1,.1,.5,.9,run,1", "a,19,.1,.1,.5,.9,run,1", "b,18,.1,.1,.5,.9,jump,1"),
            "keyframes after the end of 2 of 2 videos ('a' has keyframes up to 19 s and 2 s); these are numbers of "
            "frames, not seconds: call the column `frame`",
        ),
        (
            ("a,1500,.1,.1,.5,.9,run,1", "b,800,.1,.1,.5,.9,jump,1"),
            "these look like milliseconds: divide them by 1000",
        ),
        (
            ("a,902,.1,.1,.5,.9,run,1", "b,902.5,.1,.1,.5,.9,jump,1"),
            "these are seconds of AVA's movies: give ava=FOLDER",
        ),
        (
            ("a,2.4,.1,.1,.5,.9,run,1", "b,2.4,.1,.1,.5,.9,jump,1", "c,2.4,.1,.1,.5,.9,jump,1"),
            "all by a factor of 1.2, as if 25 frames per second were taken for 30; correct the times",
        ),
        (("a,2.9,.1,.1,.5,.9,run,1", "b,2.3,.1,.1,.5,.9,jump,1"), "are these the annotated videos, and times from"),
        (("a,-1,.1,.1,.5,.9,run,1",), "video 'a' has time -1; the first frame is at 0 s"),
        (("a,1,,,,,,", "b,1,,,,,,"), "no boxes in any of 2 rows"),
        (
            ("x,1,.1,.1,.5,.9,run,1", "y,1,.1,.1,.5,.9,jump,1"),
            "none of the 2 videos of mine was found; expected e.g. x",
        ),
        (("a,1,.1,.1,.5,.9,run,1", "a,1.5,.1,.1,.5,.9,jump,1"), "boxes of a single video; at least two are required"),
        (("../a,1,.1,.1,.5,.9,run,1",), "'../a' is outside the folder of the dataset"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(mine: Path, listed: Sequence[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        opened(mine, rows(*listed))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_are_whole_and_within_the_video(mine: Path) -> None:
    head = HEAD.replace("time", "frame_index")
    with pytest.raises(UserError, match=r"has frame_index 1.5; frames are whole numbers from 0 or 1"):
        opened(mine, rows("a,1.5,.1,.1,.5,.9,run,1", head=head))
    with pytest.raises(UserError, match=r"up to frame 23 and 20 frames\); all by a factor of 1.2, as if 25 frames"):
        opened(mine, rows(*(f"{v},{n},.1,.1,.5,.9,run,1" for v in "abc" for n in (0, 23)), head=head))
    dataset = opened(mine, rows(*(f"{v},20,.1,.1,.5,.9,run,1" for v in "ab"), head=head))
    assert {e.truth.times for e in dataset.examples} == {(1.9,)}  # counted from 1


def test_times_that_end_early_by_one_rate_are_said(tmp_path: Path) -> None:
    for name, seconds in (("a", 3), ("b", 4), ("c", 6)):
        write_video(tmp_path / f"{name}.mp4", blob(0.3, 1, seconds * FPS), FPS)
    ends = {"a": 2.5, "b": 10 / 3, "c": 5.0}
    listed = [f"{v},{t * end:.6f},.1,.1,.5,.9,run,1" for v, end in ends.items() for t in (0.5, 1.0)]
    (note, *_) = [n for n in opened(tmp_path, rows(*listed)).notes if "length" in n]
    assert note.startswith("the last keyframes of all videos are at 0.833 of their length, as if 30 frames")


def test_splits_are_those_of_a_column_or_of_the_files(mine: Path) -> None:
    dataset = opened(
        mine, rows(*(f"{r},{'train' if r[0] == 'a' else 'validation'}" for r in GOOD), head=f"{HEAD},split")
    )
    assert [(f.name, f.train, f.test) for f in dataset.folds] == [("train/val", ("a@0.5", "a@1"), ("b@0.5", "b@1"))]
    with pytest.raises(UserError, match=r"boxes.csv:3: split 'val' of video 'a' differs from other rows"):
        opened(mine, rows(f"{GOOD[0]},train", f"{GOOD[1]},val", head=f"{HEAD},split"))
    with pytest.raises(UserError, match=r"boxes.csv:2: split 'trian'; did you mean 'train'"):
        opened(mine, rows(f"{GOOD[0]},trian", head=f"{HEAD},split"))
    (mine / "boxes.csv").unlink()
    (mine / "annotations").mkdir()
    for split, listed in (("train", GOOD[:2]), ("val", GOOD[2:])):
        (mine / "annotations" / f"{split}_v2.csv").write_text("\n".join(listed))
    assert [(f.train, f.test) for f in open_dataset(mine).folds] == [(("a@0.5", "a@1"), ("b@0.5", "b@1"))]
    (mine / "annotations" / "val_v2.csv").write_text("\n".join(GOOD))
    with pytest.raises(UserError, match=r"val_v2.csv: split val of video 'a', train in another table"):
        open_dataset(mine)


def test_a_list_of_videos_stays_one_and_beside_boxes_neither_is_guessed(mine: Path) -> None:
    manifest = "path,label,x1,y1,x2,y2,video\n" + "".join(
        f"videos/{v},{v[0] in 'ab'},1,1,2,2,x\n" for v in ("a.mp4", "c.webm")
    )
    (mine / "manifest.csv").write_text(manifest + "videos/b.mkv,True,1,1,2,2,x\nframes/d,False,1,1,2,2,x\n")
    assert open_dataset(mine).kind == "recognition"
    (mine / "boxes.csv").write_text(rows(*GOOD))
    with pytest.raises(UserError, match=r"both boxes.csv and manifest.csv annotate the videos; give one file, as in"):
        open_dataset(mine)
    assert open_dataset(mine / "boxes.csv").kind == "detection"
    assert open_dataset(mine / "manifest.csv").kind == "recognition"
    (mine / "manifest.csv").unlink()
    (mine / "actions.json").write_text(json.dumps({"database": {}}))
    with pytest.raises(UserError, match=r"both boxes.csv and actions.json"):
        open_dataset(mine)


def test_a_file_finds_its_videos_beside_its_folder_or_where_one_says(mine: Path, tmp_path: Path) -> None:
    lists = tmp_path / "elsewhere"
    lists.mkdir()
    (lists / "people.txt").write_text(rows(*GOOD))
    dataset = open_dataset(f"{lists / 'people.txt'}={mine}")
    assert (dataset.name, len(dataset.examples), dataset.missing_files) == ("elsewhere", 4, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][3].update(image_id=1), "annotations[3]: there is no image 1; list it"),
        (lambda c: c["annotations"][3].update(category_id=1), "annotations[3]: there is no category 1; list it"),
        (lambda c: c["annotations"][3].update(bbox=[1, 2, 3]), "annotations[3].bbox"),
        (lambda c: c["images"][0].update(video_id=9), "image 100: there is no video 9; list it in 'videos'"),
        (lambda c: c["images"][1].update(id=100), "images: id 100 is listed twice"),
        (lambda c: [i.pop("video_id") and i.update(file_name="1.jpg") for i in c["images"]], "image 100: no video"),
        (lambda c: c["annotations"].clear(), "no boxes in any of"),
    ],
)
def test_what_is_wrong_in_coco_is_one_line(mine: Path, change: Any, message: str) -> None:
    content = coco()
    change(content)
    (mine / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        open_dataset(mine / "boxes.json")
    assert message in str(error.value)


def test_check_says_how_boxes_were_understood_and_what_comes_next(mine: Path) -> None:
    (mine / "boxes.csv").write_text(seconds_and_fractions())
    done = vitascope("check", mine, "-o", mine.parent / "m.csv", "--workers", 1)
    assert (
        "boxes: 4 videos, 13 keyframes (1 without people), 24 actors, 1.8 per keyframe (at most 2), 8 tracks"
        in done.stdout
    )
    assert "layout: boxes.csv (37 rows); boxes in fractions of the frame; times in seconds" in done.stdout
    assert "split: none given: 4 folds" in done.stdout
    assert "-m vit/tiny-random -t detect/tiny" in done.stdout
    refused = vitascope("evaluate", mine, "-m", "pixels/thumbnail", "-t", "knn", code=2)
    assert "knn is for recognition, but mine is for detection; use -t detect" in refused.stderr


def test_boxes_of_every_frame_are_examples_of_a_second(mine: Path) -> None:
    head = HEAD.replace("time", "frame")
    listed = [f"{v},{n},.1,.1,.5,{0.5 + n / 100},run,{v}" for v in "abe" for n in range(FRAMES) if n != 7]
    dataset = opened(mine, rows(*listed, "a,7,,,,,,", head=head))
    assert "every frame or nearly every one is annotated: an example is one second of a video" in dataset.layout
    spans = {e.id: (e.span, len(e.truth.times), len(e.truth.actors)) for e in dataset.examples}
    assert spans["a@0"] == ((0.0, 1.0), 10, 9)
    assert spans["a@10"] == ((1.0, 2.0), 10, 10)
    assert spans["b@0"] == ((0.0, 1.0), 9, 9)
    assert {i for i in spans if i[0] == "e"} == set(dataset.missing_files)
    assert [a.box[3] for a in dataset.by_id()["b@10"].truth.actors] == [0.5 + n / 100 for n in range(10, 20)]


def test_real_clips_with_boxes_in_pixels(shared: Path, tmp_path: Path) -> None:
    listed = []
    for label in ("hugging", "kicking"):
        for clip in sorted((shared / "data" / "actions" / "ut_interaction_norm160" / label).glob("*.mp4"))[:2]:
            shutil.copy(clip, tmp_path)
            listed += [f"{clip.stem},{n},16,40,80,160,{label}" for n in (0, 24, 47)]
    dataset = opened(tmp_path, rows(*listed, head="video,frame_number,left,top,right,bottom,class"))
    assert len(dataset.examples) == 12
    assert {a.box for e in dataset.examples for a in e.truth.actors} == {(0.1, 0.25, 0.5, 1.0)}
    assert {round(t, 3) for e in dataset.examples for t in e.truth.times} == {0.0, 1.0, round(47 / 24, 3)}
    assert "no tracks" in describe(dataset)[2]


def test_a_label_map_names_the_classes(mine: Path) -> None:
    (mine / "list.pbtxt").write_text('item { name: "run" id: 12 }\nitem { name: "jump" id: 4 }\n')
    listed = [row.replace("run", "12").replace("jump", "4") for row in GOOD]
    dataset = opened(mine, rows(*listed))
    assert (dataset.classes, dataset.layout[-23:]) == (("jump", "run"), "; classes by list.pbtxt")
    with pytest.raises(UserError, match=r"boxes.csv:6: label 13 is none of the 2 numbers of list.pbtxt"):
        opened(mine, rows(*listed, "a,1.5,.1,.1,.5,.9,13,1"))
