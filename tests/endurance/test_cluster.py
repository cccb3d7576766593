"""A few kills of everything that a cluster consists of, on real raylets."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_nothing_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    from endurance.cluster import disturb

    outcome = disturb(tmp_path, kills=6, count=120, seed=3)
    assert (sum(outcome.kills.values()), outcome.faults) == (6, [])
