"""Unpickle weight files without running code: inert stand-ins for known classes, and errors that name all others."""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from vitascope.core.errors import UserError

SCANNED = 1 << 26
"""Maximum size of a rejected pickle that is searched for names, bytes."""
LONGEST_NAME = 1000
"""Letters of the name of a class, with its module."""
PROTOCOLS = re.compile(rb"\x80[\x02-\x05]")
TORCH = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""What files of torch.save in its older format have after the number of the protocol."""


class Inert:
    """Stand-in for an object that training code stores beside the weights; accepts any arguments, stores nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """An empty object; arguments are ignored."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Ignore the pickled state."""


class InertDict:
    """Stand-in for a subclass of dict; creates a plain dictionary, the only kind that torch fills."""

    def __new__(cls, *args: Any) -> OrderedDict[str, Any]:  # type: ignore[misc]
        """An empty dictionary; arguments are ignored."""
        return OrderedDict()


OBJECTS = """
argparse.Namespace types.SimpleNamespace typing.Any
pathlib.Path pathlib.PurePath pathlib.PosixPath pathlib.PurePosixPath pathlib.WindowsPath pathlib.PureWindowsPath
pathlib._local.PosixPath pathlib._local.WindowsPath
numpy.dtype numpy.ndarray numpy.float64 numpy.float32 numpy.int64 numpy.bool_
numpy.core.multiarray.scalar numpy.core.multiarray._reconstruct
numpy._core.multiarray.scalar numpy._core.multiarray._reconstruct
omegaconf.dictconfig.DictConfig omegaconf.listconfig.ListConfig
omegaconf.base.ContainerMetadata omegaconf.base.Metadata
omegaconf.nodes.AnyNode omegaconf.nodes.StringNode omegaconf.nodes.IntegerNode omegaconf.nodes.FloatNode
omegaconf.nodes.BooleanNode omegaconf.nodes.PathNode omegaconf.nodes.EnumNode
builtins.dict builtins.list builtins.tuple builtins.int builtins.float builtins.str builtins.bool
deepspeed.runtime.fp16.loss_scaler.LossScaler deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler
"""
"""Settings, paths, scalars and loss scalers that training code stores; none of the named packages is imported."""
DICTS = """
collections.defaultdict yacs.config.CfgNode fvcore.common.config.CfgNode
easydict.EasyDict utils.easydict.EasyDict addict.addict.Dict
"""
INERT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((Inert, name) for name in OBJECTS.split()),
    *((InertDict, name) for name in DICTS.split()),
]
"""Allow-list for `torch.load` beyond tensors and plain values: stand-ins under the names they replace."""


def plain(content: Any, check: Callable[[str, Tensor], Tensor]) -> dict[str, Any]:
    """Nested dictionaries of plain values and of tensors, each replaced by `check(name, tensor)`; lists by index.

    Repeated and recursive objects are converted once.
    """
    made: dict[int, dict[str, Any]] = {}
    todo: list[Any] = []

    def of(name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            return check(name, value)
        if not isinstance(value, (dict, list, tuple)):
            return value if isinstance(value, (str, int, float)) else None
        if id(value) not in made:
            made[id(value)] = {}
            todo.append(value)
        return made[id(value)]

    whole: dict[str, Any] = of("", content)
    while todo:
        value = todo.pop()
        # an attribute set by the pickle may hide the method of the same name
        pairs = dict.items(value) if isinstance(value, dict) else enumerate(value)
        named = ((printable(str(key)), inner) for key, inner in pairs if isinstance(key, (str, int)))
        made[id(value)] |= {name: of(name, inner) for name, inner in named}
    return whole


def printable(text: str) -> str:
    """`text` with unprintable characters, which could garble a message or a terminal, replaced by `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def is_bare(head: bytes) -> bool:
    """Whether a file that begins with `head` is a pickle, but not torch's."""
    return PROTOCOLS.match(head) is not None and not head.startswith(TORCH, 2)


def explain_refusal(path: Path, error: Exception, again: str) -> str:
    """Why torch.load rejected a file: the classes its pickle refers to, or how it is damaged."""
    message = " ".join(str(error).split())
    match = re.search(r"GLOBAL (\S+) (?:was not|whose)", message)
    foreign = [match[1] if "." in match[1] else f"builtins.{match[1]}"] if match else _foreign(path)
    if foreign:
        remedy = "use a .safetensors file or, if you trust the file, torch.save its state_dict() alone"
        return f"refused: its pickle would run {', '.join(foreign[:3])}, which weights do not need; {remedy}"
    with open(path, "rb") as file:
        head = file.read(16)
    if not head.startswith(b"PK") and not PROTOCOLS.match(head):
        return f"unknown kind of weight file (it begins with {head!r}); use the authors' file"
    if "magic number" in message or "Unsupported operand" in message:
        return "a pickle not written by torch.save with its defaults; torch.save the state_dict() instead"
    match = re.search(r"WeightsUnpickler error: (.*?)(?: Check the documentation|$)", message)
    why = (match[1] if match else message)[:160].strip() or type(error).__name__
    return f"incomplete or damaged ({why}); {again}"


def check_names(path: Path, again: str) -> None:
    """UserError for a name of absurd length in a pickle, on which torch's own error message takes minutes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged texts
        if any(len(name) > LONGEST_NAME for data in _pickles(path) for name in _globals(data)):
            raise UserError(f"{path}: damaged (a class name of over {LONGEST_NAME} letters); {again}")


def _foreign(path: Path) -> list[str]:
    """Names that the pickles of a file refer to and a weight file does not need, found without running them."""
    inert = {name for _, name in INERT}  # type: ignore[misc]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged texts
        names = dict.fromkeys(name for data in _pickles(path) for name in _globals(data))
    return [name for name in names if name not in inert and not name.startswith(("torch.", "collections.", "_codecs."))]


def _pickles(path: Path) -> Iterator[bytes]:
    try:
        if not zipfile.is_zipfile(path):
            with open(path, "rb") as file:
                yield file.read(SCANNED)
            return
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".pkl") and info.file_size <= SCANNED:
                    yield archive.read(info)
    except Exception:  # zip and compression libraries raise their own errors, which torch has reported already
        return


def _globals(data: bytes) -> Iterator[str]:
    """Dotted names that consecutive pickles refer to, until one does not parse."""
    stream = io.BytesIO(data)
    try:
        while True:
            texts: list[Any] = [None, None]
            memo: dict[Any, Any] = {}
            for op, arg, _ in pickletools.genops(stream):
                if op.name == "GLOBAL":
                    yield str(arg).replace(" ", ".")
                elif op.name == "STACK_GLOBAL":
                    yield f"{texts[-2]}.{texts[-1]}"
                elif op.name == "MEMOIZE":
                    memo[len(memo)] = texts[-1]
                elif op.name.endswith("PUT"):
                    memo[arg] = texts[-1]
                elif op.name.endswith("GET"):
                    texts.append(memo.get(arg))
                elif "UNICODE" in op.name or "STRING" in op.name:
                    texts.append(arg)
    except ValueError:  # the end, or the bytes of the tensors
        return
