"""All frames of a small set of videos in memory, from which clips are taken as their sampler draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Clip, Crop, Span, Video
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.data.clip_decoder import draw
from vitascope.pretrain.data.held import HeldItem, Memory
from vitascope.sampling.augmentations import RandomCrop, fitted
from vitascope.sampling.samplers import Sampler, SamplerWrapper
from vitascope.video import UNREADABLE, decode, inspect
from vitascope.video.frame_reader import UNDECODABLE


@runtime_checkable
class File(Protocol):
    """What is known of a video."""

    @property
    def id(self) -> str:
        """Name in messages."""

    @property
    def path(self) -> str:
        """Where it is."""

    @property
    def span(self) -> Span | None:
        """The segment to take clips from, seconds."""

    @property
    def fps(self) -> float | None:
        """Frame rate of a folder of frames."""


class HeldVideo(NamedTuple):
    """A video and where its frames are, crop by crop."""

    video: Video
    crops: dict[Crop, int]
    """Row of the first visible frame."""


class HeldFrames:
    """The visible frames of all readable `files`, one row each for every crop that their sampler takes of them."""

    def __init__(self, name: str, files: Sequence[File], sampler: Sampler, spec: ClipSpec, memory: Memory) -> None:
        """Raises UserError for a sampler that crops at random, for damaged frames, and if `memory` is too small."""
        if _crops_at_random(sampler):
            raise UserError(
                f"{name}: its sampler crops at random, which needs whole frames; held in memory are center crops: set "
                "sampler=randomclip or uniform, or train without --hold"
            )
        self.sampler, self.spec = sampler, spec
        self.unreadable: dict[str, str] = {}
        self.videos: dict[str, HeldVideo] = {}
        count = 0
        for file in files:
            count += self._look(file, count)
        if not self.videos:
            first, cause = next(iter(self.unreadable.items()))
            raise UserError(f"{name}: none of its {len(files)} files is readable; {first}: {cause}")
        memory.take(name, count * spec.size**2 * 3)
        self.rows = torch.empty(count, spec.size, spec.size, 3, dtype=torch.uint8, device=memory.device)
        for id, held in self.videos.items():
            self._fill(f"{name}: {id}", held)

    def item(self, file: File, sampler: Sampler, seeds: tuple[int, ...]) -> HeldItem:
        """Draw a clip of a readable file by `sampler`, which is that of all or one epoch's of it; without its state."""
        held = self.videos[file.id]
        clip = draw(sampler, held.video, self.spec.frames, seeds)
        first = held.crops[clip.crop] - held.video.visible().start
        return HeldItem(file.id, {}, tuple(first + held.video.frame_at(t) for t in clip.times))

    def gather(self, items: Sequence[HeldItem]) -> UInt8[Tensor, "n t s s 3"]:
        """The clips of items."""
        rows = torch.tensor([item.rows for item in items])
        return self.rows[rows.to(self.rows.device)]

    def _look(self, file: File, row: int) -> int:
        """Note a file whose frames begin at `row`; returns their number."""
        if file.id in self.videos or file.id in self.unreadable:
            return 0
        try:
            video = inspect(file.path, fps=file.fps).within(file.span)
            clips = fitted(self.sampler)(video, self.spec.frames)
        except UNREADABLE as error:
            self.unreadable[file.id] = str(error)
            return 0
        n = len(video.visible())
        crops = dict.fromkeys(clip.crop for clip in clips)
        self.videos[file.id] = HeldVideo(video, {crop: row + i * n for i, crop in enumerate(crops)})
        return n * len(crops)

    def _fill(self, name: str, held: HeldVideo) -> None:
        times = tuple(max(held.video.times[i], held.video.start) for i in held.video.visible())
        for crop, row in held.crops.items():
            problems: list[str] = []
            clip = Clip(times, held.video.span, crop)
            try:
                ((_, pixels),) = decode(held.video, [clip], self.spec.size, warnings=problems)
            except UNREADABLE as error:
                raise UserError(f"{name}: {error}; remove it, or train without --hold") from error
            if damage := next((p for p in problems if p.startswith(UNDECODABLE)), ""):
                raise UserError(f"{name}: {damage}; remove it, or train without --hold")
            self.rows[row : row + len(pixels)] = torch.from_numpy(np.ascontiguousarray(pixels))


def _crops_at_random(sampler: Sampler) -> bool:
    return any(isinstance(one, RandomCrop) for one in _chain(sampler))


def _chain(sampler: Sampler) -> Iterator[Sampler]:
    """Yield a sampler and those inside it."""
    yield sampler
    if isinstance(sampler, SamplerWrapper):
        yield from _chain(sampler.inner)
