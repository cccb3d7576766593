"""Index of a video file from its packets: frame times and the positions where decoding can start."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from vitascope.core.errors import UserError
from vitascope.core.media import FRAME_SUFFIXES
from vitascope.core.worker_process import report_alive
from vitascope.video import signature

HIDDEN = Disposition.attached_pic | Disposition.timed_thumbnails
"""Dispositions of streams that hold cover art or thumbnails, not video."""
REFUSED = frozenset({"hls", "concat", "dash", "tty", "cdg", "bin", "xbin", "adf", "idf"})
"""FFmpeg formats that refer to other files, render text, or accept arbitrary bytes."""
LARGEST = 1 << 27
"""Largest frame that is decoded, pixels: four times 8K."""
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
    rotation: int
    """Clockwise rotation for display, degrees."""
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


def open_file(path: str) -> Any:
    """Open a container; raises UserError with the file and the cause if it cannot be read."""
    refusal = signature.not_a_video(path)
    if refusal:
        raise UserError(f"{path}: {refusal}")
    # "file:" keeps names like "-x.mp4" and "a:b.mp4" from being parsed as options and URLs; images are passed as bytes,
    # because FFmpeg interprets "%03d" in a name as a pattern and trusts the file extension.
    source = io.BytesIO(Path(path).read_bytes()) if signature.is_image(path) else f"file:{path}"
    try:
        container = av.open(source, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, UnicodeError) as error:
        raise UserError(f"{path}: {signature.likely_fault(path)} ({_reason(error)})") from None
    if container.format.name in REFUSED:
        container.close()
        raise UserError(f"{path}: not a video (FFmpeg detects {container.format.name})")
    return container


def open_stream(container: Any, number: int) -> Any:
    """Stream `number` of an open container, set to decode in one thread: there is one worker process per core."""
    stream = container.streams[number]
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(LARGEST)}
    return stream


def read_index(path: str) -> Index:
    """The index of the video file at `path`, cached until the file changes."""
    status = os.stat(path) if os.path.exists(path) else None
    return _read(path, status and status.st_mtime_ns, status and status.st_size)


@lru_cache(maxsize=4)
def _read(path: str, *_version: int | None) -> Index:
    with open_file(path) as container:
        candidates = _candidates(path, container)
    for number in candidates:
        packets = _scan(path, number)
        if any(packets.displayed):
            return _index(path, number, packets)
    raise UserError(f"{path}: the video stream has no frames")


def _candidates(path: str, container: Any) -> list[int]:
    """Indices of the video streams, default streams first, then by size."""
    streams = [s for s in container.streams.video if not s.disposition & HIDDEN]
    if not streams:
        cover = ", only cover art" if container.streams.video else ""
        raise UserError(f"{path}: no video stream{cover}")
    decodable = [s for s in streams if s.codec_context is not None]
    if not decodable:
        raise UserError(f"{path}: this FFmpeg has no decoder for the video stream")
    if any(s.codec_tag in ("encv", "drmi") for s in decodable):
        raise UserError(f"{path}: encrypted (DRM)")
    decodable = [s for s in decodable if s.width * s.height <= LARGEST]
    if not decodable:
        raise UserError(f"{path}: frames of {streams[0].width} x {streams[0].height} exceed {LARGEST} pixels")

    def rank(stream: Any) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    return [s.index for s in sorted(decodable, key=rank, reverse=True)]


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
    tick: float = 0.0
    """Length of a tick of the stream's clock, seconds."""
    rate: float = 0.0
    """Frame rate in the header, frames per second, or 0."""
    promised: float = 0.0
    """Duration in the header, seconds, or 0."""
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
        packets.tick = float(stream.time_base or 0)
        packets.rate = float(stream.average_rate or 0)
        packets.promised = (stream.duration or 0) * packets.tick
        packets.late = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
        packets.still = container.format.name.endswith("_pipe") or container.format.name in ("gif", "image2")
        try:
            for packet in container.demux(stream):
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
    counted = packets.counted
    warnings: list[str] = []
    if counted:
        times, length, untimed = _count(path, number, packets, warnings)
        stamps = frame_stamps = places = np.arange(0)
    else:
        stamps = np.asarray(packets.stamps, np.int64)
        places = np.flatnonzero(packets.displayed)
        places = places[np.argsort(stamps[places], kind="stable")]
        frame_stamps = stamps[places]
        times = ((frame_stamps - frame_stamps[0]) * packets.tick).tolist()
        length, untimed = packets.lengths[places[-1]] * packets.tick, False
    still = packets.still and len(times) == 1
    duration = 0.0 if still else times[-1] + _last(length, times, packets.rate)
    size, rotation = display(packets.first, warnings)
    warnings += _doubts(path, packets, duration)
    keys = np.asarray(packets.keys, np.int64)
    return Index(
        stream=number,
        times=tuple(times),
        duration=duration,
        size=size,
        rotation=rotation,
        still=still,
        untimed=untimed,
        warnings=tuple(warnings),
        counted=counted or packets.late,
        frame_stamps=frame_stamps,
        places=places,
        packet_stamps=stamps,
        keys=keys,
        seeks=np.asarray([_seek(packets, k) for k in packets.keys], np.int64) if not counted else keys,
    )


def _seek(packets: _Packets, key: int) -> int:
    """The time stamp to seek to for a packet: the earlier of its two times, as containers search by either."""
    stamps = [s for s in (packets.stamps[key], packets.decode[key]) if s is not None]
    return min(stamps)


def _count(path: str, number: int, packets: _Packets, warnings: list[str]) -> tuple[list[float], float, bool]:
    """Frame times from decoding the whole stream, the length of the last frame (seconds), and if both are estimated."""
    stamps: list[int | None] = []
    with open_file(path) as container:
        stream = open_stream(container, number)
        try:
            for packet in container.demux(stream):
                report_alive()
                if packet.size or packet.dts is None:
                    stamps += [frame.pts for frame in _decoded(packet)]
        except av.FFmpegError:
            packets.damaged += 1
    if not stamps:
        raise UserError(f"{path}: no frame can be decoded")
    gaps = [b - a for a, b in pairwise(stamps) if a is not None and b is not None]
    ahead = [g * packets.tick for g in gaps if g > 0]
    step = float(np.median(ahead)) if ahead else 1 / (packets.rate or 25.0)
    complete = len(gaps) == len(stamps) - 1
    steps = [g * packets.tick if g > 0 else step for g in gaps] if complete else [step] * (len(stamps) - 1)
    if not complete:
        warnings.append(f"no time stamps: assuming {1 / step:.4g} frames per second")
    elif len(ahead) < len(gaps):
        still = len(gaps) - len(ahead)
        warnings.append(f"time stamps that do not increase: {still}; using the median interval of {step:.3g} s")
    return np.cumsum([0.0, *steps]).tolist(), step, not complete


def _last(length: float, times: list[float], rate: float) -> float:
    """Length of the last frame, seconds: that of its packet, or the median interval if that is too short."""
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate if rate else 0.0
    return length if length > usual / 2 else usual


def display(frame: Any, warnings: list[str]) -> tuple[tuple[int, int], int]:
    """Displayed size and clockwise rotation in degrees, from the first frame."""
    rotation = -frame.rotation % 360
    if rotation not in (0, 90, 180, 270):
        warnings.append(f"ignoring a rotation of {-frame.rotation} degrees")
        rotation = 0
    size = (frame.width, frame.height)
    return (size[::-1] if rotation in (90, 270) else size), rotation


def _doubts(path: str, packets: _Packets, duration: float) -> list[str]:
    """Warnings about truncation, damage and misleading file names."""
    doubts = [short] if (short := signature.truncation(path)) else []
    if packets.damaged:
        doubts.append(f"damaged packets: {packets.damaged}")
    if packets.promised > 1.1 * duration + 1:
        doubts.append(f"the header declares {packets.promised:.1f} s, but the video has {duration:.1f} s")
    if packets.still and len(packets.stamps) == 1 and Path(path).suffix.lower() not in FRAME_SUFFIXES | {".gif"}:
        doubts.append("a still image, despite its file name")
    return doubts


def _reason(error: Exception) -> str:
    """FFmpeg's error message without the repeated file name."""
    return str(getattr(error, "strerror", None) or error).split(": '")[0]
