"""Convert official weights: write the encoder's tensors under our names, with a card that records their source."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.core.types import Card, plain
from vitascope.encoders import options as settings
from vitascope.encoders import pretrained
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.reader import Checkpoint
from vitascope.encoders.weights.state_dict import Fit

WEIGHTS = "model.safetensors"
CARD = "card.json"


def convert(file: str | Path, model: str, output: str | Path, *, architecture: Mapping[str, Any] | None = None) -> str:
    """Convert the official weights of `family/variant` at `file` to model.safetensors and card.json in `output`.

    The folder, or its model.safetensors alone, loads as `family/variant=PATH` with the same digest; the values of
    `architecture` are stored with it. Returns a line about the coverage. Raises `UserError` for a file that does not
    fit, and for a folder with other content.
    """
    published, folder = settings.configured(model), Path(output)
    if not published.layouts:
        raise UserError(f"{model}: only its embeddings were released, there are no weights to convert")
    source = checkpoint.read(file)
    numbers = {**pretrained.stated_architecture(published, source, str(file)), **(architecture or {})}
    card, _, fit = pretrained.fit_weights(published, source, numbers, str(file))
    done = f"{card.name}, {fit.describe()}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not is_written(folder, card):
            raise UserError(f"{folder}: contains other files; name another folder or remove it")
        return f"{folder}: already converted: {done}"
    # a single key, since safetensors does not keep the order of several
    metadata = {checkpoint.FORMAT: json.dumps({"model": card.name.partition("+")[0], "architecture": plain(numbers)})}
    with replacing(folder) as aside:
        save_file(unshared(fit.state), aside / WEIGHTS, metadata=metadata)
        text = json.dumps(card_data(card, fit, numbers, source), ensure_ascii=False, indent=1, default=str)
        (aside / CARD).write_text(text + "\n", encoding="utf-8")
    return f"{folder}: {done}"


def card_data(card: Card, fit: Fit, numbers: Mapping[str, Any], source: Checkpoint) -> dict[str, Any]:
    """The content of card.json."""
    return {
        "format": checkpoint.FORMAT,
        "card": plain(card),
        "architecture": plain(numbers),
        "coverage": fit.describe(),
        "layout": fit.layout,
        "container": fit.container,
        "source": {path.name: sha256(path) for path in source.files},
    }


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex, as hubs report it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with separate memory for each tensor, as safetensors requires."""
    held: set[int] = set()
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in held
        held.add(storage.data_ptr())
        out[key] = tensor if whole else tensor.clone()
    return out


def is_written(folder: Path, card: Card) -> bool:
    """True if `folder` contains the complete converted weights of `card`."""
    try:
        written = read_json(folder / CARD, "", dict[str, Any])
        weights = checkpoint.read(folder / WEIGHTS)
        model = settings.configured(card.name)
        same = Card.from_data(written["card"]).behavior == card.behavior
        return same and pretrained.fit_weights(model, weights, weights.config, "")[0] == card
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `folder` when the block succeeds, and removed otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name[:100]}.{uuid.uuid4().hex[:12]}")
    aside.mkdir()
    try:
        yield aside
        os.replace(aside, folder)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) else ""
        raise UserError(f"{folder}: cannot be written ({why or error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
