"""MotionLab's long videos from files to scores: what sees how things move does better than what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import vitascope
from vitascope.evaluation.results import read

THUMBNAIL, ENERGY = "pixels/thumbnail", "pixels/motion-energy"
ASKED = {
    # the probe, and by how many points what sees motion is better; six procedures do not tell encoders apart
    "localize-tiny": ("localize+width=64+min_steps=500+lr=1e-3", 5),
    "segment": ("segment+width=64+epochs=10+lr=1e-3", 10),
}


@pytest.mark.slow
@pytest.mark.parametrize("suite", ASKED)
def test_motion_is_what_is_asked_for(suite: str, tmp_path: Path) -> None:
    task, better = ASKED[suite]
    vitascope("evaluate", f"motionlab/{suite}", "-m", THUMBNAIL, "-m", ENERGY, "-t", task, "-o", tmp_path / "run")
    reached = {r.encoder: next(iter(r.scores.values())).value for r in read(tmp_path / "run")}
    assert reached[ENERGY] > reached[THUMBNAIL] + better, reached
