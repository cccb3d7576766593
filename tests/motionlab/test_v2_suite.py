"""The second version's suites on disk, photos, and the same frames on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitascope.datasets.builders import motionlab2
from vitascope.motionlab import suite as first
from vitascope.motionlab.scene import APPEARANCES
from vitascope.motionlab.v2 import suite
from vitascope.motionlab.v2.levels import LEVELS
from vitascope.motionlab.v2.photos import SHORT, Photos, read_photos, sample_folder
from vitascope.motionlab.v2.render import render
from vitascope.motionlab.v2.scene import MOTIONS, sample

FEW = first.Size(2, 1)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motionlab2, "SIZES", {"": FEW, "tiny": FEW})


def photo_folder(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    for name, size in (("b.png", (40, 60)), ("a.PNG", (300, 200))):
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name, "PNG")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_frames_are_the_same_on_every_machine() -> None:
    """Means of quarters of the first, a middle and the last frame, of one clip a level and one on photos."""
    photos = Photos((np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3),), "")
    means = []
    for number, level in enumerate((*LEVELS, "hard")):
        scene = sample(APPEARANCES[number * 5], MOTIONS[number * 4 + 3], LEVELS[level], np.random.default_rng(number))
        frames = render(scene, 5, side=56, fps=2.5, photos=photos if number == 3 else None)[::2]
        means.append(frames.reshape(3, 2, 28, 2, 28, 3).mean((2, 4, 5)))
    np.testing.assert_allclose(np.array(means).reshape(4, -1), STORED, atol=0.05)


STORED = [
    [142.4, 111.09, 103.61, 120.07, 140.88, 106.73, 105.91, 120.07, 138.78, 106.73, 105.91, 120.07],
    [110.25, 107.49, 114.69, 101.84, 124.0, 101.08, 110.01, 99.38, 122.45, 102.36, 116.34, 89.86],
    [113.76, 119.78, 99.87, 106.87, 111.68, 114.93, 102.92, 108.84, 113.83, 116.13, 102.83, 108.19],
    [104.64, 123.52, 117.94, 133.77, 106.96, 134.71, 118.37, 136.71, 108.58, 133.91, 111.24, 127.69],
]


def test_same_bytes_again_and_other_levels_have_the_same_labels(tmp_path: Path) -> None:
    choice = suite.Choice("medium")
    for name in "ab":
        suite.make(tmp_path / name, choice, FEW, quiet=True)
    one, same = ({p.name + p.parent.name: p.read_bytes() for p in (tmp_path / n).glob("t*/*")} for n in "ab")
    assert len(one) == 6
    assert one == same
    shot = suite.shots(FEW)[0]
    easy, hard = (suite.scene(shot, level) for level in ("easy", "hard"))
    assert (easy.shape, easy.motion, easy.state) == (hard.shape, hard.motion, hard.state)


def test_splits_and_versions_share_no_scene() -> None:
    states = [suite.scene(shot, "easy").state for shot in suite.shots(first.Size(50, 50))]
    assert len(set(states)) == 100
    assert {s[0] for s in states}.isdisjoint(first.scene(shot).state[0] for shot in first.shots(first.Size(50, 50)))


def test_datasets_share_clips_and_split(tmp_path: Path, few: None) -> None:
    looks, moves, stills = (
        motionlab2.build(f"{n}-easy", tmp_path, quiet=True) for n in ("appearance", "motion", "still")
    )
    assert (looks.classes, moves.classes, stills.classes) == (APPEARANCES, MOTIONS, APPEARANCES)
    assert (looks.axis, moves.axis, stills.axis) == ("appearance", "motion", "appearance")
    assert [e.path for e in looks.examples] == [e.path for e in moves.examples]
    assert looks.key == moves.key != stills.key
    assert looks.folds == moves.folds == stills.folds
    assert looks.examples[0].path == str(tmp_path / "motionlab2-1/easy/seed-0/train/000000.mp4")
    assert set(moves.structure.families) == {"translation", "orbit", "turning", "depth", "gap", "gait", "still"}
    assert {len(members) for members in moves.structure.families.values()} == {8, 2, 1}
    assert (len(moves.structure.pairs), looks.structure.alike) == (9, ())
    assert moves.family == "motionlab2"


def test_photos_of_a_folder(tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    folder = photo_folder(tmp_path / "photos")
    photos = read_photos(folder)
    assert [p.shape for p in photos.pictures] == [(288, SHORT, 3), (SHORT, 288, 3)]
    data = motionlab2.build("motion-photos", folder, quiet=True)
    assert Path(data.examples[0].path).parents[2].name == f"photos-{photos.digest}"
    other = motionlab2.build("motion-photos", photo_folder(tmp_path / "others", 1), quiet=True)
    assert other.key != data.key
    assert other.digest != data.digest
    assert {p.name for p in folder.iterdir()} == {"a.PNG", "b.png", "notes.txt"}


def test_photos_that_come_along() -> None:
    photos = read_photos(sample_folder())
    assert len(photos.pictures) == 2
    square = photos.part((0.99, 0.99, 0.99, 0.99), 120)
    assert square.shape == (120, 120, 3)
    assert 0 <= square.min() < square.max() <= 1


def test_photos_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder; give a folder of photos"):
        read_photos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no photos in it; give a folder of"):
        read_photos(tmp_path)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    with pytest.raises(ValueError, match=r"torn\.jpg: cannot be decoded as an image"):
        motionlab2.build("motion-photos", tmp_path)


@pytest.mark.parametrize("name", ["motion", "motion-hrad", "easy", "motion-easy-tiny-tiny"])
def test_an_unknown_suite_is_refused_with_the_nearest(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no dataset 'motionlab2/{name}'; did you mean 'motionlab2/motion-|see `"):
        motionlab2.build(name, tmp_path)
    assert not list(tmp_path.iterdir())
