"""Files of small official-layout weights and their known outputs, put together from what tests/fixtures keeps of them.

Weights and inputs of these files were drawn from numpy's generator by seed and name, so `files.json` says how, with a
checksum of every array; what was not drawn, the outputs of the authors' code above all, is in `kept.npz`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file


@cache
def stream(seed: int, key: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, key]).standard_normal(count).astype(np.float32)


def drawn(how: dict[str, Any], count: int) -> np.ndarray:
    """Numbers of a tensor, in a row; every step rounds to float32, as it did when the files were made."""
    if "clip" in how:
        numbers = stream(how["seed"], 77, count).reshape(how["shape"])
        across, along = (np.roll(numbers, 1, axis) for axis in how["clip"])
        return np.float32(0.7) * numbers + np.float32(0.3) * across + np.float32(0.3) * along
    numbers = stream(how["seed"], zlib.crc32(how["name"].encode()), count)
    if "root" in how:
        return numbers / np.float32(np.sqrt(how["root"]))
    numbers = numbers * np.float32(how["times"])
    return numbers + np.float32(how["plus"]) if "plus" in how else numbers


def array(how: dict[str, Any], kept: dict[str, np.ndarray]) -> np.ndarray:
    """One array as `files.json` describes it; no other is let through."""
    if "kept" in how:
        made = kept[how["kept"]]
    else:
        start, count = how.get("start", 0), int(np.prod(how["shape"]))
        made = drawn(how, start + count).reshape(-1)[start:].reshape(how["shape"])
    assert zlib.crc32(np.ascontiguousarray(made).tobytes()) == how["crc"], (
        f"numpy {np.__version__} draws other numbers than those of the official files: {how}"
    )
    return made


def filled(tree: Any, arrays: list[np.ndarray]) -> Any:
    """The content of a file: arrays in the places of their numbers."""
    if isinstance(tree, str) and tree.startswith("@"):
        return torch.from_numpy(arrays[int(tree[1:])].copy())
    if isinstance(tree, list):
        return [filled(inner, arrays) for inner in tree]
    if isinstance(tree, dict):
        if set(tree) == {"argparse.Namespace"}:
            return argparse.Namespace(**tree["argparse.Namespace"])
        return {name: filled(inner, arrays) for name, inner in tree.items()}
    return tree


def rebuild(source: Path, folder: Path) -> Path:
    """Write into `folder` the files that `source` describes, its index and other small ones as they are."""
    described = json.loads((source / "files.json").read_text(encoding="utf-8"))
    with np.load(source / "kept.npz", allow_pickle=False) as file:
        kept = dict(file)
    arrays = [array(how, kept) for how in described["arrays"]]
    for name, tree in described["files"].items():
        path, content = folder / name, filled(tree, arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".pth":
            torch.save(content, path)
        elif path.suffix == ".safetensors":
            save_file(content, path, metadata={"format": "pt"})
        else:
            np.savez(path, **{key: tensor.numpy() for key, tensor in content.items()})
    for path in source.rglob("*.json"):
        if path.name != "files.json":
            shutil.copy(path, folder / path.relative_to(source))
    stream.cache_clear()
    return folder
