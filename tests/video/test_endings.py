"""Containers by their endings: what FFmpeg reads is found in class folders and has all its frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vitascope.core.media import VIDEO_SUFFIXES, kind_of
from vitascope.datasets.builders.folder import build
from vitascope.video import inspect

FORMATS = {
    "m2ts": ("mpegts", "mpeg2video"),
    "vob": ("vob", "mpeg2video"),
    "asf": ("asf", "mpeg4"),
    "wtv": ("wtv", "mpeg2video"),
    "divx": ("avi", "mpeg4"),
    "qt": ("mov", "mpeg4"),
    "f4v": ("mp4", "mpeg4"),
    "3g2": ("3g2", "mpeg4"),
    "mxf": ("mxf", "mpeg2video"),
    "nut": ("nut", "mpeg4"),
    "rm": ("rm", "rv10"),
    "m2v": ("mpeg2video", "mpeg2video"),
    "m1v": ("mpeg1video", "mpeg1video"),
    "mjpeg": ("mjpeg", "mjpeg"),
    "apng": ("apng", "apng"),
}
FRAMES = 12


@pytest.mark.parametrize("ending", FORMATS)
def test_a_container_is_read_by_its_content(ending: str, tmp_path: Path) -> None:
    container, codec = FORMATS[ending]
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, width=176, height=144)
        stream.pix_fmt = {"mjpeg": "yuvj420p", "apng": "rgb24"}.get(codec, "yuv420p")
        for i in range(FRAMES):
            image = np.full((144, 176, 3), 20 * i, np.uint8)
            image[:, : 10 * i] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode(None))
    assert kind_of(path.name) == "video"
    assert len(inspect(path).times) == FRAMES


def test_files_of_all_video_endings_are_examples(tmp_path: Path) -> None:
    names = [f"{label}/v{i}{ending}" for label in "ab" for i, ending in enumerate(sorted(VIDEO_SUFFIXES))]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dataset = build(str(tmp_path))
    assert {e.id for e in dataset.examples} == set(names)
    assert dataset.notes == ()
