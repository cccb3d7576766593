"""The official files that the tests keep in brief: the same as those they stand for, and never others."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers import FIXTURES, SHARED
from official_files import rebuild

KEPT = FIXTURES / "official_encoders"


def arrays(path: Path) -> Iterator[tuple[str, Any]]:
    """Everything in a file of weights, by its place there."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            yield from sorted(file.items())
        return
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    places = [("", content)]
    while places:
        place, value = places.pop()
        if isinstance(value, dict):
            places += [(f"{place}/{key}", inner) for key, inner in value.items()]
        else:
            yield place, value.numpy() if isinstance(value, torch.Tensor) else value


def test_every_number_is_the_official_file_s(tmp_path: Path) -> None:
    given = SHARED / "parity" / "encoders"
    if not given.is_dir():
        pytest.skip("the official files in full are absent: there is no ../shared/parity/encoders")
    rebuild(KEPT, tmp_path)
    made = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len([path for path in made if path.suffix == ".pth"]) == 25
    for path in made:
        official = given / path.relative_to(tmp_path)
        if path.suffix == ".json":
            assert json.loads(path.read_text()) == json.loads(official.read_text())
            continue
        for (place, ours), (known, theirs) in zip(arrays(path), arrays(official), strict=True):
            assert place == known
            assert type(ours) is type(theirs)
            if isinstance(ours, np.ndarray):
                assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
            else:
                assert ours == theirs


@pytest.mark.parametrize(("word", "other"), [("seed", 12), ("crc", 0)])
def test_other_numbers_are_let_into_no_file(word: str, other: int, tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "kept")
    described = json.loads((KEPT / "files.json").read_text())
    described["arrays"][0] |= {word: other}
    (tmp_path / "kept" / "files.json").write_text(json.dumps(described))
    with pytest.raises(AssertionError, match="draws other numbers than those of the official files"):
        rebuild(tmp_path / "kept", tmp_path / "made")
    assert not (tmp_path / "made").exists()
