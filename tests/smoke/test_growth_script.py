"""The curves of cost at small size: every part runs, what is known is not measured again, the page gets its tables."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def growth() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import growth
    finally:
        sys.path.remove(str(BENCHMARKS))
    return growth


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes import the package that is tested."""
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS.parent / "src"))


def test_rows_are_measured_once_and_written_into_the_page(
    growth: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = growth.vector_tasks

    def numpy_alone(*given: Any) -> Iterator[Any]:
        return islice(first(*given), 1)

    monkeypatch.setattr(growth, "vector_tasks", numpy_alone)
    page, kept = tmp_path / "cost.md", tmp_path / "growth.json"
    page.write_text("Before\n<!-- growth -->\nold\n<!-- end growth -->\nafter\n")
    call = ["--json", str(kept), "--doc", str(page), "--folder", str(tmp_path), "--stores", "1500", "--vectors", "120"]
    growth.main([*call, "--parts", "store,knn"])
    done = json.loads(kept.read_text())
    store, knn = done["parts"]["store"]["1500"], done["parts"]["knn"]["120"]
    assert store["add"] > 0
    assert 0 < store["again"] <= store["first"]
    assert set(knn["plain"]) == {"numpy"}
    assert knn["read"] == 2 * 1024 * 1120 / 2**20
    text = page.read_text()
    assert text.startswith("Before\n<!-- growth -->\nMeasured on ")
    assert text.endswith("<!-- end growth -->\nafter\n")
    assert "| 1,500 |" in text
    assert "old" not in text
    run = str(tmp_path / "run")
    imports_little("evaluate", str(tmp_path / "120" / "imported"), "-t", "knn", "-o", run, "-q")
    imports_little("report", run)
    done["parts"]["store"]["3000"] = {**store, "open": 4 * store["open"]}
    kept.write_text(json.dumps(done))
    monkeypatch.setattr(growth, "measured", lambda *_: pytest.fail("it was done"))
    growth.main([*call, "--parts", "store"])
    assert "From 1,500 to 3,000, opened, s grows with the power 2.00." in page.read_text()


def imports_little(*command: str) -> None:
    """Importing torch takes as long as all the rest of a small command, and so does scikit-learn."""
    code = (
        "import sys\nfrom vitascope.cli import main, stopping\nstopping.leave = lambda code: None\nmain.main()\n"
        "assert not {'torch', 'sklearn', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_export_imports_little(growth: ModuleType, tmp_path: Path) -> None:
    """Of videos without a split, in folders of classes."""
    task = growth.export_task(tmp_path, 300, growth.environment_with(1, tmp_path / "compiled"))
    imports_little(*task.command[len(growth.VITASCOPE) :])
    assert [file.name for file in (tmp_path / "export").iterdir()] == ["embeddings.parquet"]


def test_unknown_parts_and_pages_without_markers_are_refused(growth: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no part knm; there are store, knn"):
        growth.main(["--parts", "knm", "--json", str(tmp_path / "growth.json")])
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(SystemExit, match="no <!-- growth -->"):
        growth.write_between("text", tmp_path / "page.md")


@pytest.mark.slow
def test_every_part(growth: ModuleType, tmp_path: Path) -> None:
    small = {"workers": "1", "minutes": "1", "stores": "500", "vectors": "150", "linear": "150", "exported": "300"}
    sizes = [word for field, value in small.items() for word in (f"--{field}", value)]
    growth.main(["--json", str(tmp_path / "growth.json"), *sizes])
    parts = json.loads((tmp_path / "growth.json").read_text())["parts"]
    assert {name: len(rows) for name, rows in parts.items()} == dict.fromkeys(growth.PARTS, 1)
    assert all(row["peak"] > 0 for name in ("knn", "linear", "report", "export") for row in parts[name].values())
