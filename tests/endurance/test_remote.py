"""A store at S3 is whole after failing requests and killed writers."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("moto", reason="moto's server is not installed")

from endurance import remote


@pytest.mark.slow
def test_a_round_at_s3(tmp_path: Path) -> None:
    lab = remote.run(tmp_path, rounds=1, videos=30)
    assert not lab.faults
    assert sum(lab.events[fault] for fault in remote.FAULTS)
