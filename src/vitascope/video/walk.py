"""One walk through a video for several readers in turn: each frame is decoded and cut once, whoever needs it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from jaxtyping import UInt8

from vitascope.core.pixel_transform import PixelTransform, Resize
from vitascope.core.types import Clip, Crop, Video
from vitascope.video.crops import Cutter
from vitascope.video.decode import Plan, Square, assemble
from vitascope.video.frame_reader import DisturbedError, undisturbed_frames
from vitascope.video.orientation import Orientation, Picture


class Walk:
    """The clips of several readers of one video, who come in a fixed order; the frames are read once, in order of time.

    A square is kept until the last reader that needs it has it. Everything is as if `decode` were called for each
    reader, bit by bit: where a file is damaged or not what its index says, so that frames may depend on where decoding
    began, the walk ends, and `clips` raises DisturbedError for what has not been read.
    """

    def __init__(
        self, video: Video, readers: Sequence[Sequence[Clip]], size: int, transform: PixelTransform | Resize
    ) -> None:
        self.plans = [Plan.of(video, clips) for clips in readers]
        self._left = Counter(square for plan in self.plans for square in plan.users)
        self._crops: dict[int, list[Crop]] = {}
        for i, crop in self._left:
            self._crops.setdefault(i, []).append(crop)
        self._kept: dict[Square, Picture] = {}
        self._square_bytes = size * size * 3
        self._cutter = Cutter(size, transform, Orientation(video.rotation, video.mirrored))
        self._frames = undisturbed_frames(video, sorted(self._crops))

    @property
    def kept_bytes(self) -> int:
        """Bytes of the squares that are kept now."""
        return len(self._kept) * self._square_bytes

    @property
    def largest_bytes(self) -> int:
        """The most bytes of squares that any reader leaves to later ones, if each reads no further than it must."""
        reach = list(accumulate((max(plan.crops, default=-1) for plan in self.plans), max))
        last = {square: number for number, plan in enumerate(self.plans) for square in plan.users}
        changes: Counter[int] = Counter()
        for (i, _), number in last.items():
            changes[bisect_left(reach, i)] += 1
            changes[number] -= 1
        return self._square_bytes * max(accumulate(changes[k] for k in range(len(self.plans))), default=0)

    def clips(self, reader: int) -> Iterator[tuple[int, UInt8[np.ndarray, "t y x 3"]]]:
        """Yield `(clip index, pixels)` of one reader as `decode` does; each reader in turn, and once."""
        return assemble(self.plans[reader], self._squares(self.plans[reader]))

    def advance(self) -> bool:
        """Read the next frame, whoever needs it; False at the end of the walk, whatever ended it."""
        try:
            i, frame = next(self._frames)
            pictures = self._cutter.cut(frame, self._crops[i])
        except Exception:  # also what befell the machine: whoever decodes the frame again will meet it, and can say so
            self.close()
            return False
        if len(self._cutter.by_angle) > 1:  # how further angles are mirrored is taken from the first frame that has one
            self.close()
            return False
        self._kept |= {(i, crop): picture for crop, picture in zip(self._crops[i], pictures, strict=True)}
        return True

    def close(self) -> None:
        """Read no more; what is kept can still be had."""
        self._frames.close()

    def _squares(self, plan: Plan) -> Iterator[tuple[int, Crop, Picture]]:
        for i in sorted(plan.crops):
            for crop in plan.crops[i]:
                yield i, crop, self._take((i, crop))

    def _take(self, square: Square) -> Picture:
        while square not in self._kept:
            if not self.advance():
                raise DisturbedError
        self._left[square] -= 1
        return self._kept[square] if self._left[square] else self._kept.pop(square)
