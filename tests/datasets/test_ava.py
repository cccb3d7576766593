"""AVA and AVA-Kinetics in every layout that goes round: tiny copies, of which only headers are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from copies import build, complaint, files, lay, sides, write
from vitascope.core.actors import Actor
from vitascope.core.pixel_transform import PixelTransform
from vitascope.datasets.readers import movie_files
from vitascope.datasets.readers.ava_tables import class_groups, classes
from vitascope.sampling.samplers import Around
from vitascope.video import decode, inspect

ODD = "-5K _Q66.x"
"""A name with a dash in front, a space and a dot."""
TRAIN = [
    "one,0902,0.1,0.2,0.5,0.9,12,0",
    "one,0902,0.1,0.2,0.5,0.9,80,0",
    "one,0902,0.6,0.2,0.9,0.9,11,1",
    "one,0904,0.1,0.2,0.5,0.9,16,0",
    f"{ODD},1798,0.077,0.151,0.283,0.811,80,1",
    "one,0905",
]
VAL = ["two,0903,0.1,0.1,0.4,0.8,17,3", "gone,1000,0.1,0.1,0.4,0.8,12,0"]


def ava(root: Path, *, train: list[str] = TRAIN, val: list[str] = VAL, version: str = "2.2", below: str = "") -> Path:
    """The tables of AVA, with one excluded keyframe on each side."""
    write(root, f"{below}ava_train_v{version}.csv", train)
    write(root, f"{below}ava_val_v{version}.csv", val)
    write(root, f"{below}ava_train_excluded_timestamps_v{version}.csv", ["one,0903"])
    write(root, f"{below}ava_val_excluded_timestamps_v{version}.csv", ["two,0950"])
    return root


def movie(path: Path, seconds: int, *, first: int = 0) -> Path:
    """A video of two frames a second; second s, counted from `first`, has the gray level 30 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=2)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(2 * seconds):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(gray(first + i // 2), "rgb24")))
        out.mux(stream.encode())
    return path


def gray(second: int) -> np.ndarray:
    return np.full((32, 32, 3), 30 * (second % 8), np.uint8)


def actions(dataset: object, example_id: str) -> list[list[str]]:
    """The actions of each actor of a keyframe."""
    truth = dataset.by_id()[example_id].truth  # type: ignore[attr-defined]
    return [[classes()[label] for label in actor.labels] for actor in truth.actors]


def test_classes_are_the_60_of_the_evaluator_in_three_groups() -> None:
    assert len(classes()) == 60
    assert [len(of) for of in class_groups().values()] == [13, 32, 15]
    assert [classes()[of[0]] for of in class_groups().values()] == [
        "bend/bow (at the waist)",
        "answer phone",
        "fight/hit (a person)",
    ]


@pytest.mark.parametrize("below", ["", "annotations/", "ava_v2.2/", "annotations/ava_v2.2/"])
def test_keyframes_of_the_tables(below: str, tmp_path: Path) -> None:
    dataset = build("ava", lay(ava(tmp_path, below=below), "videos/one.mp4", f"videos/{ODD}.mkv", "videos/two.webm"))
    assert (dataset.name, dataset.kind, len(dataset.classes)) == ("ava", "detection", 60)
    assert sides(dataset) == (("one@0902", "one@0904", "one@0905", f"{ODD}@1798"), ("two@0903", "gone@1000"))
    assert actions(dataset, "one@0902") == [["stand", "watch (a person)"], ["sit"]]
    assert actions(dataset, "one@0904") == actions(dataset, "one@0905") == []
    assert files(dataset)[f"{ODD}@1798"] == f"videos/{ODD}.mkv"
    assert dataset.by_id()["one@0902"].group == "one"
    assert dataset.missing_files == {"gone@1000": f"no gone below {tmp_path}"}
    assert dataset.official_counts == {"train": 210_634, "test": 57_371}
    assert "4 and 2 keyframes to train and to test, where the authors count 210,634 and 57,371" in dataset.notes[0]
    assert "1 of 7 rows of the 20 actions that are not evaluated dropped, as in the official evaluator" in dataset.notes


def test_every_second_that_is_not_excluded(tmp_path: Path) -> None:
    dataset = build("ava/all", lay(ava(tmp_path), "one.mp4"))
    train, test = sides(dataset)
    assert (len(train), len(test)) == (2 * 897 - 1, 2 * 897 - 1)
    assert "one@0903" not in train
    assert dataset.by_id()["one@0906"].truth.actors == ()
    (tmp_path / "ava_val_excluded_timestamps_v2.2.csv").unlink()
    assert "no list of the excluded keyframes; put ava_val_excluded_timestamps_v2.2.csv" in complaint(
        "ava/all", tmp_path
    )


def test_excluded_keyframes_are_no_examples(tmp_path: Path) -> None:
    train = [*TRAIN, "one,0903,0.1,0.2,0.5,0.9,12,0", "one,0903"]
    dataset = build("ava", lay(ava(tmp_path, train=train), "one.mp4"))
    assert "one@0903" not in dataset.by_id()
    assert "1 of 8 rows in keyframes that the authors exclude dropped" in dataset.notes
    for path in tmp_path.glob("*excluded*"):
        path.unlink()
    dataset = build("ava", tmp_path)
    assert "one@0903" in dataset.by_id()
    assert "no ava_train_excluded_timestamps_v2.2.csv: no keyframe is left out as excluded" in dataset.notes


def test_version_2_1(tmp_path: Path) -> None:
    dataset = build("ava/2.1", lay(ava(tmp_path, version="2.1"), "one.mp4"))
    assert (dataset.name, dataset.key, dataset.official_counts) == ("ava/2.1", dataset.key, {})
    assert "no table of the training actions; put ava_train_v2.2.csv" in complaint("ava", tmp_path)


# --------------------------------------------------------------------------------------------------- where movies begin


def test_cut_and_whole_movies_are_told_by_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movie_files, "SHORTEST", 20.0)
    root = ava(tmp_path)
    movie(root / "videos" / "one.mp4", 4)
    movie(root / "videos" / "two.mkv", 25)
    dataset = build("ava", root)
    one = dataset.by_id()["one@0902"]
    assert (one.truth.times, one.span) == ((2.0,), (-4.0, 8.0))
    assert one.truth.actors[0] == Actor(2.0, (0.1, 0.2, 0.5, 0.9), (10, 59), 0)
    assert dataset.missing_files["one@0905"] == "the keyframe at 905 s is after the file, which ends at 904 s"
    assert dataset.missing_files["two@0903"] == "the keyframe at 903 s is after the file, which ends at 25 s"
    assert "1 of 4 movies are cut: their files are taken to begin at 900 s" in dataset.notes
    assert "1 of 4 movies are whole" in dataset.notes


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi", ""])
def test_the_frame_of_a_keyframe_is_decoded(ending: str, tmp_path: Path) -> None:
    root = ava(tmp_path)
    if ending:
        movie(root / "videos" / f"one{ending}", 7)
    else:
        (root / "frames" / "one").mkdir(parents=True)
        for i in range(31, 211):
            Image.fromarray(gray((i - 1) // 30)).save(root / "frames" / "one" / f"one_{i:06d}.jpg")
    for example in build("ava", root).examples[:3]:
        video = inspect(example.path, fps=example.fps).within(example.span)
        (clip,) = Around(window=0.1)(video, 1)
        ((_, pixels),) = decode(video, [clip], 32, PixelTransform(resize="shorter"))
        assert abs(float(pixels.mean()) - 30 * (int(example.id[-4:]) - 900)) < 6


def seconds_of(root: Path, numbers: Iterable[int], *, zero: int = 0) -> Path:
    """Files of a second each, called after it; each has the gray level of its second of the movie."""
    for number in numbers:
        movie(root / f"{number}.mp4", 1, first=number + zero - 900)
    return root


@pytest.mark.parametrize("zero", [0, 900], ids=["of-the-movie", "from-900-s-on"])
def test_movies_cut_into_seconds(zero: int, tmp_path: Path) -> None:
    root = ava(tmp_path)
    seconds_of(root / "clips" / "trainval" / "one", (n - zero for n in range(900, 907)), zero=zero)
    seconds_of(root / "clips" / "trainval" / "two", (n - zero for n in (901, 903, 904)), zero=zero)
    dataset = build("ava", root)
    counted = "900 s on" if zero else "the start of the movie"
    assert f"2 of 4 movies are cut into files of a second, counted from {counted}" in dataset.notes
    assert files(dataset)["one@0902"] == "clips/trainval/one"
    assert dataset.by_id()["one@0902"].span == (-4.0, 8.0)
    for name in ("one@0902", "one@0904", "one@0905", "two@0903"):
        example, second = dataset.by_id()[name], int(name[-4:]) - 900
        video = inspect(example.path).within(example.span)
        (clip,) = Around(window=2.0)(video, 4)
        ((_, pixels),) = decode(video, [clip], 32, PixelTransform(resize="shorter"))
        # two frames in the second before the keyframe, two in the one after it; 902.mp4 of two is not there
        before = 1 if name == "two@0903" else second - 1
        assert np.allclose(pixels.reshape(4, -1).mean(1), [30 * before] * 2 + [30 * second] * 2, atol=6)


def test_a_second_without_a_file_is_missing(tmp_path: Path) -> None:
    root = ava(tmp_path)
    seconds_of(root / "clips" / "one", (900, 901, 902, 905))
    dataset = build("ava", root)
    assert dataset.missing_files["one@0904"] == f"no 904.mp4 in {root}/clips/one"
    assert not {"one@0902", "one@0905"} & dataset.missing_files.keys()
    assert "2 seconds of them have no file: clips jump over these" in dataset.notes


def test_a_file_without_duration_is_cut_if_its_folder_says_so(tmp_path: Path) -> None:
    dataset = build("ava", lay(ava(tmp_path), "videos_15min/one.mp4", "videos/two.mp4", "videos/one.mkv"))
    assert (files(dataset)["one@0902"], dataset.by_id()["one@0902"].truth.times) == ("videos_15min/one.mp4", (2.0,))
    assert dataset.by_id()["two@0903"].truth.times == (903.0,)
    assert "1 of 4 movies are of unknown duration, taken for whole" in dataset.notes


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("frames/one/one_{:06d}.jpg", 1),
        ("rawframes/one/img_{:05d}.jpg", 1),
        ("frames/one/one_{:06d}.jpg", 0),
        ("frames/one/one_{:06d}.jpg", 61),
    ],
)
def test_folders_of_frames_begin_at_900_s(names: str, first: int, tmp_path: Path) -> None:
    dataset = build("ava", lay(ava(tmp_path), *(names.format(i) for i in range(first, first + 5))))
    one = dataset.by_id()["one@0904"]
    assert (files(dataset)["one@0904"], one.fps) == (names.rpartition("/")[0], 30.0)
    assert one.truth.times == ((4.0,) if first < 2 else (2.0,))
    assert "1 of 4 movies are folders of frames, taken for 30 a second from 900 s on" in dataset.notes


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("one,0902,0.5,0.2,0.1,0.9,12,0", ":7: the box 0.5, 0.2, 0.1, 0.9 is inverted; expected x1, y1, x2, y2"),
        ("one,0902,64,120,300,400,12,0", ":7: coordinates up to 400 are pixels, but fractions of the frame are"),
        ("one,0902,0.1,0.2,0.5,0.9,81,0", ":7: action '81' is none of AVA's, which are 1 to 80; for data of your own"),
        ("one,0902,0.1,0.2,0.5,0.9,stand,0", ":7: action 'stand' is none of AVA's"),
        ("one,0902,0.1,0.2,0.5,0.9,12,0.93", ":7: person 0.93 is not a whole number; these look like predictions"),
        ("one,0902,0.1,0.2,0.5,0.9,12", ":7: 7 cells where other rows have 8"),
        ("one,0003,0.1,0.2,0.5,0.9,12,0", ": keyframe 3 of 'one' is none of AVA's, which are the seconds 902 to 1798"),
        ("one,0902,0.1,nan,0.5,0.9,12,0", ":7: y1 'nan' is not a finite number"),
    ],
)
def test_bad_rows_are_named(row: str, text: str, tmp_path: Path) -> None:
    root = lay(ava(tmp_path, train=[*TRAIN, row]), "one.mp4")
    assert complaint("ava", root).startswith(f"{root}/ava_train_v2.2.csv{text}")


def test_harmless_rows_are_noted(tmp_path: Path) -> None:
    train = [
        *TRAIN,
        TRAIN[0],
        "one,0903,-0.1,0.2,1.02,0.9,12,0",
        "one,0906,0.3,0.2,0.3,0.9,12,0",
        "one,0907,1.2,0.2,1.5,0.9,12,0",
    ]
    root = lay(ava(tmp_path, train=train), "one.mp4")
    (root / "ava_train_excluded_timestamps_v2.2.csv").write_text("")
    dataset = build("ava", root)
    assert dataset.by_id()["one@0903"].truth.actors[0].box == (0.0, 0.2, 1.0, 0.9)
    assert actions(dataset, "one@0906") == actions(dataset, "one@0907") == []
    assert {n.partition(" of ")[0] + n.partition("rows")[2] for n in dataset.notes if " rows " in n} == {
        "1 of the 20 actions that are not evaluated dropped, as in the official evaluator",
        "2 whose box has no area within the frame dropped",
        "2 whose box reaches beyond the frame cut at its edge",
        "1 listed twice, counted once",
    }


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    head = "video_id,timestamp,action_id,score,x1,y1,x2,y2,person_id"
    root = ava(tmp_path, train=[head, "one,902,12,0.9,0.1,0.2,0.5,0.9,0", "one,902,80,0.9,0.1,0.2,0.5,0.9,0"])
    assert actions(build("ava", lay(root, "one.mp4")), "one@0902") == [["stand", "watch (a person)"]]


def test_nobody_and_another_dataset_are_refused(tmp_path: Path) -> None:
    root = lay(ava(tmp_path, val=["two,0903"]), "one.mp4")
    assert "ava_val_v2.2.csv: no row has a box: there is nobody to detect" in complaint("ava", root)
    ava(root, val=["two,0903,0.1,0.2,0.5,0.9,16,0"])
    assert "none of its 1 rows has an evaluated action" in complaint("ava", root)
    ava(root)
    (root / "ava_action_list_v2.2.pbtxt").write_text('label {\n  name: "Preening"\n  label_id: 1\n}\n')
    assert "class 1 is 'Preening', but 'bend/bow (at the waist)' in AVA; for data of" in complaint("ava", root)
    assert "none of the 6 videos of ava was found; expected e.g." in complaint("ava", ava(tmp_path / "bare"))


def test_one_class_is_enough(tmp_path: Path) -> None:
    dataset = build("ava", lay(ava(tmp_path, train=TRAIN[:1], val=["two,0903,0.1,0.1,0.4,0.8,12,3"]), "one.mp4"))
    assert {label for e in dataset.examples for label in e.truth.labels} == {10}


# --------------------------------------------------------------------------------------------------------- AVA-Kinetics


def kinetics(root: Path) -> Path:
    train = ["_x,y1234567,104.5,0.1,0.2,0.5,0.9,12", "abc_1234567,7,0.1,0.2,0.5,0.9,12", "abc_1234567,17"]
    write(root, "ava_kinetics_v1_0/kinetics_train_v1.0.csv", ['"_x,y1234567",' + train[0][12:], *train[1:]])
    write(root, "ava_kinetics_v1_0/kinetics_val_v1.0.csv", ["gone0000000,8,0.1,0.2,0.5,0.9,80", "bare0000000,9"])
    return lay(
        root,
        "k700/_x,y1234567_000100_000110.mkv",
        "k700/abc_1234567_000000_000010.mp4",
        "k700/abc_1234567_000020_000030.mp4",
        "k700/bare0000000.mp4",
    )


def test_clips_of_kinetics_begin_where_their_names_say(tmp_path: Path) -> None:
    dataset = build("ava_kinetics/kinetics", kinetics(tmp_path))
    assert sides(dataset) == (
        ("_x,y1234567@104.5", "abc_1234567@7", "abc_1234567@17"),
        ("gone0000000@8", "bare0000000@9"),
    )
    first = dataset.by_id()["_x,y1234567@104.5"]
    assert (first.truth.times, first.truth.actors[0].track, first.group) == ((4.5,), -1, "_x,y1234567")
    assert dataset.missing_files == {
        "abc_1234567@17": "the keyframe at 17 s is after the file, which ends at 10 s",
        "gone0000000@8": f"no gone0000000_START_END.mp4 below {tmp_path}",
        "bare0000000@9": "k700/bare0000000.mp4 does not say its start; call it bare0000000_START_END.mp4 "
        f"below {tmp_path}",
    }
    assert dataset.official_counts == {"train": 141_457, "test": 32_511}


def test_ava_kinetics_is_both(tmp_path: Path) -> None:
    root = lay(ava(kinetics(tmp_path), below="ava_kinetics_v1_0/"), "ava/one.mp4")
    dataset = build("ava_kinetics", root)
    train, test = sides(dataset)
    assert (train[0], train[-1], test[0], test[-1]) == ("one@0902", "abc_1234567@17", "two@0903", "bare0000000@9")
    assert dataset.official_counts == {"train": 352_091, "test": 89_882}
    assert dataset.by_id()["one@0902"].group == "one"
