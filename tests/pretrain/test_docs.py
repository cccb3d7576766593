"""The recipe that docs/pretrain.md shows is one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope.encoders.load import load
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.train import TrainConfig, pretrain

PAGE = Path(__file__).parents[2] / "docs" / "pretrain.md"


def test_the_recipe_of_the_page_trains_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    there: dict[str, Any] = {}
    exec(code, there)
    recipe = there["recipe"](steps=2)
    recipe = replace(recipe, batch=4, data=((MotionLab(clips=8, quiet=True), 1.0),))
    out = pretrain(recipe, tmp_path / "run", TrainConfig(device="cpu", check_every=0, quiet=True))
    tokens = load(str(out), torch.device("cpu"))(torch.zeros(1, 3, 12, 56, 56))
    assert tokens.grid.shape == (1, 4, 4, 4, 128)
