"""pyarrow without pandas: in a process of its own, since it is decided at the first array."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_arrays_do_not_import_pandas_and_data_frames_still_work() -> None:
    pytest.importorskip("pandas")
    plain = "import sys, pyarrow; pyarrow.table({'a': [1]}); print('pandas' in sys.modules)"
    assert run(plain) == "True"  # otherwise the function is not needed any more
    skipped = f"from vitascope.core.arrow import skip_pandas; skip_pandas(); {plain}"
    assert run(skipped) == "False"
    assert run(f"{skipped}; print(pyarrow.table({{'a': [7]}}).to_pandas().a[0])") == "False\n7"
