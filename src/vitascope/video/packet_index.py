"""The index of a video file, from its packets: which frames are shown when, and where decoding can begin."""

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
from vitascope.core.worker_pool import alive
from vitascope.video import signature

HIDDEN = Disposition.attached_pic | Disposition.timed_thumbnails
"""Streams that are pictures about the file, not the video."""
REFUSED = frozenset({"hls", "concat", "dash", "tty", "cdg", "bin", "xbin", "adf", "idf"})
"""Formats that make a video of other files, of letters, or of anything at all."""
LARGEST = 1 << 27
"""Pixels of the largest picture that is decoded: four times 8K."""
Ticks = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """What reading the packets of a file has shown."""

    stream: int
    """Number of the video stream in the file."""
    times: tuple[float, ...]
    """Seconds from the first shown frame, ascending."""
    duration: float
    size: tuple[int, int]
    """Width and height as displayed."""
    rotation: int
    """Degrees clockwise."""
    still: bool
    untimed: bool
    """Without any time stamps: `times` are a guess."""
    warnings: tuple[str, ...]
    counted: bool
    """Frames are told apart by counting what the decoder gives: their time stamps cannot do it, and seeking neither."""
    shown: Ticks
    """Time stamps of the shown frames, ascending."""
    places: Ticks
    """For each shown frame the number of its packet in the file."""
    packets: Ticks
    """Time stamps of all packets, in the order of the file."""
    keys: Ticks
    """Numbers of the packets where decoding can begin, ascending."""
    seeks: Ticks
    """For each of `keys` the time stamp to seek to."""

    def key(self, frame: int) -> int:
        """Which of `keys` is the last from which shown frame `frame` can be decoded; -1 where there is none."""
        key = int(np.searchsorted(self.keys, self.places[frame], side="right")) - 1
        while key >= 0 and self.packets[self.keys[key]] > self.shown[frame]:
            key -= 1  # a frame shown before its key frame needs the one before
        return key


def open_file(path: str) -> Any:
    """The container, open; ValueError naming the file and the cause where it cannot be."""
    refusal = signature.refusal(path)
    if refusal:
        raise UserError(f"{path}: {refusal}")
    # "file:" keeps names like "-x.mp4" and "a:b.mp4" from being options and addresses; a picture goes by its bytes,
    # because FFmpeg takes "%03d" in its name for a pattern and its ending for its format.
    source = io.BytesIO(Path(path).read_bytes()) if signature.is_image(path) else f"file:{path}"
    try:
        container = av.open(source, options={"protocol_whitelist": "file"})
    except (av.FFmpegError, UnicodeError) as error:
        raise UserError(f"{path}: {signature.fault(path)} ({_reason(error)})") from None
    if container.format.name in REFUSED:
        container.close()
        raise UserError(f"{path}: not a video (FFmpeg takes it for {container.format.name})")
    return container


def open_stream(container: Any, number: int) -> Any:
    """Stream `number` of an open file, to be decoded on one core: workers are processes, one a core."""
    stream = container.streams[number]
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(LARGEST)}
    return stream


def read_index(path: str) -> Index:
    """The index of the video file at `path`, remembered while the file stays as it is."""
    found = os.stat(path) if os.path.exists(path) else None
    return _read(path, found and found.st_mtime_ns, found and found.st_size)


@lru_cache(maxsize=4)
def _read(path: str, *_version: int | None) -> Index:
    with open_file(path) as container:
        candidates = _candidates(path, container)
    for number in candidates:
        packets = _scan(path, number)
        if any(packets.shown):
            return _index(path, number, packets)
    raise UserError(f"{path}: the video stream has no frames")


def _candidates(path: str, container: Any) -> list[int]:
    """The video streams, best first: the default ones, the largest of them."""
    streams = [s for s in container.streams.video if not s.disposition & HIDDEN]
    if not streams:
        cover = ", only a cover picture" if container.streams.video else ""
        raise UserError(f"{path}: no video stream{cover}")
    able = [s for s in streams if s.codec_context is not None]
    if not able:
        raise UserError(f"{path}: this FFmpeg has no decoder for {streams[0].codec_tag!r}")
    if any(s.codec_tag in ("encv", "drmi") for s in able):
        raise UserError(f"{path}: encrypted (DRM)")
    able = [s for s in able if s.width * s.height <= LARGEST]
    if not able:
        raise UserError(f"{path}: pictures of {streams[0].width} x {streams[0].height}, more than {LARGEST} pixels")

    def rank(stream: Any) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    return [s.index for s in sorted(able, key=rank, reverse=True)]


@dataclass
class _Packets:
    """What a reading of the packets gathers, in the order of the file, and the first frame they decode to."""

    stamps: list[int | None] = field(default_factory=list)
    decode: list[int | None] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    damaged: int = 0
    first: Any = None
    tick: float = 0.0
    """Seconds a tick of the stream's clock."""
    rate: float = 0.0
    """Frames per second as the file says, 0 where it does not."""
    promised: float = 0.0
    """Duration as the file says, in seconds."""
    late: bool = False
    """The container keeps decoding order only, and the decoder reorders: AVI with B-frames."""
    still: bool = False

    def add(self, packet: Any, codec: str) -> None:
        """Note one packet."""
        if packet.is_keyframe:
            self.keys.append(len(self.stamps))
        self.stamps.append(packet.pts)
        self.decode.append(packet.dts)
        self.lengths.append(packet.duration or 0)
        self.shown.append(not packet.is_discard and not _hidden(packet, codec))
        self.damaged += packet.is_corrupt

    @property
    def counted(self) -> bool:
        """Whether time stamps are missing, double or run backwards."""
        order = [d for d in self.decode if d is not None]
        return None in self.stamps or len(set(self.stamps)) < len(self.stamps) or order != sorted(order)


def _scan(path: str, number: int) -> _Packets:
    """Read all packets of a stream, decoding until there is one frame."""
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
                alive()
                if packet.size:
                    packets.add(packet, codec)
                if packets.first is None and (packet.size or packet.dts is None):
                    packets.first = next(iter(_decoded(packet)), None)
        except av.FFmpegError:
            packets.damaged += 1
    return packets


def _decoded(packet: Any) -> list[Any]:
    """The frames that come out for this packet; none where it is refused, which is for decoding to report."""
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []


def _hidden(packet: Any, codec: str) -> bool:
    """Whether a VP8 or VP9 packet only holds a picture for others to refer to (RFC 6386 9.1; VP9 6.2, annex B)."""
    if codec not in ("vp8", "vp9", "libvpx", "libvpx-vp9"):
        return False
    data = memoryview(packet)
    if "vp8" in codec or codec == "libvpx":
        return not data[0] & 0x10
    last = data[-1]
    index = 2 + (1 + (last >> 3 & 3)) * (1 + (last & 7))
    if last & 0xE0 == 0xC0 and len(data) >= index and data[-index] == last:
        return False  # a superframe: hidden pictures and the one they are for
    three = data[0] & 0x30 == 0x30  # profile 3 has a bit more before the two we want
    return not data[0] & (0x05 if three else 0x0A)


def _index(path: str, number: int, packets: _Packets) -> Index:
    """From what was read to what is kept."""
    if packets.first is None:
        raise UserError(f"{path}: no frame can be decoded")
    counted = packets.counted
    warnings: list[str] = []
    if counted:
        times, length, untimed = _count(path, number, packets, warnings)
        stamps = shown = places = np.arange(0)
    else:
        stamps = np.asarray(packets.stamps, np.int64)
        places = np.flatnonzero(packets.shown)
        places = places[np.argsort(stamps[places], kind="stable")]
        shown = stamps[places]
        times = ((shown - shown[0]) * packets.tick).tolist()
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
        shown=shown,
        places=places,
        packets=stamps,
        keys=keys,
        seeks=np.asarray([_seek(packets, k) for k in packets.keys], np.int64) if not counted else keys,
    )


def _seek(packets: _Packets, key: int) -> int:
    """Where to seek for a packet: containers search by decoding or by presentation time, so the earlier is safe."""
    stamps = [s for s in (packets.stamps[key], packets.decode[key]) if s is not None]
    return min(stamps)


def _count(path: str, number: int, packets: _Packets, warnings: list[str]) -> tuple[list[float], float, bool]:
    """Times by decoding everything; how long the last frame lasts; and whether they are a guess."""
    stamps: list[int | None] = []
    with open_file(path) as container:
        stream = open_stream(container, number)
        try:
            for packet in container.demux(stream):
                alive()
                if packet.size or packet.dts is None:
                    stamps += [frame.pts for frame in _decoded(packet)]
        except av.FFmpegError:
            packets.damaged += 1
    if not stamps:
        raise UserError(f"{path}: no frame can be decoded")
    gaps = [b - a for a, b in pairwise(stamps) if a is not None and b is not None]
    ahead = [g * packets.tick for g in gaps if g > 0]
    step = float(np.median(ahead)) if ahead else 1 / (packets.rate or 25.0)
    whole = len(gaps) == len(stamps) - 1
    steps = [g * packets.tick if g > 0 else step for g in gaps] if whole else [step] * (len(stamps) - 1)
    if not whole:
        warnings.append(f"no time stamps: {1 / step:.4g} frames per second assumed")
    elif len(ahead) < len(gaps):
        still = len(gaps) - len(ahead)
        warnings.append(f"time stamps that do not advance: {still}; such a frame follows after the usual {step:.3g} s")
    return np.cumsum([0.0, *steps]).tolist(), step, not whole


def _last(length: float, times: list[float], rate: float) -> float:
    """Seconds that the last frame lasts: what its packet says unless that is next to nothing, or as long as most."""
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate if rate else 0.0
    return length if length > usual / 2 else usual


def display(frame: Any, warnings: list[str]) -> tuple[tuple[int, int], int]:
    """Size as displayed and degrees clockwise, from the first frame."""
    rotation = -frame.rotation % 360
    if rotation not in (0, 90, 180, 270):
        warnings.append(f"rotation of {-frame.rotation} degrees ignored")
        rotation = 0
    size = (frame.width, frame.height)
    return (size[::-1] if rotation in (90, 270) else size), rotation


def _doubts(path: str, packets: _Packets, duration: float) -> list[str]:
    """What else makes one doubt that the file is whole, or that it is what its name says."""
    doubts = [short] if (short := signature.cut_short(path)) else []
    if packets.damaged:
        doubts.append(f"damaged packets: {packets.damaged}")
    if packets.promised > 1.1 * duration + 1:
        doubts.append(f"the header promises {packets.promised:.1f} s, there are {duration:.1f}")
    if packets.still and len(packets.stamps) == 1 and Path(path).suffix.lower() not in signature.EXTENSIONS | {".gif"}:
        doubts.append("a still picture, whatever its name says")
    return doubts


def _reason(error: Exception) -> str:
    """FFmpeg's words, without the name it repeats."""
    return str(getattr(error, "strerror", None) or error).split(": '")[0]
