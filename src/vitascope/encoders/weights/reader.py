"""Official weight files, recognized by what they are, not by their suffix, and read without running what they hold."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.encoders.weights import safe_pickle

FORMAT = "vitascope"
"""Key of a converted file's metadata: its model and the numbers of its architecture, as JSON."""
NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What weights are called in a folder of a model, the better first."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".pyth", ".torch", ".npz", ".index.json")
OTHERS = {
    b"version https://git-lfs": "a git-lfs pointer, not the weights; run `git lfs pull` there, or download the file",
    b"\x1f\x8b": "packed with gzip; unpack it first",
    b"\xfd7zXZ\x00": "packed with xz; unpack it first",
    b"BZh": "packed with bzip2; unpack it first",
    b"\x89HDF\r\n": "an HDF5 file of Keras, which is not read; get the authors' PyTorch or safetensors file",
    b"GGUF": "a GGUF file, which is not read; get the authors' PyTorch or safetensors file",
    b"\x93NUMPY": "a single array without a name; put the arrays into an .npz",
}
"""First bytes of files that are no weights, or not yet, and what to do."""
AGAIN = "download it again and compare its size with the source's"
SWOLLEN = 50
"""Times its own size that a zip file may unpack to: weights hardly compress."""


@dataclass(frozen=True)
class Checkpoint:
    """What a weight file holds."""

    content: Mapping[str, Any]
    """Nested dictionaries of tensors and plain values, lists as dictionaries by place; types as in the file."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Of a folder's config.json; of a converted file the numbers of its architecture. Empty where there is none."""
    native: str = ""
    """The model a file was converted as (`vitascope convert`): its tensors have our names. Empty for official files."""
    files: tuple[Path, ...] = ()
    """What was read, config.json apart."""


def read(path: str | Path) -> Checkpoint:
    """The content of a weight file, of an index of shards, or of a folder with either and perhaps a config.json.

    A pickle is given tensors and plain values only; one that asks for anything else is refused by name. Tensors stay
    on the disk until they are used where the format allows. ValueError, one line with the remedy, for all else.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _folder(path)
        return _shards(path) if path.name.endswith(".index.json") else _file(path)
    except FileNotFoundError as error:
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file or folder{nearest(path.name, near)}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # names in damaged or hostile files may hold anything
        raise UserError(safe_pickle.printable(str(error))) from error.__cause__


def _folder(path: Path) -> Checkpoint:
    there = sorted(p.name for p in path.iterdir() if p.is_file() and p.name.endswith(SUFFIXES))
    indices = [name for name in there if name.endswith(".index.json")]
    whole = [name for name in there if name not in indices]
    found = [name for name in NAMES if name in there] or indices or whole
    if not found:
        raise UserError(f"{path}: no weights there; put the official file into it, or name the file itself")
    if len(found) > 1 and found[0] not in NAMES:
        raise UserError(f"{path}: {len(found)} weight files ({', '.join(found[:4])}); name the one to load")
    inner = read(path / found[0])
    config = path / "config.json"
    return replace(inner, config=_json(config)) if config.is_file() and not inner.native else inner


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); {AGAIN}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds {type(found).__name__}, not an object; {AGAIN}")
    return found


def _shards(path: Path) -> Checkpoint:
    """Every file of an index, as one; ValueError for shards that are absent, elsewhere, or lack what it lists."""
    listed = _json(path).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
        raise UserError(f"{path}: no weight_map, so no index of shards; name the weight file itself")
    files = sorted(set(listed.values()))
    for file in files:
        if Path(file).name != file or file.endswith(".index.json") or not (path.parent / file).is_file():
            raise UserError(f"{path}: shard {file} is not beside it; get all {len(files)} files of the index")
    content: dict[str, Any] = {}
    for file in files:
        content |= _file(path.parent / file).content
    if lost := [name for name in listed if name not in content]:
        raise UserError(f"{path}: {len(lost)} tensors are in no shard, first {lost[0]}; {AGAIN}")
    return Checkpoint(content, files=tuple(path.parent / file for file in files))


def _file(path: Path) -> Checkpoint:
    """One file, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise UserError(f"{path}: empty; {AGAIN}")
    for start, what in OTHERS.items():
        if head.startswith(start):
            raise UserError(f"{path}: {what}")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise UserError(f"{path}: a web page, not weights: the download was answered with text; get it in a browser")
    if head[:4] == b"PK\x03\x04":
        return Checkpoint(_archive(path), files=(path,))
    if head[8:9] == b"{":
        return _safetensors(path, int.from_bytes(head[:8], "little"))
    return Checkpoint(_torch(path, mapped=False), files=(path,))


def _archive(path: Path) -> dict[str, Any]:
    """A zip file: of torch, or of NumPy arrays."""
    try:
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
    except Exception as error:  # damaged lists of files fail in several ways
        raise UserError(f"{path}: not all there, or damaged ({error}); {AGAIN}") from error
    names = [entry.filename for entry in entries]
    if (much := sum(entry.file_size for entry in entries)) > SWOLLEN * path.stat().st_size:
        raise UserError(f"{path}: refused: it would unpack to {much / 1e9:.1f} GB, which no weights do; {AGAIN}")
    inner = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in inner:
        remedy = "load it with torch.jit.load where you trust it, and torch.save its state_dict()"
        raise UserError(f"{path}: refused: a TorchScript archive, which is a program and not only weights; {remedy}")
    if "data.pkl" in inner:
        return _torch(path, mapped=all(entry.compress_type == zipfile.ZIP_STORED for entry in entries))
    if names and all(name.endswith(".npy") for name in names):
        return {safe_pickle.printable(name): tensor for name, tensor in _arrays(path)}
    raise UserError(f"{path}: a zip file without weights ({', '.join(names[:3])}); unpack it and name the file inside")


def _torch(path: Path, *, mapped: bool) -> dict[str, Any]:
    """What torch.save wrote, today's or the old format, restricted to tensors and plain values.

    It may be `mapped` where nothing in it is packed: torch would take the packed bytes for numbers.
    """
    mapped = mapped and path.suffix != ".safetensors"  # torch goes by that suffix when it is given a path
    try:
        with open(path, "rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(safe_pickle.INERT):
            warnings.simplefilter("ignore")
            found = torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # unpickling what is damaged or hostile raises anything
        raise UserError(f"{path}: {safe_pickle.refusal(path, error, AGAIN)}") from error
    if not isinstance(found, (dict, list, tuple)):
        what = type(found).__name__
        raise UserError(f"{path}: holds one {what}, not tensors by name; torch.save the model's state_dict() instead")
    return safe_pickle.plain(found, _checked(path))


def _checked(path: Path) -> Callable[[str, Tensor], Tensor]:
    def check(name: str, tensor: Tensor) -> Tensor:
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            kind = "without numbers" if tensor.is_meta else "sparse or quantized"
            raise UserError(f"{path}: tensor {name} is {kind}, which no encoder reads; get the full file")
        return tensor.detach()

    return check


def _safetensors(path: Path, header: int) -> Checkpoint:
    if header + 8 > path.stat().st_size:
        raise UserError(f"{path}: not all there: its list of tensors is cut off; {AGAIN}")
    try:
        with safe_open(path, framework="pt") as file:
            content = {safe_pickle.printable(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            said: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path}: not all there, or damaged ({error}); {AGAIN}") from error
    if FORMAT not in said:
        return Checkpoint(content, files=(path,))
    try:
        told = json.loads(said[FORMAT])
        return Checkpoint(content, dict(told["architecture"]), safe_pickle.printable(str(told["model"])), (path,))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: its metadata is not as `vitascope convert` writes it; convert it again") from error


def _arrays(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The numbers of an .npz; arrays of text are left out, arrays of Python objects refused."""
    name = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                array = file[name]
                if array.dtype == "V2":  # bfloat16, for which NumPy has no name
                    yield name, torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
                elif array.dtype.kind in "fiubc":
                    yield name, torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=False))
    except Exception as error:  # zip, zlib and NumPy have errors of their own
        if "allow_pickle" in str(error):
            remedy = "get a file of plain arrays"
            raise UserError(f"{path}: refused: array {name} holds pickled Python objects; {remedy}") from error
        raise UserError(f"{path}: array {name or 'list'} cannot be read ({error}); {AGAIN}") from error
