"""File endings of videos and images, lower case with the dot, and names that stand for no content: the one list."""

import os
from typing import Literal


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


VIDEO_SUFFIXES = _suffixes(
    "mp4 m4v mov qt f4v 3gp 3g2 mkv webm avi divx amv flv asf wmv wtv rm rmvb ogv ogg ogm mxf nut ivf dav gif apng "
    "ts mts m2ts m2t mpg mpeg mpe vob m1v m2v mpv y4m mjpeg mjpg 264 h264 avc 265 h265 hevc",
)
IMAGE_SUFFIXES = _suffixes("jpg jpeg png bmp webp tif tiff")
FRAME_SUFFIXES = IMAGE_SUFFIXES | {".pgm", ".ppm", ".qoi"}
"""Images in a folder of extracted frames."""
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
STILL_SUFFIXES = MEDIA_SUFFIXES - VIDEO_SUFFIXES | FRAME_SUFFIXES | _suffixes("gif heic heif avif thm")
"""Endings that a thumbnail beside its video can have."""
CLUTTER = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"))
"""Names that systems leave behind, lower case; hidden names are clutter too."""


def suffix(name: str) -> str:
    """The ending of a file name, lower case with the dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()


def kind_of(name: str) -> Literal["video", "image", ""]:
    """What a file is by its ending."""
    ending = suffix(name)
    return "video" if ending in VIDEO_SUFFIXES else "image" if ending in IMAGE_SUFFIXES else ""


def container_of(name: str) -> Literal["tar", "parquet", ""]:
    """What a file that videos may be packed into is by its ending; a compressed archive is one, too."""
    ending = suffix(name)
    archive = ending in (".tar", ".tgz") or name.lower().endswith(".tar.gz")
    return "tar" if archive else "parquet" if ending == ".parquet" else ""


def stem(path: str) -> str:
    """The name of a file without a video ending; other dots are part of the name."""
    name = path.rpartition("/")[2]
    front, dot, ending = name.rpartition(".")
    return front if front and f"{dot}{ending.lower()}" in VIDEO_SUFFIXES else name


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden or left behind by a system."""
    return name.startswith(".") or name.lower() in CLUTTER
