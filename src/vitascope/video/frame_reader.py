"""Read frames of a video by index, in ascending order, decoding forward or seeking, whichever is shorter."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any, TypeAlias

import av
import numpy as np

from vitascope.core.content import local_copy
from vitascope.core.errors import UserError
from vitascope.core.types import Video
from vitascope.core.worker_process import report_alive
from vitascope.video.animation import Animation, is_animation
from vitascope.video.container import open_file, open_stream, read_packets
from vitascope.video.image_folder import picture, read_folder
from vitascope.video.packet_index import Index, read_index
from vitascope.video.segment_folder import SegmentFolder, read_segments

SILENT = frozenset({"ffv1", "libvpx", "vp8"})
"""Decoders that go on from damage without a word, with what they had before."""
UNDECODABLE = "undecodable frames"
"""First words of the warning about replaced frames, by which callers recognize it."""


class DisturbedError(Exception):
    """A file is damaged, or not what its index says: its frames may depend on where decoding began."""


def frames(video: Video, wanted: list[int], problems: list[str]) -> Iterator[tuple[int, Any]]:
    """Yield `(i, decoded frame)` for each index in `wanted` (ascending).

    A frame that cannot be decoded is replaced by the nearest earlier frame of the video, or else the nearest later one,
    and reported in `problems`. Raises UserError if nothing can be decoded.
    """
    replaced: list[int] = []
    with _opened(video, wanted) as source:
        for i in wanted:
            frame = source.frame(i)
            if frame is None:
                replaced.append(i)
                frame = source.near(i)
            if frame is None:
                raise UserError(f"{video.path}: no frame can be decoded")
            yield i, frame
    if replaced:
        problems.append(f"{UNDECODABLE}: {len(replaced)}, the first is {replaced[0]}; replaced by the nearest frame")
    problems += source.problems


def undisturbed_frames(video: Video, wanted: list[int]) -> Generator[tuple[int, Any], None, None]:
    """Yield frames as `frames` does, as long as nothing has to be replaced, concealed or read anew: DisturbedError.

    A frame that comes is the same wherever decoding began, so it may be shared by clips that begin elsewhere. The
    decoder is strict: what it would conceal is flagged only in the frame itself, which others refer to before.
    """
    with _opened(video, wanted, strict=True) as source:
        for i in wanted:
            frame = source.frame(i)
            if frame is None or source.problems or not source.steady:
                raise DisturbedError
            yield i, frame


@contextmanager
def _opened(video: Video, wanted: list[int], *, strict: bool = False) -> Iterator[_Source]:
    """Open what reads the frames of a video, from a local copy if it is at an address."""
    with local_copy(video.path) as local:
        source = _source(video if local == video.path else replace(video, path=local), wanted, strict=strict)
        with closing(source):
            yield source


def _source(video: Video, wanted: list[int], *, strict: bool = False) -> _Source:
    """What reads the frames of a video, if it still has as many as when it was inspected."""
    if _count(video) != len(video.times):
        raise UserError(f"{video.path}: the file has changed since it was inspected; call inspect again")
    if video.kind == "frames":
        return _Folder(video.path)
    if video.kind == "segments":
        return _Segments(read_segments(video.path), wanted, strict=strict)
    return _file(video.path, wanted, strict=strict)


def _count(video: Video) -> int:
    """The number of frames that the video has now."""
    if video.kind == "frames":
        return len(read_folder(video.path).files)
    return len((read_segments if video.kind == "segments" else read_index)(video.path).times)


def _file(path: str, wanted: list[int], *, strict: bool) -> Animation | _Stream:
    """What reads the frames of a file."""
    index = read_index(path)
    if is_animation(path):
        return Animation(path, len(index.times))
    return _Stream(path, index, wanted, strict=strict)


class _Folder:
    """Frames of a folder of images."""

    steady = True

    def __init__(self, path: str) -> None:
        self.files = read_folder(path).files
        self.problems: list[str] = []

    def frame(self, i: int) -> Any | None:
        """Image `i`, or None if it cannot be decoded."""
        return picture(self.files[i])

    def near(self, i: int) -> Any | None:
        """The nearest earlier image that can be decoded, or else the nearest later one."""
        order = [*range(i - 1, -1, -1), *range(i + 1, len(self.files))]
        return next((frame for k in order if (frame := picture(self.files[k]))), None)

    def close(self) -> None:
        """Do nothing: no file stays open."""


class _Segments:
    """Frames of a folder of files that follow each other, one of which is open at a time."""

    def __init__(self, folder: SegmentFolder, wanted: list[int], *, strict: bool) -> None:
        self.folder, self.wanted, self.strict = folder, wanted, strict
        self.place = -1
        """Index of the open file."""
        self.inner: Animation | _Stream | None = None
        self.past: list[str] = []
        """Problems of the files before."""
        self.passed_steadily = True
        self.last: Any | None = None

    def frame(self, i: int) -> Any | None:
        """Frame `i`, which must be later than all previous ones; None if it cannot be decoded."""
        place = bisect_right(self.folder.firsts, i) - 1
        if place != self.place:
            self._open(place)
        frame = self.inner.frame(i - self.folder.firsts[place]) if self.inner else None
        self.last = frame or self.last
        return frame

    def near(self, i: int) -> Any | None:
        """The nearest earlier frame that was read, or else the nearest later one."""
        inner = self.inner.near(i - self.folder.firsts[self.place]) if self.inner else None
        later = range(self.place + 1, len(self.folder.paths))
        return inner or self.last or next((frame for k in later if (frame := self._first(k))), None)

    @property
    def steady(self) -> bool:
        """Whether frames are the same wherever decoding began."""
        return self.passed_steadily and (self.inner is None or self.inner.steady)

    @property
    def problems(self) -> list[str]:
        """Problems during decoding, one line each."""
        return [*self.past, *(self.inner.problems if self.inner else ())]

    def close(self) -> None:
        """Close the open file."""
        if self.inner:
            self.past, self.passed_steadily = self.problems, self.steady
            self.inner.close()
        self.inner = None

    def _open(self, place: int) -> None:
        self.close()
        self.place = place
        first, end = self.folder.firsts[place], [*self.folder.firsts, len(self.folder.times)][place + 1]
        self.inner = _file(
            self.folder.paths[place], [i - first for i in self.wanted if first <= i < end], strict=self.strict
        )

    def _first(self, place: int) -> Any | None:
        """The first frame of a file."""
        with closing(_file(self.folder.paths[place], [0], strict=False)) as source:
            return source.frame(0) or source.near(0)


class _Stream:
    """Frames of a video stream.

    Seeks only to packets in the index, feeds the decoder from exactly that packet, and accepts the seek only if the
    first decoded frame is that key frame. After any mismatch it decodes again from the start of the file without
    assumptions. Non-reference frames of H.264 that are not requested are skipped.
    """

    def __init__(self, path: str, index: Index, wanted: list[int], *, strict: bool = False) -> None:
        self.path, self.index, self.strict = path, index, strict
        self.trusting = not index.counted
        self.steady = True
        """Whether frames are the same wherever decoding began: until the index turns out to be wrong."""
        self.needed = frozenset(index.places[wanted].tolist()) if self.trusting else frozenset()
        self._begin()

    def _begin(self) -> None:
        """Start decoding at the start of the file."""
        self.container = open_file(self.path)
        self.stream = open_stream(self.container, self.index.stream, strict=self.strict)
        codec = self.stream.codec_context.name
        self.skipping = self.trusting and codec == "h264"
        self.steady &= codec not in SILENT
        self.packets: Iterator[Any] = read_packets(self.container, self.stream)
        self.place = 0
        """Index of the next packet."""
        self.count = 0
        """Number of decoded frames."""
        self.damaged = 0
        """Number of packets the decoder rejected."""
        self.concealed = 0
        """Number of frames the decoder reports as damaged."""
        self.expected: int | None = None
        """Time stamp of the key frame that must be decoded first, ticks."""
        self.ready: deque[tuple[int, Any]] = deque()
        self.last: Any | None = None

    def frame(self, i: int) -> Any | None:
        """Frame `i`, which must be later than all previous ones; None if it cannot be decoded."""
        if self.trusting and not self._approach(i):
            self._start_over()
        frame = self._forward(i)
        if frame is None and self.trusting:
            self._start_over()
            frame = self._forward(i)
        return frame

    def near(self, i: int) -> Any | None:
        """The nearest earlier frame, or else the nearest later one, after `frame(i)` returned None."""
        return self.last or (self.ready[0][1] if self.ready else None)

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    @property
    def problems(self) -> list[str]:
        """Problems during decoding, one line each."""
        counts = {"undecodable packets": self.damaged, "damaged frames": self.concealed}
        return [f"{what}: {n}" for what, n in counts.items() if n]

    def _start_over(self) -> None:
        self.trusting = self.steady = False
        self.container.close()
        self._begin()

    def _approach(self, i: int) -> bool:
        """Seek if there is a key frame between the current position and frame `i`; False if that failed."""
        key = self.index.key(i)
        if key < 0 or self.index.keys[key] <= self.place:
            return True
        place = int(self.index.keys[key])
        stamp = int(self.index.packet_stamps[place])
        try:
            self.container.seek(int(self.index.seeks[key]), stream=self.stream)
            packets = read_packets(self.container, self.stream)
            landed = next(packets)
            if landed.pts not in self.index.packet_stamps[: place + 1]:
                return False
            packets = chain([landed], packets)
            first = next((p for p in packets if p.size and p.pts == stamp), None)
        except (av.FFmpegError, StopIteration):
            return False
        self.packets, self.place = chain([first], packets), place
        self.expected = stamp if stamp in self.index.frame_stamps else None
        self.ready.clear()
        self.last = None
        return first is not None

    def _forward(self, i: int) -> Any | None:
        """Decode up to frame `i`."""
        while True:
            while self.ready and self.ready[0][0] <= i:
                number, self.last = self.ready.popleft()
                if number == i:
                    return self.last
            if self.ready or not self._feed():
                return None

    def _feed(self) -> bool:
        """Decode one more packet; False at the end of the file or if the index turns out to be wrong."""
        report_alive()
        try:
            packet = next(self.packets, None)
        except av.FFmpegError:
            self.damaged += 1
            packet = None
        if packet is None:
            return False
        if self.skipping:
            self.stream.codec_context.skip_frame = "DEFAULT" if self.place in self.needed else "NONREF"
        self.place += packet.size > 0
        if not packet.size and packet.dts is not None:
            return True  # an empty packet repeats the previous frame: nothing to decode
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            self.damaged += 1
            return not self.trusting  # error concealment depends on all previous packets: skip none of them
        return all(self._take(frame) for frame in decoded)

    def _take(self, frame: Any) -> bool:
        """Assign an index to a decoded frame; False if the index of the file turns out to be wrong."""
        self.concealed += frame.is_corrupt
        if frame.is_corrupt and self.trusting:
            return False
        if self.index.counted:
            self.ready.append((self.count, frame))
            self.count += 1
            return True
        if frame.pts is None:
            return True
        if self.expected is not None and frame.pts >= self.expected:
            if frame.pts != self.expected or not frame.key_frame:
                return False
            self.expected = None
        number = int(np.searchsorted(self.index.frame_stamps, frame.pts))
        if number < len(self.index.frame_stamps) and self.index.frame_stamps[number] == frame.pts:
            self.ready.append((number, frame))
        return True


_Source: TypeAlias = _Folder | _Segments | Animation | _Stream
