"""Failure gallery: loops of what each encoder alone gets wrong and right, as text and pictures for the template."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import escaped
from vitascope.report.analysis.failures import Alone, Example, Part, TaskFailures, failures
from vitascope.report.analysis.leaderboard import EncoderRow, Leaderboard
from vitascope.report.charts.loops import Loop, loops


class Tile(NamedTuple):
    """One example: its loop as a data URL, or the reason why there is none, and what was predicted."""

    picture: str
    width: int
    height: int
    reason: str
    name: str
    truth: str
    predicted: str
    alt: str


class Shelf(NamedTuple):
    """What one encoder alone gets wrong, or right."""

    row: EncoderRow
    right: bool
    total: int
    tiles: tuple[Tile, ...]


class Gallery(NamedTuple):
    """The shelves of a task, and why there are no pictures, if there are none."""

    task: str
    dataset: str
    probe: str
    common: int
    shelves: tuple[Shelf, ...]
    note: str


def parts(tasks: Sequence[TaskFailures]) -> list[Part]:
    """The parts of videos that are shown, one of each shelf before the second of any, so that a limit is fair."""
    shelves = [alone.examples for task in tasks for alone in task.alone]
    longest = max(map(len, shelves), default=0)
    return [shelf[place].part for place in range(longest) for shelf in shelves if place < len(shelf)]


def build(board: Leaderboard) -> list[Gallery]:
    """The galleries of a leaderboard, with loops decoded from the files that are there."""
    tasks = failures(board)
    made = loops(parts(tasks))
    return [
        Gallery(
            escaped(task.task),
            escaped(task.dataset),
            escaped(task.probe),
            task.common,
            tuple(_shelf(alone, made) for alone in task.alone),
            _note(task),
        )
        for task in tasks
    ]


def _note(task: TaskFailures) -> str:
    if not task.tells_files:
        return "These results do not tell the files of their videos; evaluate again with --overwrite to see them."
    shown = any(e.part.path for alone in task.alone for e in alone.examples)
    return "" if shown else "There are no videos to these embeddings."


def _shelf(alone: Alone, made: Mapping[Part, Loop]) -> Shelf:
    return Shelf(alone.row, alone.right, alone.total, tuple(_tile(e, made[e.part]) for e in alone.examples))


def _tile(example: Example, loop: Loop) -> Tile:
    picture = f"data:image/webp;base64,{b64encode(loop.webp).decode()}" if loop.webp else ""
    truth, predicted, name = map(escaped, (example.truth, example.predicted, example.id))
    said = f"predicted {predicted}" if predicted != truth else "predicted so"
    return Tile(picture, loop.width, loop.height, loop.reason, name, truth, predicted, f"video of {truth}, {said}")
