"""Which images of a folder are the frames: one series, beside flow, masks, depth and thumbnails."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitascope.core.errors import UserError
from vitascope.video import inspect
from vitascope.video.frame_series import choose_frames


def numbered(pattern: str, count: int = 12, first: int = 1) -> list[str]:
    return [pattern.replace("#", f"{i:05d}") for i in range(first, first + count)]


FRAMES = numbered("img_#.jpg")
IGNORED = {
    "flow": numbered("flow_x_#.jpg") + numbered("flow_y_#.jpg"),
    "components": numbered("x_#.jpg") + numbered("y_#.jpg"),
    "endings": numbered("img_#_x.jpg") + numbered("img_#_y.jpg"),
    "masks": numbered("mask_#.png", 7),
    "masks behind": numbered("img_#_mask.png"),
    "depth": numbered("depth_#.png"),
    "one thumbnail": ["thumbnail.jpg"],
    "thumbnails": numbered("thumb_#.jpg", 3),
    "a title without number": ["first.jpg", "zlast.png"],
    "capitals": numbered("IMG_#_Mask.JPG"),
    "all": [*numbered("flow_x_#.jpg"), *numbered("segmentation_#.png"), "cover.jpg"],
}


@pytest.mark.parametrize("kind", IGNORED)
def test_other_images_are_ignored_by_name(kind: str) -> None:
    names, warning = choose_frames("f", [*IGNORED[kind], *FRAMES])
    assert names == FRAMES
    assert warning.startswith("ignoring images that are no frames: ")
    several = len(IGNORED[kind]) > 2
    assert all(name in warning for name in IGNORED[kind]) or several
    assert "#" in warning or not several


ONE = {
    "numbers": numbered("#.jpg"),
    "flow alone": numbered("flow_x_#.jpg"),
    "masks alone": numbered("img_#_mask.png"),
    "two numbers": [f"frame_{i}_of_12.jpg" for i in range(1, 13)],
    "seconds": [f"14036365{79 + i // 5}.{i * 19753 % 99991:05d}.png" for i in range(20)],
    "names": ["a.png", "b.png", "c.JPG"],
    "endings that go on": [*numbered("#.jpg", 5), *numbered("#.png", 4, 6)],
    "capitals": ["IMG_1.jpg", "img_2.jpg", "Img_3.JPG"],
    "one": ["mask.png"],
    "days": ["mon1.png", "tue2.png", "wed3.png", "thu4.png"],
}


@pytest.mark.parametrize("kind", ONE)
def test_one_series_is_taken_whole(kind: str) -> None:
    names, warning = choose_frames("f", ONE[kind])
    assert sorted(names) == sorted(ONE[kind])
    assert warning == ""


SEVERAL = {
    "two flows": (numbered("flow_x_#.jpg") + numbered("flow_y_#.jpg"), ["12 x flow_x_#.jpg", "12 x flow_y_#.jpg"]),
    "two eyes": (numbered("left_#.jpg") + numbered("right_#.jpg", 9), ["12 x left_#.jpg", "9 x right_#.jpg"]),
    "two cameras": (
        numbered("cam1_#.jpg") + numbered("cam2_#.jpg") + numbered("cam3_#.jpg"),
        ["12 x cam1_#.jpg", "12 x cam2_#.jpg", "12 x cam3_#.jpg"],
    ),
    "two endings": (numbered("#.jpg") + numbered("#.png"), ["12 x #.jpg", "12 x #.png"]),
    "eyes and masks": (numbered("left_#.jpg") + numbered("right_#.jpg") + numbered("mask_#.png"), ["left_#", "mask_#"]),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_series_are_refused_by_name_and_number(kind: str) -> None:
    names, patterns = SEVERAL[kind]
    with pytest.raises(UserError, match=r"^f: images of several kinds: ") as caught:
        choose_frames("f", names)
    for pattern in patterns:
        assert pattern in str(caught.value)


def test_a_folder_as_denseflow_writes_it(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((64, 96, 3), 90, np.uint8))
    picture.save(tmp_path / "a.jpg")
    for name in [*FRAMES, *IGNORED["flow"]]:
        shutil.copy(tmp_path / "a.jpg", tmp_path / name)
    (tmp_path / "a.jpg").unlink()
    video = inspect(tmp_path)
    assert (len(video.times), video.duration) == (12, pytest.approx(0.4))
    assert video.warnings == ("ignoring images that are no frames: 12 x flow_x_#.jpg, 12 x flow_y_#.jpg",)
