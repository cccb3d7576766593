"""Pickles of weight files, without what they may run: inert stand-ins, and the names of what was refused."""

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

SCANNED = 1 << 26
"""Bytes of a refused pickle that are searched for names."""
PROTOCOLS = re.compile(rb"\x80[\x02-\x05]")


class Inert:
    """Takes the place of an object that trainers store beside the weights: made of anything, holding nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """An empty object, whatever is given."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Forget what the pickle would set."""


class InertDict:
    """Takes the place of a dictionary with a class of its own: a plain one, which is all that torch will fill."""

    def __new__(cls, *args: Any) -> OrderedDict[str, Any]:  # type: ignore[misc]
        """An empty dictionary, whatever is given."""
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
"""Settings, paths, scalars and loss scalers that trainers store. None of the named packages is imported."""
DICTS = """
collections.defaultdict yacs.config.CfgNode fvcore.common.config.CfgNode
easydict.EasyDict utils.easydict.EasyDict addict.addict.Dict
"""
INERT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((Inert, name) for name in OBJECTS.split()),
    *((InertDict, name) for name in DICTS.split()),
]
"""The allow-list beyond tensors and plain values, as torch takes it: stand-ins under the names of what they replace."""


def plain(content: Any, check: Callable[[str, Tensor], Tensor]) -> dict[str, Any]:
    """Nested dictionaries of tensors, each as `check` of its name returns it, and plain values; lists by place.

    What a pickle repeats or puts into itself is made once.
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
    """Text from a file without line ends and what else could garble a message or a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def refusal(path: Path, error: Exception, again: str) -> str:
    """Why a file that torch.load would not read is none: what its pickle asked for, or what is wrong with it."""
    said = " ".join(str(error).split())
    named = re.search(r"GLOBAL (\S+) (?:was not|whose)", said)
    asked = [named[1] if "." in named[1] else f"builtins.{named[1]}"] if named else _foreign(path)
    if asked:
        remedy = "get a .safetensors file, or torch.save the state_dict() alone where you trust the file"
        return f"refused: its pickle asks for {', '.join(asked[:3])}, which weights do not need; not run; {remedy}"
    with open(path, "rb") as file:
        head = file.read(16)
    if not head.startswith(b"PK") and not PROTOCOLS.match(head):
        return f"no kind of weight file that is known (it begins with {head!r}); get the authors' file"
    if "magic number" in said or "Unsupported operand" in said:
        return "a pickle that torch.save did not write as it does by default; torch.save the state_dict() instead"
    known = re.search(r"WeightsUnpickler error: (.*?)(?: Check the documentation|$)", said)
    why = (known[1] if known else said)[:160].strip() or type(error).__name__
    return f"not all there, or damaged ({why}); {again}"


def _foreign(path: Path) -> list[str]:
    """What the pickles of a file ask for and no weight file does, found without running them."""
    inert = {name for _, name in INERT}  # type: ignore[misc]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged texts
        names = dict.fromkeys(name for data in _pickles(path) for name in _globals(data))
    return [name for name in names if name not in inert and not name.startswith(("torch.", "collections.", "_codecs."))]


def _pickles(path: Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            yield file.read(SCANNED)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".pkl") and info.file_size <= SCANNED:
                    yield archive.read(info)
    except Exception:  # zip files and their packings fail with errors of their own, which torch has told already
        return


def _globals(data: bytes) -> Iterator[str]:
    """Dotted names that one pickle after the other asks for, until one does not parse."""
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
