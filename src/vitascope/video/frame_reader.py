"""Frames of a video by number, in ascending order, each decoded once: forward where that is near, else by seeking."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any

import av
import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Video
from vitascope.core.worker_pool import alive
from vitascope.video.image_folder import picture, read_folder
from vitascope.video.packet_index import Index, open_file, open_stream, read_index


def frames(video: Video, wanted: list[int], problems: list[str]) -> Iterator[tuple[int, Any]]:
    """`(i, decoded frame)` for each of `wanted`, which ascends.

    A frame that cannot be decoded is replaced by the nearest earlier one of the same video that can, or else by the
    nearest later; `problems` then says so. Raises ValueError where nothing can be decoded.
    """
    folder = video.kind == "frames"
    count = len(read_folder(video.path).files) if folder else len(read_index(video.path).times)
    if count != len(video.times):
        raise UserError(f"{video.path}: the file has changed since it was inspected; inspect it again")
    source = _Folder(video.path) if folder else _Stream(video.path, read_index(video.path), wanted)
    replaced: list[int] = []
    with closing(source):
        for i in wanted:
            frame = source.frame(i)
            if frame is None:
                replaced.append(i)
                frame = source.near(i)
            if frame is None:
                raise UserError(f"{video.path}: no frame can be decoded")
            yield i, frame
    if replaced:
        problems.append(
            f"frames that cannot be decoded: {len(replaced)}, the first {replaced[0]}; the nearest is shown"
        )
    problems += source.problems


class _Folder:
    """The pictures of a folder."""

    def __init__(self, path: str) -> None:
        self.files = read_folder(path).files
        self.problems: list[str] = []

    def frame(self, i: int) -> Any | None:
        """Picture `i`; None where it cannot be decoded."""
        return picture(self.files[i])

    def near(self, i: int) -> Any | None:
        """The nearest earlier picture that can be decoded, or else the nearest later."""
        order = [*range(i - 1, -1, -1), *range(i + 1, len(self.files))]
        return next((found for k in order if (found := picture(self.files[k]))), None)

    def close(self) -> None:
        """Nothing is held open."""


class _Stream:
    """A video stream being decoded.

    Seeks only to packets that the index names, feeds the decoder from exactly that packet, and believes the jump only
    if the first frame that comes out is that key frame. At a surprise it begins again from the start of the file,
    where nothing is assumed. On the way to a frame of H.264, pictures that no other refers to are not decoded.
    """

    def __init__(self, path: str, index: Index, wanted: list[int]) -> None:
        self.path, self.index = path, index
        self.trusting = not index.counted
        self.needed = frozenset(index.places[wanted].tolist()) if self.trusting else frozenset()
        self._begin()

    def _begin(self) -> None:
        """Decode from the start of the file."""
        self.container = open_file(self.path)
        self.stream = open_stream(self.container, self.index.stream)
        self.skipping = self.trusting and self.stream.codec_context.name == "h264"
        self.packets: Iterator[Any] = self.container.demux(self.stream)
        self.place = 0
        """Number of the next packet."""
        self.count = 0
        """Frames that have come out."""
        self.damaged = 0
        """Packets that were refused."""
        self.concealed = 0
        """Frames that the decoder says are damaged."""
        self.expected: int | None = None
        """Time stamp of the key frame that must come out first."""
        self.ready: deque[tuple[int, Any]] = deque()
        self.last: Any | None = None

    def frame(self, i: int) -> Any | None:
        """Frame `i`, later than any asked for before; None where it does not come out."""
        if self.trusting and not self._approach(i):
            self._start_over()
        found = self._forward(i)
        if found is None and self.trusting:
            self._start_over()
            found = self._forward(i)
        return found

    def near(self, i: int) -> Any | None:
        """After `frame(i)` has failed: the nearest earlier frame, or else the nearest later."""
        return self.last or (self.ready[0][1] if self.ready else None)

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()

    @property
    def problems(self) -> list[str]:
        """What was wrong on the way, in words."""
        counts = {"packets that cannot be decoded": self.damaged, "frames with damage": self.concealed}
        return [f"{what}: {n}" for what, n in counts.items() if n]

    def _start_over(self) -> None:
        self.trusting = False
        self.container.close()
        self._begin()

    def _approach(self, i: int) -> bool:
        """Jump if there is a key frame between here and frame `i`; False if that went wrong."""
        key = self.index.key(i)
        if key < 0 or self.index.keys[key] <= self.place:
            return True
        place = int(self.index.keys[key])
        stamp = int(self.index.packets[place])
        try:
            self.container.seek(int(self.index.seeks[key]), stream=self.stream)
            packets = self.container.demux(self.stream)
            landed = next(packets)
            if landed.pts not in self.index.packets[: place + 1]:
                return False
            packets = chain([landed], packets)
            first = next((p for p in packets if p.size and p.pts == stamp), None)
        except (av.FFmpegError, StopIteration):
            return False
        self.packets, self.place = chain([first], packets), place
        self.expected = stamp if stamp in self.index.shown else None
        self.ready.clear()
        self.last = None
        return first is not None

    def _forward(self, i: int) -> Any | None:
        """Decode on to frame `i`."""
        while True:
            while self.ready and self.ready[0][0] <= i:
                number, self.last = self.ready.popleft()
                if number == i:
                    return self.last
            if self.ready or not self._feed():
                return None

    def _feed(self) -> bool:
        """Decode one packet more; False at the end, or where trust turns out to be misplaced."""
        alive()
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
            return True  # "the frame before once more": shown by its time, nothing to decode
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            self.damaged += 1
            return not self.trusting  # how damage is hidden depends on all that was decoded before: leave nothing out
        return all(self._take(frame) for frame in decoded)

    def _take(self, frame: Any) -> bool:
        """Number a frame that came out; False where trust turns out to be misplaced."""
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
        number = int(np.searchsorted(self.index.shown, frame.pts))
        if number < len(self.index.shown) and self.index.shown[number] == frame.pts:
            self.ready.append((number, frame))
        return True
