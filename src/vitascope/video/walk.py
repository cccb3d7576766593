"""One walk through a video for several readers in turn: a frame is decoded once, and cut once for equal readers."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from vitascope.core.pixel_transform import PixelTransform, Resize
from vitascope.core.types import Clip, Crop, Video
from vitascope.video.crops import Cutter
from vitascope.video.decode import Plan, assemble
from vitascope.video.frame_reader import DisturbedError, undisturbed_frames
from vitascope.video.orientation import Orientation, Picture


class Reader(NamedTuple):
    """Who reads clips, as squares of `size` pixels; see `decode` for `transform`."""

    clips: Sequence[Clip]
    size: int
    transform: PixelTransform | Resize


class Cut(NamedTuple):
    """A square of a frame as readers of the kind `how` need it."""

    frame: int
    how: int
    crop: Crop


class Walk:
    """The clips of several readers of one video, who come in a fixed order; the frames are read once, in order of time.

    A square is kept until the last reader that needs it has it. Everything is as if `decode` were called for each
    reader, bit by bit: where a file is damaged or not what its index says, so that frames may depend on where decoding
    began, the walk ends, and `clips` raises DisturbedError for what has not been read.
    """

    def __init__(self, video: Video, readers: Sequence[Reader]) -> None:
        self.plans = [Plan.of(video, reader.clips) for reader in readers]
        kinds = list(dict.fromkeys((reader.size, reader.transform) for reader in readers))
        self._how = [kinds.index((reader.size, reader.transform)) for reader in readers]
        self._left = Counter(cut for plan, how in zip(self.plans, self._how, strict=True) for cut in _cuts(plan, how))
        self._crops: dict[int, dict[int, list[Crop]]] = {}
        """The crops of each frame by kind of reader."""
        for i, how, crop in self._left:
            self._crops.setdefault(i, {}).setdefault(how, []).append(crop)
        self._kept: dict[Cut, Picture] = {}
        self._bytes = [size * size * 3 for size, _ in kinds]
        """Bytes of a square by kind of reader."""
        self._cutters = [Cutter(*kind, Orientation(video.rotation, video.mirrored)) for kind in kinds]
        self._frames = undisturbed_frames(video, sorted(self._crops))

    @property
    def kept_bytes(self) -> int:
        """Bytes of the squares that are kept now."""
        return sum(self._bytes[cut.how] for cut in self._kept)

    @property
    def largest_bytes(self) -> int:
        """The most bytes of squares that any reader leaves to later ones, if each reads no further than it must."""
        reach = list(accumulate((max(plan.crops, default=-1) for plan in self.plans), max))
        last = {c: n for n, (plan, how) in enumerate(zip(self.plans, self._how, strict=True)) for c in _cuts(plan, how)}
        changes: Counter[int] = Counter()
        for cut, number in last.items():
            changes[bisect_left(reach, cut.frame)] += self._bytes[cut.how]
            changes[number] -= self._bytes[cut.how]
        return max(accumulate(changes[k] for k in range(len(self.plans))), default=0)

    def clips(self, reader: int) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
        """Yield `(clip index, pixels)` of one reader as `decode` does; each reader in turn, and once."""
        return assemble(self.plans[reader], self._squares(self.plans[reader], self._how[reader]))

    def advance(self) -> bool:
        """Read the next frame, whoever needs it; False at the end of the walk, whatever ended it."""
        try:
            i, frame = next(self._frames)
            pictures = {
                Cut(i, how, crop): picture
                for how, crops in self._crops[i].items()
                for crop, picture in zip(crops, self._cutters[how].cut(frame, crops), strict=True)
            }
        except Exception:  # also what befell the machine: whoever decodes the frame again will meet it, and can say so
            self.close()
            return False
        if any(len(c.by_angle) > 1 for c in self._cutters):
            # how further angles are mirrored is taken from the first frame that has one
            self.close()
            return False
        self._kept |= pictures
        return True

    def close(self) -> None:
        """Read no more; what is kept can still be had."""
        self._frames.close()

    def _squares(self, plan: Plan, how: int) -> Iterator[tuple[int, Crop, Picture]]:
        for i in sorted(plan.crops):
            for crop in plan.crops[i]:
                yield i, crop, self._take(Cut(i, how, crop))

    def _take(self, cut: Cut) -> Picture:
        while cut not in self._kept:
            if not self.advance():
                raise DisturbedError
        self._left[cut] -= 1
        return self._kept[cut] if self._left[cut] else self._kept.pop(cut)


def _cuts(plan: Plan, how: int) -> Iterator[Cut]:
    return (Cut(i, how, crop) for i, crop in plan.users)
