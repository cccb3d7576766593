"""File extensions of videos and images, lower case with the dot."""


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


VIDEO_SUFFIXES = _suffixes(
    "mp4 m4v mov mkv webm avi flv wmv ts mts mpg mpeg 3gp ogv y4m 264 h264 265 h265 gif",
)
IMAGE_SUFFIXES = _suffixes("jpg jpeg png bmp webp tif tiff")
FRAME_SUFFIXES = IMAGE_SUFFIXES | {".pgm", ".ppm", ".qoi"}
"""Images in a folder of extracted frames."""
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
