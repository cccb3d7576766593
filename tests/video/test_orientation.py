"""All eight orientations of pictures, against flips and quarter turns by hand and FFmpeg's rules."""

import os
import struct
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from helpers import FIXTURES, write_video
from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.types import Clip, Crop
from vitascope.video import decode, inspect, torchcodec_backend

ALL = Crop(box=(0.0, 0.0, 1.0, 1.0))
ONE = 65536
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""Matrices (a, b, c, d) that show the stored point (p, q) at (a p + c q, b p + d q), by EXIF orientation."""


def stored() -> np.ndarray:
    """A wide picture with a different color in every corner."""
    picture = np.full((48, 80, 3), 128, np.uint8)
    picture[:24, :40], picture[:24, 40:], picture[24:, :40] = (220, 40, 40), (40, 200, 40), (40, 40, 220)
    return picture


def upright(orientation: int) -> np.ndarray:
    """The stored picture as it must be shown, moved point by point."""
    a, b, c, d = MATRICES[orientation]
    picture = stored()
    height, width = picture.shape[:2]
    shown = np.zeros((width, height, 3) if b else (height, width, 3), np.uint8)
    for q in range(height):
        for p in range(width):
            x, y = a * p + c * q - (a + c < 0), b * p + d * q - (b + d < 0)  # -1 is the last column or row
            shown[y, x] = picture[q, p]
    return shown


def video_with(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """An MP4 file of the stored picture whose track header has this display matrix."""
    data = bytearray(write_video(path, np.stack([stored()] * 5)).read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(v * ONE) for v in matrix)
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def shown(path: Path, **options: object) -> np.ndarray:
    """The whole first frame as a square."""
    ((_, pixels),) = decode(inspect(path), [Clip((0.0,), (0.0, 0.0), ALL)], 48, **options)
    return pixels[0].astype(float)


def close(actual: np.ndarray, orientation: int) -> bool:
    expected = np.asarray(Image.fromarray(upright(orientation)).resize((48, 48), Image.Resampling.BILINEAR))
    return bool(np.abs(actual - expected).mean() < 4)


@pytest.mark.parametrize("orientation", MATRICES)
def test_display_matrices(tmp_path: Path, orientation: int) -> None:
    path = video_with(tmp_path / "a.mp4", MATRICES[orientation])
    video = inspect(path)
    assert (video.height, video.width) == upright(orientation).shape[:2]
    assert video.mirrored == (orientation in (2, 4, 5, 7))
    assert video.warnings == ()
    assert [o for o in MATRICES if close(shown(path), o)] == [orientation]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", MATRICES)
def test_exif(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(stored()).save(path, exif=exif, **({"quality": 95} if ending in ("jpg", "webp") else {}))
    with Image.open(path) as image:  # Pillow agrees with the reference
        assert np.abs(np.asarray(ImageOps.exif_transpose(image)).astype(float) - upright(orientation)).mean() < 4
    assert [o for o in MATRICES if close(shown(path), o)] == [orientation]
    folder = tmp_path / "frames"
    folder.mkdir()
    os.rename(path, folder / f"1.{ending}")
    video = inspect(folder)
    assert (video.height, video.width) == upright(orientation).shape[:2]
    assert close(shown(folder), orientation)


def test_a_mirrored_file_stands_upright() -> None:
    """The stored picture has the code of frame 1 at the bottom right; mirrored it is at the bottom left."""
    video = inspect(FIXTURES / "video" / "hflip.mp4")
    assert (video.rotation, video.mirrored) == (0, True)
    with av.open(str(FIXTURES / "video" / "hflip.mp4")) as file:
        first = next(file.decode(video=0)).to_ndarray(format="rgb24")
    ((_, pixels),) = decode(video, [Clip((0.0,), (0.0, 0.0), ALL)], 64)
    expected = np.asarray(Image.fromarray(first[:, ::-1].copy()).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(pixels[0].astype(float) - expected).mean() < 2


def test_images_of_a_folder_are_turned_one_by_one(tmp_path: Path) -> None:
    for orientation in (1, 3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored()).save(tmp_path / f"{orientation}.png", exif=exif)
    video = inspect(tmp_path, fps=1)
    ((_, pixels),) = decode(video, [Clip(video.times, (0.0, 1.0), ALL)], 48)
    assert [o for p in pixels for o in MATRICES if close(p.astype(float), o)] == [1, 3, 6, 8]


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (0, 0, 0, 0), (1, 0, 2, 0)])
def test_a_matrix_that_is_no_quarter_turn_is_reported(
    tmp_path: Path, matrix: tuple[float, float, float, float]
) -> None:
    path = video_with(tmp_path / "a.mp4", matrix)
    assert "ignoring the display matrix [" in inspect(path).warnings[0]
    assert close(shown(path), 1)


def test_a_matrix_that_also_scales_turns_all_the_same(tmp_path: Path) -> None:
    path = video_with(tmp_path / "a.mp4", (0, 2, -0.5, 0))
    assert inspect(path).warnings == ()
    assert close(shown(path), 6)


@pytest.mark.parametrize("orientation", MATRICES)
def test_torchcodec_rotates_and_is_turned_over(
    tmp_path: Path, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that rotates by FFmpeg's angle, that of the first column of the matrix, as TorchCodec does."""
    a, b, _, _ = MATRICES[orientation]
    turns = {(1, 0): 0, (0, 1): -1, (-1, 0): 2, (0, -1): 1}[a, b]
    picture = np.ascontiguousarray(np.rot90(stored(), turns))
    frame = SimpleNamespace(data=torch.from_numpy(picture), pts_seconds=0.0)
    metadata = SimpleNamespace(num_frames=5, begin_stream_seconds_from_content=0.0)
    decoder = SimpleNamespace(metadata=metadata, get_frame_at=lambda i: frame)
    stand_in = SimpleNamespace(VideoDecoder=lambda *a, **k: decoder)
    monkeypatch.setattr(torchcodec_backend, "import_module", lambda name: stand_in)
    path = video_with(tmp_path / "a.mp4", MATRICES[orientation])
    picture = shown(path, transform=PixelTransform(decoder="torchcodec"))
    assert [o for o in MATRICES if close(picture, o)] == [orientation]
