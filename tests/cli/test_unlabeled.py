"""Commands that need no classes take a folder of videos without any, and say so where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import vitascope
from vitascope.cli.options import open_videos
from vitascope.core.errors import UserError


def test_only_what_needs_classes_asks_for_them(videos: Path) -> None:
    assert len(open_videos(str(videos / "down"), labeled=False).examples) == 6
    with pytest.raises(UserError, match="no videos in class folders"):
        open_videos(str(videos / "down"))


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("embed", "a folder of videos"),
        ("map", "a folder of videos"),
        ("checkup", "a folder of videos"),
        ("evaluate -t direction", "a folder of videos"),
        ("evaluate -t knn", "a folder of class folders"),
    ],
)
def test_a_folder_that_is_not_there(command: str, wanted: str, tmp_path: Path) -> None:
    name, *more = command.split()
    done = vitascope(name, tmp_path / "nothing", "-m", "pixels/thumbnail", *more, cwd=tmp_path, code=2)
    assert f"nothing: no such folder; give {wanted}, " in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
