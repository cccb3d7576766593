"""LeRobot datasets (versions 2 and 3) as a list: every episode seen by every camera, labeled with its task.

Version 2 has a file per episode and camera, and `meta/episodes.jsonl`; version 3 has several episodes in a file, with
their times in `meta/episodes/**/*.parquet`. The videos of an episode are one group, which no fold divides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.files import read_json
from vitascope.core.names import canonical, split_of
from vitascope.datasets.readers.listing import VideoList, VideoRow
from vitascope.datasets.readers.tables import records_of
from vitascope.datasets.readers.video_files import relative_path

INFO = "meta/info.json"
AGAIN = "take a whole copy of the dataset"


def is_lerobot(root: Path) -> bool:
    """Whether a folder holds a LeRobot dataset."""
    path = root / INFO
    if not path.is_file():
        return False
    try:
        return "codebase_version" in read_json(path, AGAIN, dict[str, Any])
    except UserError:  # reading it tells why
        return True


def read_lerobot(root: Path) -> VideoList:
    """The episodes of a dataset; UserError if it has no videos, or a version before 2."""
    info = read_json(root / INFO, AGAIN, dict[str, Any])
    version = str(info.get("codebase_version", ""))
    if not version.lstrip("v").startswith(("2", "3")):
        raise UserError(f"{root / INFO}: version {version!r}; versions 2 and 3 are read: convert it with lerobot")
    with reading(root / INFO, AGAIN):
        cameras = [name for name, feature in info["features"].items() if feature.get("dtype") == "video"]
        template = str(info.get("video_path") or "")
        fps = float(info["fps"])
        splits = _splits(info.get("splits") or {})
    if not cameras or not template:
        raise UserError(f"{root}: no videos: its frames are images in tables, or it has no camera")
    rows = tuple(_rows(root, info, cameras, splits))
    if not rows:
        raise UserError(f"{root}/meta: no episodes")
    layout = f"LeRobot {version}: {len(rows) // len(cameras)} episodes at {fps:g} fps, cameras {', '.join(cameras)}"
    return VideoList(rows, f"{layout}, labels from tasks", grouped=True)


def _splits(stated: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """The splits as (name, first episode, episode after the last)."""
    found = []
    for name, text in stated.items():
        start, _, end = str(text).partition(":")
        if split_of(name) and start.isdecimal() and end.isdecimal():
            found.append((split_of(name), int(start), int(end)))
    return found if len(found) > 1 else []


def _rows(
    root: Path, info: Mapping[str, Any], cameras: list[str], splits: list[tuple[str, int, int]]
) -> Iterator[VideoRow]:
    for where, episode in _episodes(root):
        with reading(where, AGAIN):
            number = int(episode["episode_index"])
            tasks = [canonical(str(task)) for task in episode.get("tasks") or ()]
            places = {camera: _place(info, episode, number, camera) for camera in cameras}
        if not tasks:
            raise DamagedFileError(f"{where}: episode {number} has no task; {AGAIN}")
        split = next((name for name, start, end in splits if start <= number < end), "")
        for camera, (stated, span) in places.items():
            path = relative_path(stated, where)
            yield VideoRow(
                path=path,
                file=str(root / path),
                label=tasks[0],
                labels=tuple(dict.fromkeys(tasks)) if len(tasks) > 1 else None,
                exact_label=True,
                split=split,
                span=span,
                group=f"episode {number}",
                id=f"episode {number}/{camera}",
                missing="" if os.path.lexists(root / path) else "no such file",
            )


def _episodes(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The episodes with their locations in the metadata."""
    listed = root / "meta/episodes.jsonl"
    tables = [listed] if listed.is_file() else sorted((root / "meta/episodes").rglob("*.parquet"))
    if not tables:
        raise UserError(f"{root}/meta: neither episodes.jsonl nor episodes/; {AGAIN}")
    for table in tables:
        yield from records_of(table)


def _place(
    info: Mapping[str, Any], episode: Mapping[str, Any], number: int, camera: str
) -> tuple[str, tuple[float, float] | None]:
    """The file of an episode by a camera, and the time of the episode in it if others share it."""
    prefix = f"videos/{camera}/"
    if f"{prefix}chunk_index" in episode:
        path = info["video_path"].format(
            video_key=camera,
            chunk_index=int(episode[f"{prefix}chunk_index"]),
            file_index=int(episode[f"{prefix}file_index"]),
        )
        return path, (float(episode[f"{prefix}from_timestamp"]), float(episode[f"{prefix}to_timestamp"]))
    chunk = number // int(info.get("chunks_size") or 1000)
    return info["video_path"].format(episode_chunk=chunk, video_key=camera, episode_index=number), None
