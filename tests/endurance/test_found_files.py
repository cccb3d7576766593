"""Damaged files that once ended in a traceback or never: each is one clear line that names the place in the file."""

from __future__ import annotations

import logging
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import FIXTURES, official_encoders
from vitascope.core.arrays import read_arrays
from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.datasets import precomputed
from vitascope.datasets.audit import file_journal
from vitascope.datasets.readers.packed import read_packed
from vitascope.encoders import golden
from vitascope.encoders import precomputed as released
from vitascope.encoders.load import load
from vitascope.encoders.weights import reader, safe_pickle
from vitascope.evaluation import results
from vitascope.report.analysis.leaderboard import resolve_predictions
from vitascope.report.charts.svg_png import LETTER, truncate

FOUND = FIXTURES / "fuzzed"
SCORES = {"top-1": Score(value=50.0)}
ODD = results.Result(
    encoder="a", dataset="d", probe="linear", version=1, scores=SCORES, settings={}, protocol="p", n=1, expected=1
)


def refusal(read: object, *arguments: object) -> str:
    """The message of a file that is refused, without its path."""
    with pytest.raises(UserError) as caught:
        read(*arguments)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("00000-dataset.json", 'classes[5]: expected text, not ["06_v_swiping_up"]; import the features again'),
        ("00012-dataset.json", "folds[0].train[16]: expected text, not [[0, 1], [2]]; import the features again"),
        ("00022-dataset.json", "examples: [6][0]: expected text, not {}; import the features again"),
    ],
)
def test_datasets(name: str, place: str) -> None:
    path = FOUND / "dataset_json" / name
    assert refusal(lambda: precomputed.read(path, store=path)) == f"{path}: {place}"


@pytest.mark.parametrize("name", ["00055-results.jsonl:1", "00073-results.jsonl:5"])
def test_results(name: str, tmp_path: Path) -> None:
    file, _, line = name.partition(":")
    shutil.copy(FOUND / "results" / file, tmp_path / results.RESULTS)
    message = refusal(results.read, tmp_path)
    assert message.startswith(f"{tmp_path / results.RESULTS}:{line}: not a result (")
    assert message.endswith("; delete that line and run again")


@pytest.mark.parametrize("path", sorted((FOUND / "journal").iterdir()), ids=lambda path: path.name)
def test_a_damaged_line_of_a_journal_is_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "vitascope"):
        assert len(file_journal._read_journal(path)) == 31
    assert caplog.messages == [f"{path}: 1 lines are damaged and left out; their files are read again"]


@pytest.mark.parametrize("path", sorted((FOUND / "predictions").iterdir()), ids=lambda path: path.name)
def test_predictions(path: Path) -> None:
    assert "column label holds int64" in refusal(results.read_predictions, path)


@pytest.mark.parametrize("path", sorted((FOUND / "twelvelabs").iterdir()), ids=lambda path: path.name)
def test_released_arrays(path: Path) -> None:
    message = refusal(released.load_array, path, 2 if path.stem.endswith("_c") else 1)
    assert message.startswith(f"{path}: not a NumPy array (")


@pytest.mark.parametrize("path", sorted((FOUND / "parquet_videos").iterdir()), ids=lambda path: path.name)
def test_videos_in_parquet(path: Path) -> None:
    """Reading its statistics ends the process."""
    message = refusal(lambda: read_packed(path.parent, [path], unlabeled="none"))
    assert message.startswith(f"{path}: cannot be read (a row group does not have video.bytes as the file declares it)")


def test_an_archive_whose_entries_are_not_all_listed(tmp_path: Path) -> None:
    """A damaged length makes the second entry of the directory part of the first."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(2), b=np.ones(2))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 32] = 64
    path.write_bytes(data)
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["a.npy"]
    for read in (lambda: read_arrays(path, "again"), lambda: reader.read(path)):
        assert "incomplete or damaged (1 of 2 files are listed)" in refusal(read)


def test_an_archive_of_several_disks(tmp_path: Path) -> None:
    """Python raises an error even when it is asked whether this is an archive."""
    path = tmp_path / "a.pth"
    locator = b"PK\6\7" + bytes(12) + (2).to_bytes(4, "little")
    path.write_bytes(bytes(64) + locator + b"PK\5\6" + bytes(18))
    with pytest.raises(zipfile.BadZipFile):
        zipfile.is_zipfile(path)
    assert not list(safe_pickle._pickles(path))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings": {"probe": {"type": ["LinearProbe"]}}}, "settings: probe.type: expected text, not"),
        ({"scores": {"top-1": Score(50.0, 2.0**31, 71.0)}}, "an interval from 2.14748e+09 to 71"),
        ({"per_class": {"a": Score(50.0, 60.0, 40.0)}}, "an interval from 60 to 40"),
        ({"diagnosis": {"gains": {}, "best": []}}, "diagnosis: best: expected"),
    ],
)
def test_a_result_that_no_evaluation_gives(changes: dict[str, Any], why: str) -> None:
    assert why in refusal(results.Result.from_json, replace(ODD, **changes).to_json())


def test_a_name_of_a_hundred_thousand_letters_is_truncated_at_once() -> None:
    assert truncate("x" * 100_000, 30 * LETTER) == "x" * 29 + "…"
    assert truncate("x" * 30, 30 * LETTER) == "x" * 30


@pytest.mark.parametrize(("name", "why"), [("x" * 5000, "File name too long"), ("a\0b", "embedded null byte")])
def test_a_result_whose_predictions_cannot_be_a_file(name: str, why: str, tmp_path: Path) -> None:
    message = refusal(resolve_predictions, [replace(ODD, predictions=name)], tmp_path)
    assert message.endswith(f"' cannot be a file: {why}")
    assert len(message) < 400


def test_an_error_of_several_lines_is_one() -> None:
    assert str(UserError("a:\n b\n")) == "a:  b"


def test_an_index_of_fixtures(tmp_path: Path) -> None:
    shutil.copy(next((FOUND / "fixtures").iterdir()), tmp_path / "index.json")
    for name in ("dino-v2_b14.pth", "dino-v2_b14.io.npz"):
        shutil.copy(official_encoders() / name, tmp_path)
    rows = golden.run(tmp_path)
    assert rows
    assert all(not row.ok and row.why for row in rows)


@pytest.mark.parametrize("path", sorted((FOUND / "hf").iterdir()), ids=lambda path: path.name)
def test_folders_of_transformers(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    folder = tmp_path / "model"
    shutil.copytree(official_encoders() / "dino-v2_b14.hf", folder)
    shutil.copy(path, folder / ("config.json" if path.suffix == ".json" else "model.safetensors"))
    assert str(folder) in refusal(load, f"hf:{folder}")
    assert str(folder) in refusal(load, f"dinov2/base={folder}")
