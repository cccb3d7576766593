"""What a family of published models is: for each variant its card, its network's shape, its files, its names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders.revisions import PINNED
from vitascope.nn.configs.base import NetworkConfig

State = dict[str, Any]
"""Tensors by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLayout:
    """How one kind of official file names the tensors of the encoder, and what else it holds.

    Steps, in order: the first of `containers` that exists is opened ("" is the file itself); every tensor must begin
    with `prefix` or be known `surplus`; the prefix is cut; `renames` (regular expression, replacement) are applied one
    after the other; `convert` may do what names cannot say. Then separate queries, keys and values (`attn.q.weight` ..
    or `attn.q_bias` and `attn.v_bias`) become one `attn.qkv`, and axes of length one are dropped or added.
    """

    name: str
    """What kind of file this is, in words: `pre-training`, `fine-tuned`, `transformers`."""
    mark: str
    """Regular expression that some name in the container matches in such a file and no other kind of file."""
    containers: tuple[str, ...] = ("model", "module", "")
    prefix: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    surplus: tuple[str, ...] = ()
    """Regular expressions, matched from the start, of names (prefix still on) that an encoder has no use for."""
    transposed: tuple[str, ...] = ()
    """Our names of matrices that the file keeps the other way round."""
    convert: Callable[[State], State] | None = None
    refused: str = ""
    """Why such a file is not what is wanted, and what would be: a layout only to say so."""

    def __post_init__(self) -> None:
        for word in ("containers", "renames", "surplus", "transposed"):
            if isinstance(getattr(self, word), str):
                raise UserError(f"layout {self.name!r}: {word} is a string; a tuple of one ends with a comma: (x,)")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Where the official file is. The hub is asked at one revision; elsewhere there is an address or only a page."""

    file: str
    repo: str = ""
    """Hub id, owner/name."""
    commit: str = ""
    """On the hub, where it is not in `revisions.PINNED`."""
    url: str = ""
    """Direct address of a file that is not on the hub."""
    page: str = ""
    """Where a person finds the file, or accepts its terms."""
    gated: bool = False
    """Whether the terms must be accepted at `page` first."""

    @property
    def revision(self) -> str:
        """The commit on the hub; empty where none is known, and the newest is taken."""
        return self.commit or PINNED.get(self.repo, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One variant of a family: all that is needed to load its official file and to say what it is."""

    about: str
    """One line for `vitascope ls encoders`."""
    card: Card
    """Without the digest, which is the weights', and what the shape says (dim, params, gflops)."""
    shape: NetworkConfig
    layouts: tuple[CheckpointLayout, ...]
    """Of its files; none where only vectors were published."""
    source: WeightSource
    framewise: bool = False
    """An image model: applied to every frame, mean over the frames."""
    summary: str = ""
    """Another vector than the network's own: `mean` of the tokens, or `cls`, the class token."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What a user chose of card and shape (`settings`); it holds whatever a file or an `architecture` says."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Named sets of options; without one the card stands as it is, which is the report's setting (`paper`)."""
    from_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """From a transformers config.json to the names that `shape.told` understands, for folders that have one."""

    def described(self) -> Card:
        """The card with what the shape says: width, parameters, multiply-adds of one clip."""
        card, frames = self.card, self.card.frames
        macs = self.shape.macs(1, card.size) * frames if self.framewise else self.shape.macs(frames, card.size)
        macs = macs if frames else 0  # published vectors: what made them is not known so far
        width = self.shape.width if self.summary else self.shape.out
        return replace(card, dim=width, params=self.shape.params, gflops=round(macs / 1e9, 1))
