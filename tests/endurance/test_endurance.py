"""No damaged file of any kind ends in a traceback, a hang, or values that were never written."""

from __future__ import annotations

from pathlib import Path

import pytest

from endurance import rounds
from endurance.harness import attack
from endurance.kinds import KINDS


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.heavy])
def test_a_few_files(name: str) -> None:
    assert not attack(name, 12, seed=1).faults


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_files(name: str) -> None:
    assert not attack(name, 60 if KINDS[name].heavy else 500, seed=2).faults


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="sees in /proc which processes work")
def test_a_killed_embedding(tmp_path: Path) -> None:
    world = rounds.run(tmp_path, ["kill-parents"], rounds=1, videos=12)["kill-parents"]
    assert not world.faults
    assert world.events["killed"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="sees in /proc which processes work")
def test_every_disturbance_of_embedding(tmp_path: Path) -> None:
    for name, world in rounds.run(tmp_path, list(rounds.DISTURBANCES), rounds=2, videos=60).items():
        assert not world.faults, name
