"""What an encoder is: a callable with a card. Everything that embeds goes through this protocol."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope import catalogue
from vitascope.types import Card, nearest


class Tokens(NamedTuple):
    """What an encoder returns for n clips: a grid over time and space, and one summary vector a clip."""

    grid: Float[Tensor, "n t h w d"]
    clip: Float[Tensor, "n c"]


@runtime_checkable
class Encoder(Protocol):
    """A frozen model: normalised pixels in, `Tokens` out; `card` states all that can change its output."""

    card: Card

    def __call__(self, clips: Float[Tensor, "n 3 t y x"], /) -> Tokens:
        """Encode clips that are already resized to `card.size` and normalised as the card says."""
        ...


def misshapen(tokens: Any, card: Card, n: int) -> str:
    """What is wrong with the shapes of `tokens`, returned for `n` clips, in a few words; empty when nothing is."""
    if not isinstance(tokens, Tokens):
        return f"{type(tokens).__name__} where Tokens(grid, clip) is wanted"
    grid, clip = tuple(tokens.grid.shape), tuple(tokens.clip.shape)
    if len(grid) == 5 and grid[0] == n and clip == (n, card.dim) and tokens.clip.is_floating_point():
        return ""
    found = f"grid {' x '.join(map(str, grid))}, clip {' x '.join(map(str, clip))} of {tokens.clip.dtype}"
    return f"{found}; wanted n t h w d and floating {n} x {card.dim} (card.dim)"


class NetworkEncoder(nn.Module):
    """An Encoder of a network that returns a grid and a summary: evaluation mode, no gradients, a card.

    `loaded` says in a line how the weights came in, for `vitascope check`; empty where nothing is known.
    """

    def __init__(self, card: Card, network: nn.Module, *, loaded: str = "") -> None:
        super().__init__()
        self.card = card
        self.loaded = loaded
        self.network = network
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Encode clips; see `Encoder`."""
        returned = self.network(clips)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ValueError(f"its network returned {type(returned).__name__}; wanted a pair: a grid and the vectors")
        return Tokens(*returned)

    @torch.no_grad()
    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """Everything the network says of clips, by the field's names: `tokens`, `pooled`, `cls` ..."""
        parts: dict[str, Tensor] = self.network.parts(clips)  # type: ignore[operator]
        return parts


class FrameWise(nn.Module):
    """An image model applied to every frame, the mean over the frames as summary.

    The model returns one vector an image (the grid is then 1 x 1 a frame), or a grid (n h w d) and a vector (n c).
    """

    def __init__(self, model: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Frames as one batch of images; the time axis of the grid counts frames."""
        n, _, t, _, _ = clips.shape
        out = self.model(clips.transpose(1, 2).flatten(0, 1))
        grid, vector = (out[:, None, None], out) if isinstance(out, Tensor) else out
        return Tokens(grid.reshape(n, t, *grid.shape[1:]), vector.reshape(n, t, -1).mean(1))

    def parts(self, clips: Float[Tensor, "n 3 t y x"]) -> dict[str, Tensor]:
        """What the model's own `parts` says of every frame (n t ...), and `pooled`, the mean of its vectors."""
        n, _, t, _, _ = clips.shape
        frames: dict[str, Tensor] = self.model.parts(clips.transpose(1, 2).flatten(0, 1))  # type: ignore[attr-defined]
        parts = {name: part.unflatten(0, (n, t)) for name, part in frames.items()}
        return {**parts, "frame_embed": parts["pooled"], "pooled": parts["pooled"].mean(1)}


def framewise(model: Callable[[Tensor], Any], card: Card, *, loaded: str = "") -> Encoder:
    """Any image model as an Encoder: per-frame embedding, mean over the frames (as TWLV-I applies DFN).

    `model` takes normalised images (n 3 y x) and returns vectors (n c), or a pair of a grid (n h w d) and vectors.
    """
    return NetworkEncoder(card, FrameWise(model), loaded=loaded)


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Sixteen hex digits of the names, types, shapes and bits of `weights`."""
    total = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def call(encoder: Encoder, clips: Float[Tensor, "n 3 t y x"]) -> Any:
    """`encoder(clips)`, not checked yet.

    Whatever the model raises becomes a ValueError of one line that says whose it is and where.
    """
    try:
        return encoder(clips)
    except torch.OutOfMemoryError as error:
        many = f"{len(clips)} clips at once do not fit into the memory of {clips.device}"
        raise ValueError(f"{encoder.card.name}: {many}; give a smaller --batch") from error
    except Exception as error:
        raise ValueError(f"{encoder.card.name} failed: {_told(error)}; see `vitascope check`") from error


def load(
    encoder: str | Encoder, device: torch.device | str = "cpu", *, architecture: Mapping[str, Any] | None = None
) -> Encoder:
    """The encoder called `family/variant[+OPTION..][=WEIGHTS]`, `hf:ID_OR_FOLDER` or `module:function`, on `device`.

    An encoder is passed through. Options of a published model are `frames:8`, `size:336`, `pool:mean` and the like;
    `architecture` replaces numbers of its published shape, for small versions of it. ValueError with the nearest match
    for an unknown name, and whatever is wrong with the weights.
    """
    if architecture and not (isinstance(encoder, str) and _published(encoder)):
        raise ValueError(f"{encoder}: only published models (`vitascope ls encoders`) take an `architecture`")
    found = _by_name(encoder, architecture or {}) if isinstance(encoder, str) else encoder
    if not isinstance(found, Encoder) or not isinstance(found.card, Card):
        raise ValueError(f"{encoder}: gave {type(found).__name__}, which is no encoder{_remedy(found)}")
    return found.to(device) if isinstance(found, nn.Module) else found


def _is_here(name: str) -> bool:
    """Whether a name of an encoder is rather a file or a folder that holds one; names of families go before."""
    if name.partition("=")[0].partition("/")[0] in catalogue.families("encoders"):
        return False
    path = Path(name).expanduser()
    return path.suffix == ".safetensors" or (("/" in name or name in (".", "..")) and path.is_dir())


def _published(name: str) -> bool:
    """Whether a name is of a family of published models."""
    family, _, variant = name.partition("/")
    return bool(variant) and family in catalogue.families("encoders") and bool(catalogue.models(family))


def _remedy(found: Any) -> str:
    """What makes an encoder of something that is none."""
    if found is None:
        return "; does the function end with `return`?"
    if isinstance(found, nn.Module):
        return "; wrap it: vitascope.framewise(model, card) for images, vitascope.NetworkEncoder(card, model) for clips"
    return ": it needs a card and a call"


def _by_name(name: str, architecture: Mapping[str, Any]) -> Any:
    if name.startswith("hf:"):
        return importlib.import_module("vitascope.encoders.hf").build(name.removeprefix("hf:"))
    if ":" in name and not set("/+") & set(name.partition(":")[0]):
        return _outside(name)
    if _is_here(name):
        return importlib.import_module("vitascope.exported").load(name)
    name, _, weights = name.partition("=")
    family, _, variant = name.partition("/")
    if not variant:
        raise catalogue.unknown("encoders", name)
    if _published(name):
        weights = os.path.expanduser(weights)  # which shells do only where a word begins
        return importlib.import_module("vitascope.pretrained").load(name, weights, architecture)
    build = catalogue.builder("encoders", name)
    if weights:
        raise ValueError(f"{name}={weights}: {family} encoders read no weights; leave `={weights}` out")
    return build()


def outside(name: str) -> Callable[..., Any]:
    """The function that `module:function` stands for; modules are found on the path and in the current folder.

    ValueError where there is none such, or the module fails.
    """
    module, _, function = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name}: {error}; run where {module}.py is, or install it") from error
    except Exception as error:  # whatever somebody's module raises is for them to mend
        raise ValueError(f"{name}: importing {module} failed: {_told(error)}") from error
    build: Callable[..., Any] | None = getattr(loaded, function, None)
    if not callable(build):
        there = [word for word in vars(loaded) if not word.startswith("_")]
        raise ValueError(f"{name}: no function {function!r} in {module}{nearest(function, there)}")
    return build


def _outside(name: str) -> Any:
    """What `module:function` returns, called without arguments."""
    build, function = outside(name), name.partition(":")[2]
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise ValueError(f"{name}: {function} is called without arguments, but: {error}") from error
    try:
        return build()
    except Exception as error:  # the same
        raise ValueError(f"{name}: {function}() failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    """An error of code from outside in one line, with the place it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {said} ({place.filename}:{place.lineno})"
