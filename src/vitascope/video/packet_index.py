"""Index of a video file from its packets: frame times and the positions where decoding can start."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from vitascope.core.errors import UserError
from vitascope.core.worker_process import report_alive
from vitascope.video.animation import is_animation, read_animation
from vitascope.video.claims import truncation
from vitascope.video.container import open_file, open_stream, read_packets, require_file, video_streams
from vitascope.video.doubts import NOTHING, Promise, promise, still_doubts, unkept
from vitascope.video.orientation import STORED, Orientation, oriented, strange_matrix
from vitascope.video.time_stamps import LEAP, LONGEST_LEAP, UNKNOWN, Clock, timeline

Ticks = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """Frame times and seek positions of one video stream."""

    stream: int
    """Index of the video stream in the file."""
    times: tuple[float, ...]
    """Presentation times from the first displayed frame, seconds, ascending."""
    duration: float
    """Duration, seconds."""
    size: tuple[int, int]
    """Width and height as displayed, pixels."""
    orientation: Orientation
    """How the first frame is turned for display."""
    still: bool
    """True for a still image."""
    untimed: bool
    """True if there are no time stamps and `times` are estimated."""
    warnings: tuple[str, ...]
    counted: bool
    """True if frames must be identified by counting decoder output, because time stamps are unreliable; no seeking."""
    frame_stamps: Ticks
    """Time stamps of the displayed frames, ticks, ascending."""
    places: Ticks
    """Index of the packet of each displayed frame."""
    packet_stamps: Ticks
    """Time stamps of all packets, ticks, in file order."""
    keys: Ticks
    """Indices of the key frame packets, ascending."""
    seeks: Ticks
    """Time stamp to seek to for each of `keys`, ticks."""

    def key(self, frame: int) -> int:
        """Position in `keys` of the last key frame from which `frame` can be decoded, or -1."""
        key = int(np.searchsorted(self.keys, self.places[frame], side="right")) - 1
        while key >= 0 and self.packet_stamps[self.keys[key]] > self.frame_stamps[frame]:
            key -= 1  # a frame displayed before its key frame needs the previous key frame
        return key


def read_index(path: str) -> Index:
    """The index of the video file at `path`, cached until the file changes."""
    require_file(path)
    status = os.stat(path)
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(path: str, *_version: int) -> Index:
    if is_animation(path):
        return _animated(path)
    with open_file(path) as container:
        candidates = video_streams(path, container)
    for number in candidates:
        packets = _scan(path, number)
        if any(packets.displayed):
            return _index(path, number, packets)
    raise UserError(f"{path}: the video stream has no frames")


@dataclass
class _Packets:
    """Packet metadata of a stream in file order, and its first decoded frame."""

    stamps: list[int | None] = field(default_factory=list)
    decode: list[int | None] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    displayed: list[bool] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    damaged: int = 0
    first: Any = None
    clock: Clock = UNKNOWN
    promise: Promise = NOTHING
    late: bool = False
    """True if the container stores only the decoding order and the decoder reorders: AVI with B-frames."""
    still: bool = False

    def add(self, packet: Any, codec: str) -> None:
        """Record one packet."""
        if packet.is_keyframe:
            self.keys.append(len(self.stamps))
        self.stamps.append(packet.pts)
        self.decode.append(packet.dts)
        self.lengths.append(packet.duration or 0)
        self.displayed.append(not packet.is_discard and not _hidden(packet, codec))
        self.damaged += packet.is_corrupt

    @property
    def counted(self) -> bool:
        """True if time stamps are missing, duplicated or decreasing."""
        order = [d for d in self.decode if d is not None]
        return None in self.stamps or len(set(self.stamps)) < len(self.stamps) or order != sorted(order)


def _scan(path: str, number: int) -> _Packets:
    """Read all packets of a stream and decode the first frame."""
    packets = _Packets()
    with open_file(path) as container:
        stream = open_stream(container, number)
        codec = stream.codec_context.name
        leap = LEAP.get(container.format.name, LONGEST_LEAP)
        packets.clock = Clock(float(stream.time_base or 0), float(stream.average_rate or 0), leap)
        packets.promise = promise(path, container, stream)
        packets.late = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        packets.still = container.format.name.endswith("_pipe") or container.format.name in ("gif", "image2")
        try:
            for packet in read_packets(container, stream):
                report_alive()
                if packet.size:
                    packets.add(packet, codec)
                if packets.first is None and (packet.size or packet.dts is None):
                    packets.first = next(iter(_decoded(packet)), None)
        except av.FFmpegError:
            packets.damaged += 1
    return packets


def _decoded(packet: Any) -> list[Any]:
    """The frames decoded from a packet; empty on error, which `frame_reader` reports."""
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []


def _hidden(packet: Any, codec: str) -> bool:
    """True if a VP8 or VP9 packet holds only a hidden reference frame (RFC 6386 9.1; VP9 6.2, annex B)."""
    if codec not in ("vp8", "vp9", "libvpx", "libvpx-vp9"):
        return False
    data = memoryview(packet)
    if "vp8" in codec or codec == "libvpx":
        return not data[0] & 0x10
    last = data[-1]
    index = 2 + (1 + (last >> 3 & 3)) * (1 + (last & 7))
    if last & 0xE0 == 0xC0 and len(data) >= index and data[-index] == last:
        return False  # a superframe: hidden frames and the displayed one
    three = data[0] & 0x30 == 0x30  # profile 3 has one more bit before the two relevant ones
    return not data[0] & (0x05 if three else 0x0A)


def _index(path: str, number: int, packets: _Packets) -> Index:
    """The index of a stream from its packets."""
    if packets.first is None:
        raise UserError(f"{path}: no frame can be decoded")
    if packets.counted:
        times = timeline(_count(path, number, packets), 0, packets.clock)
        stamps = frame_stamps = places = np.arange(0)
    else:
        stamps = np.asarray(packets.stamps, np.int64)
        places = np.flatnonzero(packets.displayed)
        places = places[np.argsort(stamps[places], kind="stable")]
        frame_stamps = stamps[places]
        times = timeline(frame_stamps.tolist(), packets.lengths[places[-1]], packets.clock)
    still = packets.still and len(times.seconds) == 1
    first = float(frame_stamps[0]) * packets.clock.tick if len(frame_stamps) else 0.0
    keys = np.asarray(packets.keys, np.int64)
    return Index(
        stream=number,
        times=tuple(times.seconds),
        duration=0.0 if still else times.duration,
        size=displayed_size(packets.first),
        orientation=oriented(packets.first),
        still=still,
        untimed=times.untimed,
        warnings=(*times.warnings, *_doubts(path, packets, times.duration, first + times.duration)),
        counted=packets.counted or packets.late,
        frame_stamps=frame_stamps,
        places=places,
        packet_stamps=stamps,
        keys=keys,
        seeks=keys if packets.counted else np.asarray([_seek(packets, k) for k in packets.keys], np.int64),
    )


def _animated(path: str) -> Index:
    """The index of an animated WebP file, whose frames are counted."""
    lengths, size = read_animation(path)
    times = timeline(np.cumsum([0, *lengths[:-1]]).tolist(), lengths[-1], Clock(1e-3, 0.0))
    none = np.arange(0)
    return Index(
        stream=0,
        times=tuple(times.seconds),
        duration=times.duration if len(lengths) > 1 else 0.0,
        size=size,
        orientation=STORED,
        still=len(lengths) == 1,
        untimed=times.untimed,
        warnings=(*times.warnings, *filter(None, [truncation(path)])),
        counted=True,
        frame_stamps=none,
        places=none,
        packet_stamps=none,
        keys=none,
        seeks=none,
    )


def _seek(packets: _Packets, key: int) -> int:
    """The time stamp to seek to for a packet: the earlier of its two times, as containers search by either."""
    stamps = [s for s in (packets.stamps[key], packets.decode[key]) if s is not None]
    return min(stamps)


def _count(path: str, number: int, packets: _Packets) -> list[int | None]:
    """Time stamps of the frames, from decoding the whole stream."""
    stamps: list[int | None] = []
    with open_file(path) as container:
        stream = open_stream(container, number)
        try:
            for packet in read_packets(container, stream):
                report_alive()
                if packet.size or packet.dts is None:
                    stamps += [frame.pts for frame in _decoded(packet)]
        except av.FFmpegError:
            packets.damaged += 1
    if not stamps:
        raise UserError(f"{path}: no frame can be decoded")
    return stamps


def _doubts(path: str, packets: _Packets, lasts: float, end: float) -> list[str]:
    """Warnings about a file that is cut short, damaged, or not what it claims to be; durations in seconds."""
    doubts = [truncation(path)]
    if packets.damaged:
        doubts.append(f"damaged packets: {packets.damaged}")
    if matrix := strange_matrix(packets.first):
        doubts.append(f"ignoring the display matrix {matrix}, which is no rotation by quarter turns")
    if packets.still and len(packets.stamps) == 1:
        doubts += still_doubts(path)
    else:
        doubts.append(unkept(path, packets.promise, lasts, end))
    return [d for d in doubts if d]


def displayed_size(frame: Any) -> tuple[int, int]:
    """Width and height of a decoded frame as displayed, pixels."""
    size = (frame.width, frame.height)
    return size[::-1] if oriented(frame).sideways else size
