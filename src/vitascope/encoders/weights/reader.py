"""Read official weight files, recognized by content rather than suffix, without running code from them."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitascope.core import plain_pickle, schema
from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import check_archive, check_safetensors_header, read_json, require_regular_file
from vitascope.core.text import nearest
from vitascope.encoders.weights import safe_pickle

FORMAT = "vitascope"
"""Metadata key of a converted file: its model and configuration values, JSON."""
NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""File names of weights in a model folder, in order of preference."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".pyth", ".torch", ".npz", ".index.json")
OTHERS = {
    b"version https://git-lfs": "a git-lfs pointer, not the weights; run `git lfs pull` there, or download the file",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it first",
    b"BZh": "compressed with bzip2; decompress it first",
    b"\x89HDF\r\n": "a Keras HDF5 file, which is not supported; use the authors' PyTorch or safetensors file",
    b"GGUF": "a GGUF file, which is not supported; use the authors' PyTorch or safetensors file",
    b"\x93NUMPY": "a single unnamed array; save the arrays as .npz",
}
"""Unsupported files by their first bytes, with the remedy."""
AGAIN = "download it again and compare its size with the source's"


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weight file."""

    content: Mapping[str, Any]
    """Nested dictionaries of tensors and plain values; lists are dictionaries by index; dtypes as in the file."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Content of a folder's config.json, or the configuration values of a converted file; empty if there are none."""
    native: str = ""
    """Model of a file written by `vitascope convert`, whose tensors have our names; empty for official files."""
    files: tuple[Path, ...] = ()
    """The files that were read, except config.json."""


@dataclass(frozen=True)
class ShardIndex:
    """An index of the files that hold the tensors of one model."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class ConvertedMetadata:
    """What a converted file says of itself."""

    model: str
    architecture: dict[str, Any]


def read(path: str | Path) -> Checkpoint:
    """Read a weight file, an index of shards, or a folder with either and optionally a config.json.

    Pickles may contain only tensors, arrays and plain values; any other class is rejected by name. Tensors are
    memory-mapped if the format allows. Raises `UserError`, one line with the remedy, if the file cannot be read.
    """
    path = Path(path)
    try:
        load = _folder if path.is_dir() else _shards if path.name.endswith(".index.json") else _file
        return load(path)
    except FileNotFoundError as error:
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file or folder{nearest(path.name, near)}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UserError as error:  # names in damaged or hostile files may hold anything
        raise UserError(safe_pickle.printable(str(error.args[0]))) from error.__cause__


def _folder(path: Path) -> Checkpoint:
    names = sorted(p.name for p in path.iterdir() if p.is_file() and p.name.endswith(SUFFIXES))
    indices = [name for name in names if name.endswith(".index.json")]
    whole = [name for name in names if name not in indices]
    candidates = [name for name in NAMES if name in names] or indices or whole
    if not candidates:
        raise UserError(f"{path}: no weights in it; put the official file there, or name the file itself")
    if len(candidates) > 1 and candidates[0] not in NAMES:
        raise UserError(f"{path}: {len(candidates)} weight files ({', '.join(candidates[:4])}); name the one to load")
    inner = read(path / candidates[0])
    config = path / "config.json"
    return replace(inner, config=_json(config)) if config.is_file() and not inner.native else inner


def _json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = read_json(path, AGAIN, dict[str, Any])
    return data


def _shards(path: Path) -> Checkpoint:
    """The shards of an index, merged; `UserError` for a missing shard, one in another folder, or missing tensors."""
    listed = read_json(path, "name the weight file itself", ShardIndex).weight_map
    files = sorted(set(listed.values()))
    for file in files:
        if Path(file).name != file or file.endswith(".index.json") or not (path.parent / file).is_file():
            raise UserError(f"{path}: shard {file} is not beside it; download all {len(files)} files of the index")
    content: dict[str, Any] = {}
    for file in files:
        content |= _file(path.parent / file).content
    if missing := [name for name in listed if name not in content]:
        raise UserError(f"{path}: {len(missing)} tensors are in no shard, e.g. {missing[0]}; {AGAIN}")
    return Checkpoint(content, files=tuple(path.parent / file for file in files))


def _file(path: Path) -> Checkpoint:
    """One file, by its first bytes."""
    require_regular_file(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise UserError(f"{path}: empty; {AGAIN}")
    for start, what in OTHERS.items():
        if head.startswith(start):
            raise UserError(f"{path}: {what}")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise UserError(f"{path}: a web page, not weights; download the file in a browser")
    if head[:4] == b"PK\x03\x04":
        return Checkpoint(_archive(path), files=(path,))
    if head[8:9] == b"{":
        return _safetensors(path)
    arrays = _pickled(path) if safe_pickle.is_bare(head) else {}
    return Checkpoint(arrays or _torch(path, mapped=False), files=(path,))


def _pickled(path: Path) -> dict[str, Tensor]:
    """The numeric arrays of a pickle of NumPy arrays in nested dictionaries, named by their keys with `/` between.

    Nothing is run. Empty for any other pickle, of which torch's reader says what it is.
    """
    try:
        content = plain_pickle.read(path, "weights")
    except DamagedFileError:
        raise
    except UserError:
        return {}
    return {safe_pickle.printable(name): _tensor(array) for name, array in _leaves(content) if _is_numeric(array)}


def _leaves(content: Any) -> Iterator[tuple[str, Any]]:
    """What nested dictionaries hold, by their keys with `/` between; one that occurs twice is opened once."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", content)]
    while todo:
        name, value = todo.pop()
        if not isinstance(value, dict):
            yield name, value
        elif id(value) not in seen:
            seen.add(id(value))
            todo += [(f"{name}/{key}".lstrip("/"), inner) for key, inner in value.items()]


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiubc"


def _tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of its own with the values of `array`, in the byte order of this machine."""
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _archive(path: Path) -> dict[str, Any]:
    """The content of a zip file written by torch or NumPy."""
    entries = check_archive(path, AGAIN)
    names = [entry.filename for entry in entries]
    inner = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in inner:
        remedy = "if you trust it, load it with torch.jit.load and torch.save its state_dict()"
        raise UserError(f"{path}: refused: a TorchScript archive, which contains a program; {remedy}")
    if "data.pkl" in inner:
        return _torch(path, mapped=all(entry.compress_type == zipfile.ZIP_STORED for entry in entries))
    if names and all(name.endswith(".npy") for name in names):
        return {safe_pickle.printable(name): tensor for name, tensor in _arrays(path)}
    raise UserError(f"{path}: a zip file without weights ({', '.join(names[:3])}); unpack it and name the file inside")


def _torch(path: Path, *, mapped: bool) -> dict[str, Any]:
    """The content of a file written by torch.save, in either format, restricted to tensors and plain values.

    Set `mapped` only for uncompressed files: torch would take compressed bytes for values.
    """
    safe_pickle.check_names(path, AGAIN)
    mapped = mapped and path.suffix != ".safetensors"  # torch goes by that suffix when it is given a path
    try:
        with open(path, "rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(safe_pickle.INERT):
            warnings.simplefilter("ignore")
            content = torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # unpickling what is damaged or hostile raises anything
        raise UserError(f"{path}: {safe_pickle.explain_refusal(path, error, AGAIN)}") from error
    if not isinstance(content, (dict, list, tuple)):
        kind = type(content).__name__
        raise UserError(f"{path}: contains one {kind}, not named tensors; torch.save the model's state_dict() instead")
    return safe_pickle.plain(content, _checked(path))


def _checked(path: Path) -> Callable[[str, Tensor], Tensor]:
    def check(name: str, tensor: Tensor) -> Tensor:
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            kind = "without values" if tensor.is_meta else "sparse or quantized"
            raise UserError(f"{path}: tensor {name} is {kind}, which is not supported; use the full file")
        return tensor.detach()

    return check


def _safetensors(path: Path) -> Checkpoint:
    try:
        check_safetensors_header(path)
        with safe_open(path, framework="pt") as file:
            content = {safe_pickle.printable(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata: dict[str, str] = file.metadata() or {}
    except (DamagedFileError, SafetensorError) as error:
        cause = str(error).removeprefix(f"{path}: ").partition(";")[0]
        raise UserError(f"{path}: incomplete or damaged ({cause}); {AGAIN}") from error
    if FORMAT not in metadata:
        return Checkpoint(content, files=(path,))
    where, again = f"{path}: its metadata", "not written by `vitascope convert`; convert it again"
    stored = schema.conform(schema.parse(metadata[FORMAT], where, again), ConvertedMetadata, where, again)
    return Checkpoint(content, stored.architecture, safe_pickle.printable(stored.model), (path,))


def _arrays(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The numeric arrays of an .npz file; text is skipped, Python objects are rejected."""
    name = ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                array = file[name]
                if array.dtype == "V2":  # bfloat16, for which NumPy has no name
                    yield name, torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
                elif _is_numeric(array):
                    yield name, _tensor(array)
    except Exception as error:  # zip, zlib and NumPy have errors of their own
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path}: refused: array {name} contains pickled Python objects; use a file of plain arrays"
            ) from error
        raise UserError(f"{path}: array {name or 'list'} cannot be read ({error}); {AGAIN}") from error
