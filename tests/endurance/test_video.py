"""Damaged videos end in pictures or in one line: a short round of what `endurance/video.py` does at length."""

from pathlib import Path

import pytest
from PIL import Image

from endurance.video import ending, mutants
from helpers import FIXTURES, blob, write_video


def test_damaged_videos_end_cleanly(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 90, 10)).save(tmp_path / "a.jpg")
    originals = [write_video(tmp_path / "a.mp4", blob(0, 0)), FIXTURES / "video" / "cut.webm", tmp_path / "a.jpg"]
    (tmp_path / "mutants").mkdir()
    for path in mutants(originals, tmp_path / "mutants", 45):
        assert ending(path).kind in ("decoded", "refused"), (path, ending(path))


@pytest.mark.parametrize("name", ["hung-00515-field.mp4", "hung-02261-field.mp4", "unclean-00042-splice.mp4"])
def test_files_that_hung_or_ended_uncleanly(shared: Path, name: str) -> None:
    path = shared / "cases" / "fuzzed" / "video" / name
    if not path.is_file():
        pytest.skip("the files are absent from ../shared/cases/fuzzed/video")
    kind, line = ending(str(path))
    assert (kind, bool(line)) in (("decoded", True), ("refused", True))
