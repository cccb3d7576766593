"""Official weights rewritten once: the encoder's tensors under our names, and a card that says where they came from."""

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
from vitascope.core.types import Card, plain
from vitascope.encoders import options as settings
from vitascope.encoders import pretrained
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.reader import Checkpoint
from vitascope.encoders.weights.state_dict import Fit

WEIGHTS = "model.safetensors"
CARD = "card.json"


def convert(file: str | Path, model: str, output: str | Path, *, architecture: Mapping[str, Any] | None = None) -> str:
    """Write the official weights at `file`, of `family/variant`, as model.safetensors and card.json into `output`.

    The folder, and its model.safetensors alone, load as `family/variant=PATH` with the same digest; the numbers of
    `architecture` come along. Returns the coverage in a line. ValueError for a file that does not fit, and for a folder
    that holds anything but these very weights.
    """
    published, folder = settings.configured(model), Path(output)
    if not published.layouts:
        raise UserError(f"{model} has no weights to convert; it is the vectors that were published")
    source = checkpoint.read(file)
    numbers = {**pretrained.stated(published, source, str(file)), **(architecture or {})}
    card, _, fit = pretrained.loaded(published, source, numbers, str(file))
    done = f"{card.name}, {fit.told()}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not written(folder, card):
            raise UserError(f"{folder}: not empty, and not these weights; name another folder, or remove it")
        return f"{folder}: already there: {done}"
    # one key, for safetensors writes several in any order
    said = {checkpoint.FORMAT: json.dumps({"model": card.name.partition("+")[0], "architecture": plain(numbers)})}
    with replacing(folder) as aside:
        save_file(apart(fit.state), aside / WEIGHTS, metadata=said)
        text = json.dumps(about(card, fit, numbers, source), ensure_ascii=False, indent=1, default=str)
        (aside / CARD).write_text(text + "\n", encoding="utf-8")
    return f"{folder}: {done}"


def about(card: Card, fit: Fit, numbers: Mapping[str, Any], source: Checkpoint) -> dict[str, Any]:
    """The content of card.json."""
    return {
        "format": checkpoint.FORMAT,
        "card": plain(card),
        "architecture": plain(numbers),
        "coverage": fit.told(),
        "layout": fit.layout,
        "container": fit.container,
        "source": {path.name: sha256(path) for path in source.files},
    }


def sha256(path: Path) -> str:
    """Of a file's bytes, as the places that publish weights state it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with memory of its own for each tensor, as safetensors demands."""
    held: set[int] = set()
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in held
        held.add(storage.data_ptr())
        out[key] = tensor if whole else tensor.clone()
    return out


def written(folder: Path, card: Card) -> bool:
    """Whether a folder holds the weights of `card`, whole, as this module writes them."""
    try:
        told = json.loads((folder / CARD).read_text(encoding="utf-8"))
        again = checkpoint.read(folder / WEIGHTS)
        model = settings.configured(card.name)
        return told["card"] == plain(card) and pretrained.loaded(model, again, again.config, "")[0] == card
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to fill; it takes its place, if that is free, when the block ends well, else it goes."""
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
