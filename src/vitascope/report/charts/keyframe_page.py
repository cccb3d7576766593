"""Keyframes laid out for the page: each picture once, and boxes over it for each encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vitascope.report.charts.box_overlay import Overlay, data_url, overlay
from vitascope.report.charts.keyframe_selection import KeyframeView, Source, TaskKeyframes, sources_of
from vitascope.report.charts.thumbnails import Thumbnail, thumbnails


class LaidOut(NamedTuple):
    """A keyframe with its boxes, and the number of its picture in the page; None without one."""

    overlay: Overlay
    image: int | None


class Keyframes(NamedTuple):
    """All keyframes of a report."""

    tasks: Sequence[TaskKeyframes]
    pictures: Mapping[Source, Thumbnail]
    images: Sequence[tuple[str, int, int]]
    """Each picture as text, with width and height."""
    laid: Mapping[KeyframeView, LaidOut]


def lay_out(tasks: Sequence[TaskKeyframes]) -> Keyframes:
    """Decode the pictures of keyframes and place the boxes over them."""
    pictures = thumbnails(sources_of(tasks))
    shown = [source for source in sources_of(tasks) if pictures[source].jpeg]
    numbers = {source: number for number, source in enumerate(shown)}
    images = [(data_url(picture), picture.width, picture.height) for picture in map(pictures.__getitem__, shown)]
    views = [view for task in tasks for view in task.views]
    laid = {view: LaidOut(overlay(view, pictures[view.source]), numbers.get(view.source)) for view in views}
    return Keyframes(tasks, pictures, images, laid)
