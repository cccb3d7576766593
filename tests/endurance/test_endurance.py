"""No damaged file of any kind ends in a traceback, a hang, or values that were never written."""

from __future__ import annotations

import pytest

from endurance.harness import attack
from endurance.kinds import KINDS


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.heavy])
def test_a_few_files(name: str) -> None:
    assert not attack(name, 12, seed=1).faults


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_files(name: str) -> None:
    assert not attack(name, 60 if KINDS[name].heavy else 500, seed=2).faults
