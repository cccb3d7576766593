"""File extensions of videos and images, lower case with the dot."""

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "mp4 m4v mov mkv webm avi flv wmv ts mts mpg mpeg 3gp ogv y4m 264 h264 265 h265 gif".split()
)
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in "jpg jpeg png bmp webp tif tiff".split())
FRAME_SUFFIXES = IMAGE_SUFFIXES | {".pgm", ".ppm", ".qoi"}
"""Images in a folder of extracted frames."""
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
