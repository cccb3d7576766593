"""The examples of the documentation run as they are printed."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from vitascope.core.types import Example
from vitascope.features.base import StoredFeatures

DOCS = Path(__file__).parents[2] / "docs"


def example(page: str, heading: str, folder: Path) -> ModuleType:
    """The first Python block below a heading, imported as a module."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block, f"{page}: no example below {heading}"
    path = folder / f"example_of_{Path(page).stem.replace('-', '_')}.py"
    path.write_text(block[1], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dataset_reads_its_list(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,label,side\na,open,train\nb,close,train\nc,open,test\nd,wait,test\n")
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / "videos" / f"{name}.mp4").touch()
    dataset = example("datasets.md", "Add a dataset", tmp_path).build(root=tmp_path)
    assert (dataset.name, dataset.axis, dataset.official_counts) == ("mine", "motion", {"train": 80, "test": 20})
    assert [(e.id, dataset.classes[e.truth]) for e in dataset.examples] == [
        ("a", "open"),
        ("b", "close"),
        ("c", "open"),
        ("d", "wait"),
    ]
    assert list(dataset.missing_files) == ["d"]


def test_the_probe_finds_the_nearest_mean(tmp_path: Path) -> None:
    probe = example("probes.md", "Add a probe", tmp_path).build()
    rng = np.random.default_rng(0)
    truths = [i % 3 for i in range(30)]
    values = torch.from_numpy(rng.normal(size=(30, 4)).astype(np.float32)) + 20 * torch.eye(4)[:3][truths]
    features = StoredFeatures(
        examples=[Example(id=str(i), path="", truth=t) for i, t in enumerate(truths)],
        classes=("a", "b", "c"),
        values=values,
        offsets=torch.arange(31),
    )
    predictions = probe.predict(features, features, seed=0)
    assert [int(np.argmax(p)) for p in predictions] == truths
    assert probe.score(predictions, truths)["top-1"] == 100
    assert probe.outcomes(predictions, truths) == [100.0] * 30


def test_the_encoder_family_has_a_card(tmp_path: Path) -> None:
    from vitascope.encoders.spec import Model

    model: Model = example("encoders-add.md", "4. A family in the package", tmp_path).MODELS["base"]
    card = model.full_card()
    assert (card.name, card.dim) == ("mine/base", 768)
    patch, block, norm = 768 * (3 * 2 * 16 * 16 + 1), 12 * 768**2 + 13 * 768, 2 * 768
    assert card.params == patch + 12 * block + norm
