"""The script for a GPU, at small size on the CPU: what it checks holds, and it goes on where it was stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import gpu
        import gpu_checks  # noqa: F401
        import gpu_speed  # noqa: F401
    finally:
        sys.path.remove(str(BENCHMARKS))
    return gpu


def rows(folder: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_parts_run_once_and_are_cut_off_in_time(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["--small", "--output", str(tmp_path), "--parts", "encoders"]
    assert gpu.main(call) == 0
    state = json.loads((tmp_path / "gpu.json").read_text())
    found = state["parts"]["encoders"]
    assert (found["status"], state["device"]) == ("done", "cpu")
    assert [row["ok"] for row in found["rows"]] == [None, True, True, True]
    assert found["rows"][2]["value"] > 1e-4, "bfloat16 is not float32"
    assert "| float32: largest difference" in (tmp_path / "gpu.md").read_text()
    assert gpu.main(call) == 0
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == state["parts"], "it was done"
    monkeypatch.setitem(gpu.PARTS, "probes", gpu.PARTS["probes"]._replace(limit=0.1))
    assert gpu.main([*call, "probes"]) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert (parts["encoders"], parts["probes"]["status"]) == (found, "out of time")


def test_probes_and_a_part_that_fails(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.child("probes", "cpu", tmp_path, small=True) == 0
    assert len(kept := [row["ok"] for row in rows(tmp_path, "probes")]) == 5
    assert all(kept)
    checks = sys.modules["gpu_checks"]
    monkeypatch.setattr(checks, "_on", lambda features, where: 1 / 0)
    assert gpu.child("probes", "cpu", tmp_path, small=True) == 1
    assert rows(tmp_path, "probes")[-1]["ok"] is False


def test_a_wrong_output_is_seen(gpu: ModuleType) -> None:
    distance = sys.modules["gpu_checks"]._distance
    right = {"pooled": [torch.arange(8.0)]}
    assert distance(right, {"pooled": [torch.arange(8.0)]}) == (0.0, 0.0)
    wrong = torch.arange(8.0)
    wrong[3] += float(wrong.std())
    assert distance(right, {"pooled": [wrong]}) == pytest.approx((1.0, 1 / 8**0.5))
    assert distance(right, {"pooled": [wrong / 0]}) == (float("inf"),) * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretraining", "speed", "pipeline", "knn", "steps"])
def test_the_other_parts(gpu: ModuleType, tmp_path: Path, name: str) -> None:
    code = gpu.main(["--small", "--output", str(tmp_path), "--parts", name])
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"][name]["status"] == "done"
    assert code == 0
