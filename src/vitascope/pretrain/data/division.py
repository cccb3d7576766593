"""How what is left of a source is divided anew among another number of processes: nothing twice, nothing lost.

A source is an endless sequence of places (files or shards, counted over all epochs), of which a process reads every
`step`-th: a stream. Processes are at different places if some met unreadable files, or shards of more samples than
others. All places from the one after the last that anybody has begun are then divided as at the start; the streams of
the former processes up to there are read to their end first, by the new ones in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from vitascope.pretrain.data.base import State

Stream: TypeAlias = dict[str, Any]
"""JSON: `next` place, `step`, `until` (exclusive; none: endless), `last` place that was begun, and how far the source
has read at `next`. The last of a process's streams is endless."""


class Place(NamedTuple):
    """A place whose clips are to be read."""

    number: int
    """Counted over all epochs."""
    given: int
    """Clips of it that were given before."""
    states: tuple[State, ...]
    """State of the reader after each of its clips."""


def places(stream: Stream) -> Iterator[int]:
    """Yield the places of a stream."""
    place = stream["next"]
    while stream["until"] is None or place < stream["until"]:
        yield place
        place += stream["step"]


def divide(streams: Sequence[Sequence[Stream]], rank: int, world: int) -> tuple[list[Stream], int]:
    """From the streams of all former processes, those left over that `rank` of `world` reads first.

    Also returns the place from which on all are divided as at the start.
    """
    endless = [own[-1] for own in streams]
    base = max(stream.get("last", stream["next"] - stream["step"]) for stream in endless) + 1
    left = [stream for own in streams for stream in own[:-1]]
    left += [{**stream, "until": base} for stream in endless if stream["next"] < base]
    return sorted(left, key=lambda stream: stream["next"])[rank::world], base


def position_streams(state: State, rank: int, world: int) -> list[Stream]:
    """Streams of a position {"taken": places, "clip": clips given of the next one, "leftover": streams before that}."""
    place = first_place(state["taken"], rank, world)
    begun = {"clip": state["clip"], "last": place} if state.get("clip") else {}
    return [*state.get("leftover", ()), {"next": place, "step": world, "until": None, **begun}]


def first_place(taken: int, rank: int, world: int) -> int:
    """The first place from `taken` on that belongs to `rank` of `world`."""
    return taken + (rank - taken) % world


def positions(state: State, rank: int, world: int, repeat: int = 1) -> Iterator[Place]:
    """Yield the places of a process, of `repeat` clips each, from a position on."""
    streams = position_streams(state, rank, world)
    for number, stream in enumerate(streams, 1):
        bare = {key: stream[key] for key in ("next", "step", "until")}
        for place in places(stream):
            inside = [{**bare, "next": place, "clip": clip, "last": place} for clip in range(1, repeat)]
            after = [*inside, {**bare, "next": place + stream["step"]}]
            states = tuple(_position([one, *streams[number:]], rank) for one in after)
            yield Place(place, stream.get("clip", 0) if place == stream["next"] else 0, states)


def _position(streams: Sequence[Stream], rank: int) -> State:
    """The position of which `position_streams` makes these streams."""
    *left, own = streams
    clip = {"clip": own["clip"]} if own.get("clip") else {}
    return {"taken": own["next"] - rank, **clip, **({"leftover": left} if left else {})}


def divide_positions(states: Sequence[State], rank: int, world: int) -> State:
    """The position of `rank` of `world` after those of all of another number of processes."""
    streams = [position_streams(state, old, len(states)) for old, state in enumerate(states)]
    left, base = divide(streams, rank, world)
    return {"taken": base, **({"leftover": left} if left else {})}
