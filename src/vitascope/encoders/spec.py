"""Specification of published models: card, network configuration, weight files and their tensor names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.types import Card
from vitascope.encoders.revisions import PINNED
from vitascope.nn.configs.base import NetworkConfig

VIEWS = ("report", "authors")
"""Values of the option `view`: the TWLV-I report's pixels, or those of a model's authors."""
VIEW_MEANING = "How frames are resized and cropped: as in the TWLV-I report, or by the authors' evaluation transform."
State = dict[str, Any]
"""Tensors by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLayout:
    """Tensor names and other content of one kind of official weight file.

    Steps, in order: open the first of `containers` that exists ("" is the file itself); require every tensor name to
    start with `prefix` or to match `surplus`; strip the prefix; apply `renames` (regular expression, replacement) one
    after the other; apply `convert`. Then separate queries, keys and values (`attn.q.weight` ... or `attn.q_bias` and
    `attn.v_bias`) are fused into one `attn.qkv`, and axes of length one are dropped or added.
    """

    name: str
    """Kind of file: `pre-training`, `fine-tuned`, `transformers`."""
    mark: str
    """Regular expression that matches some tensor name in this kind of file and in no other."""
    containers: tuple[str, ...] = ("model", "module", "")
    prefix: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    surplus: tuple[str, ...] = ()
    """Regular expressions, matched from the start of the full name, of tensors that the encoder does not need."""
    transposed: tuple[str, ...] = ()
    """Our names of the matrices that the file stores transposed."""
    convert: Callable[[State], State] | None = None
    """Conversion of the renamed tensors beyond renaming."""
    refused: str = ""
    """Reason that this kind of file is rejected, and which file to use instead."""

    def __post_init__(self) -> None:
        for word in ("containers", "renames", "surplus", "transposed"):
            if isinstance(getattr(self, word), str):
                raise UserError(f"layout {self.name!r}: {word} is a string, expected a tuple: (x,)")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Location of the official file: a hub repository at a fixed revision, a URL, a Python package, or a web page."""

    file: str
    """Name of the file, with its folder in the repository."""
    repo: str = ""
    """Hub repository, `owner/name`."""
    commit: str = ""
    """Commit on the hub if it is not in `revisions.PINNED`."""
    url: str = ""
    """URL of a file that is not on the hub."""
    package: str = ""
    """Python package, of the extra `real`, that the file is installed with."""
    page: str = ""
    """Web page to download the file or accept its terms."""
    gated: bool = False
    """The terms must be accepted at `page` before download."""

    @property
    def revision(self) -> str:
        """Commit on the hub; empty for the newest."""
        return self.commit or PINNED.get(self.repo, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One published model, a variant of a family: its card, network configuration and weight files."""

    about: str
    """One-line description for `vitascope ls encoders`."""
    card: Card
    """The card without the digest of the weights and the values that follow from `shape` (dim, params, gflops)."""
    shape: NetworkConfig
    layouts: tuple[CheckpointLayout, ...]
    """Layouts of its weight files; empty if only embeddings were released."""
    source: WeightSource
    framewise: bool = False
    """The model is an image model, applied to every frame and averaged over the frames."""
    weights: str = ""
    """Container of the weights in the file instead of the layout's own, `ema` for an averaged copy by any name."""
    summary: str = ""
    """Clip vector instead of the network's own: `mean` of the tokens, or `cls`, the class token."""
    authors: PixelTransform | None = None
    """The authors' evaluation transform, for `view=authors`; `Card.transform` says where it is defined."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Values of card and shape chosen by the user, which take precedence over a file or an `architecture`."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Named sets of options beside `paper`, the setting of the report, which is the default."""
    from_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Converts a transformers config.json to arguments of `shape.updated`."""

    @property
    def words(self) -> dict[str, Mapping[str, Any]]:
        """All named sets of options: `paper`, the setting of the report, and `native`, that of the authors."""
        view = {"view": "authors"} if self.authors else {}
        native = {**self.presets.get("native", {}), **view}
        return {"paper": {}, **self.presets, **({"native": native} if native else {})}

    def full_card(self) -> Card:
        """The card completed from the shape: width, parameters, multiply-adds per clip."""
        card, frames = self.card, self.card.frames
        macs = self.shape.macs(1, card.size) * frames if self.framewise else self.shape.macs(frames, card.size)
        macs = macs if frames else 0  # released embeddings: the network is unknown
        width = self.shape.width if self.summary else self.shape.out
        card = replace(card, dim=width, framewise=self.framewise)
        return replace(card, params=self.shape.params, gflops=round(macs / 1e9, 1))


CARD_TEMPLATE = Card(
    name="",
    digest="",
    dim=0,
    frames=16,
    size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""Card of a published model to be completed by its family: 16 frames at 224 pixels, normalized as for ImageNet."""
IMAGE_CARD = replace(CARD_TEMPLATE, image="single", sampling="image model; no official video sampling")
"""Card of an image model to be completed by its family."""
CLIP_CARD = replace(IMAGE_CARD, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
"""Card of an image model normalized as CLIP."""
OPENCV = PixelTransform(antialias=False)
"""Short side with OpenCV's bilinear filter, as in the evaluation code of VideoMAE and its descendants."""
SLOWFAST = PixelTransform(antialias=False, crop_rounding="up")
"""Short side with torch's bilinear filter, which is OpenCV's, as in the test code of SlowFast and PyTorchVideo."""
OPENCV_SOURCE = "short side to the input size by cv2.resize (bilinear, not antialiased), center crop"
FINE_TUNED = CheckpointLayout(
    name="fine-tuned",
    mark=r"fc_norm\.weight$",
    containers=("module", "model", ""),
    renames=((r"^fc_norm\.", "norm."),),
    surplus=(r"head\.",),
)
"""Layout of a video transformer fine-tuned with the MAE code base: `fc_norm` over the mean of the tokens."""


def rejected(layouts: Mapping[str, CheckpointLayout]) -> dict[str, CheckpointLayout]:
    """The layouts of each kind of variant as errors, for files loaded under the name of another kind."""
    return {
        kind: replace(layout, refused=f"it is a {layout.name} file; load it as a -{kind} variant")
        for kind, layout in layouts.items()
    }
