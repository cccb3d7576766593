"""Jobs of one file, of examples near to each other or of several encoders: frames are decoded once, in one walk.

The messages are those of `decode_example` for each job, bit by bit and in the same order. Where the file is damaged,
was exchanged meanwhile, or too much would have to be kept, each job is decoded alone. Free of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise

from vitascope.core.file_identity import FileIdentity
from vitascope.core.types import Card
from vitascope.core.worker_pool import Group
from vitascope.core.worker_process import has_free_slot
from vitascope.features.decode_job import (
    ClipPlan,
    DecodeJob,
    Message,
    Pixels,
    decode_alone,
    decode_example,
    plan_clips,
)
from vitascope.video.frame_reader import DisturbedError
from vitascope.video.walk import Reader, Walk

MOST, SHARED = 128, 32
"""Most examples of a group: for a single worker, and for several, which share a movie."""
LONGEST = 300.0
"""Longest time from the start of the first span of a group to the end of the last, seconds."""
NEAR = 10.0
"""Longest gap between two spans of a group, seconds: about the distance of two key frames, to which one can seek."""
AHEAD_BYTES = 64 << 20
"""Bytes of pixels that a worker reads ahead while it waits for the consumer."""
KEPT_BYTES = 256 << 20
"""Most bytes of pixels that are kept for later examples of a group."""


def group_size(jobs: int, workers: int) -> int:
    """Most examples of a group if there are so many jobs: every worker gets some."""
    return MOST if workers == 1 else min(SHARED, jobs // workers)


def groups(jobs: Iterable[DecodeJob], most: int) -> Iterator[Group[DecodeJob]]:
    """Divide jobs, in their order, into groups of one example or of neighbors in one file, of `most` or fewer."""
    group: Group[DecodeJob] = Group()
    for job in jobs:
        if group and not _is_again(job, group[-1]) and (_examples(group) >= most or not _belongs(job, group)):
            yield group
            group = Group()
        group.append(job)
    if group:
        yield group


def _is_again(job: DecodeJob, last: DecodeJob) -> bool:
    """Whether a job is of the same example as the last one, for other encoders."""
    return job[:5] == last[:5] and job.readers != last.readers


def _examples(group: Sequence[DecodeJob]) -> int:
    """The number of examples in a group."""
    return sum(not _is_again(job, last) for last, job in pairwise(group)) + 1


def _belongs(job: DecodeJob, group: Group[DecodeJob]) -> bool:
    """Whether a job follows those of a group: in the same file, not earlier in it, and near."""
    first, last = group[0], group[-1]
    if not (first.span and last.span and job.span) or (job.path, job.fps) != (last.path, last.fps):
        return False
    start, end = job.span
    return last.span[0] <= start <= last.span[1] + NEAR and last.span[1] <= end <= first.span[0] + LONGEST


def decode_together(jobs: Sequence[DecodeJob]) -> list[Iterator[tuple[Message, Pixels | None]]]:
    """Return the messages of each of several jobs of one file, to be read in this order; see `decode_example`.

    Only PyAV walks through a file for several of them.
    """
    if any(job.card.decoder != "pyav" for job in jobs):
        return [decode_example(job) for job in jobs]
    shared = _SharedWalk(jobs)
    return [decode_example(job, partial(shared.clips, number)) for number, job in enumerate(jobs)]


class _SharedWalk:
    """The walk of a group, begun by the first of its examples that comes to its pixels."""

    def __init__(self, jobs: Sequence[DecodeJob]) -> None:
        self.jobs = jobs
        self.content = ""
        """Digest of the file when the walk began."""
        self.plans: dict[int, ClipPlan] = {}
        """The clips of each example that reads from the walk."""
        self.walk: Walk | None = None

    def clips(
        self, number: int, file: FileIdentity, plan: ClipPlan, card: Card, warnings: list[str]
    ) -> Iterator[tuple[int, Pixels]]:
        """Decode the clips of an example, alone from where the walk cannot give them; see `ClipSource`."""
        done = 0
        try:
            for clip in self._walked(number, file, plan):
                yield clip
                done += 1
        except DisturbedError:
            yield from islice(decode_alone(file, plan, card, warnings), done, None)

    def _walked(self, number: int, file: FileIdentity, plan: ClipPlan) -> Iterator[tuple[int, Pixels]]:
        if not self.plans:
            self._begin(number, file, plan)
        planned = self.plans.get(number)
        if planned != plan or file.content != self.content:
            self.walk = None
        walk = self.walk
        if walk is None:
            raise DisturbedError
        for clip in walk.clips(list(self.plans).index(number)):
            while not has_free_slot() and walk.kept_bytes < AHEAD_BYTES and walk.advance():
                pass
            yield clip
        if number == max(self.plans):
            walk.close()

    def _begin(self, number: int, file: FileIdentity, plan: ClipPlan) -> None:
        self.content = file.content
        self.plans = {number: plan} | {n: p for n in range(number + 1, len(self.jobs)) if (p := self._planned(n, plan))}
        cards = [self.jobs[n].card for n in self.plans]
        walk = Walk(
            plan.video, [Reader(p.clips, c.size, c.pixels) for p, c in zip(self.plans.values(), cards, strict=True)]
        )
        self.walk = walk if walk.largest_bytes <= KEPT_BYTES else None

    def _planned(self, number: int, first: ClipPlan) -> ClipPlan | None:
        """The clips of a later example of the same video; None for what will fail, or change, when its turn comes."""
        try:
            plan = plan_clips(self.jobs[number])
        except Exception:  # whatever it is, it belongs to that example, which meets it again
            return None
        if plan.video.within(first.video.span) != first.video:
            return None
        return plan._replace(video=first.video.within(plan.video.span))  # the same frame times, not a copy for each
