"""The settings behind a result by the names under which papers state theirs, and the first that differs.

`settings_of` reads them from the plain data of a result; what it does not hold is unknown and never differs. `ORDER` is
the order in which differences are named: first what was scored, then with which weights, then which pixels and tokens
the encoder and the probe saw, then how the probe was trained, last what seldom moves a score by a point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from math import isclose
from typing import Any, NamedTuple

from vitascope.core.text import nearest
from vitascope.core.types import Card
from vitascope.datasets.readers.annotation_files import labels
from vitascope.encoders.catalog import cards
from vitascope.evaluation.results import Result

ORDER = (
    *("examples", "data", "classes", "altered clips", "training share", "test examples", "missing videos"),
    *("checkpoint", "architecture", "head", "pooling"),
    *("sampler", "clip length", "clip stride", "frame stride", "views", "frames", "resolution", "crop", "aggregation"),
    *("clip vectors", "time code"),
    *("label order", "k", "tau", "center", "selection", "external", "fit", "length", "depth", "token layers"),
    *("training sampler", "training stride", "flip", "crop area", "crop ratio", "optimizer", "lr", "weight_decay"),
    *("epochs", "warmup", "batch", "layers", "width", "mlp", "box_layers", "dropout", "drop_path", "heads tried"),
    *("resampling", "precision", "seeds"),
)
"""All settings, those that explain the most first."""
CLOSE = 5e-3
"""Relative difference up to which numbers are equal: papers print a ratio of 4/3 as 1.33."""
HEADS = {
    "LinearProbe": "linear",
    "AttentiveProbe": "attentive",
    "KNNProbe": "k nearest neighbors",
    "LocalizationProbe": "ActionFormer",
    "SegmentationProbe": "ASFormer",
    "DetectionProbe": "end-to-end decoder",
    "RoiProbe": "given boxes",
}
"""Types of probes as papers call them."""
VIEW = ("type", "sampler", "reduce", "stored")
"""Fields of a view that are compared by other names, or that move no score."""
PERTURBED = ("Reversed", "Shuffled", "Frozen", "Slowed")
SAMPLERS = {"RandomClip": "random clip"}
"""Types of samplers with other names than their own in small letters."""


class Differing(NamedTuple):
    """A setting of a result that differs from a paper's."""

    name: str
    ours: str
    theirs: str
    assumed: bool = False
    """Whether the paper does not state it itself."""

    def __str__(self) -> str:
        return f"{self.name} {self.ours}, published {self.theirs}{' (assumed)' * self.assumed}"


def differences(
    result: Result, stated: Mapping[str, Any], assumed: Mapping[str, Any], model: str, datasets: Sequence[str]
) -> list[Differing]:
    """The settings of a result that differ from those of published scores of `model`, in `ORDER`."""
    ours = settings_of(result)
    general = {"data": datasets, "checkpoint": model, **_usual(datasets), **_of_card(official_cards().get(model))}
    general |= {"clip vectors": "as encoded", "time code": "none"}
    theirs = {**general, **assumed, **stated}
    implied = {"data", "checkpoint"} | USUAL.keys()
    known = [name for name in sorted(theirs, key=importance) if ours.get(name) is not None]
    return [
        Differing(name, text(ours[name]), text(theirs[name]), name not in stated and name not in implied)
        for name in known
        if not equal(ours[name], theirs[name])
    ]


USUAL = {"examples": "all", "altered clips": "none", "training share": "all", "missing videos": 0}
"""What goes without saying."""


def _usual(datasets: Sequence[str]) -> dict[str, Any]:
    """What goes without saying, and the classes of the dataset in their usual order."""
    listed = _official_classes(datasets)
    return {**USUAL, **({"classes": f"the {len(listed)} of the authors", "label order": "usual"} if listed else {})}


def _of_card(card: Card | None) -> dict[str, Any]:
    """What the encoder's official card says; nothing of encoders that are only known by their vectors."""
    if card is None or not card.frames:
        return {}
    official = {"architecture": "official", "pooling": card.pool, "precision": "float32"}
    official |= {"resampling": _resampling(card.filter, antialias=card.antialias)}
    return {**official, "frames": card.frames, "resolution": card.size}


@cache
def official_cards() -> dict[str, Card]:
    """The cards of the official models by name."""
    return cards()


def params_of(encoder: str) -> int:
    """Number of parameters of an encoder by its name, options aside; 0 if it is not in the catalog."""
    card = official_cards().get(encoder.partition("+")[0].partition("=")[0])
    return card.params if card else 0


def importance(name: str) -> int:
    """The place of a setting in `ORDER`; the last of all for others."""
    return ORDER.index(name) if name in ORDER else len(ORDER)


def equal(ours: Any, theirs: Any) -> bool:
    """Whether two values of a setting are the same; several allowed values are a list of text."""
    if isinstance(theirs, (list, tuple)) and theirs and isinstance(theirs[0], str):
        return ours in theirs
    if isinstance(theirs, (list, tuple)):
        same = isinstance(ours, (list, tuple)) and len(ours) == len(theirs)
        return same and all(map(equal, ours, theirs))
    if _is_number(ours) and _is_number(theirs):
        return isclose(ours, theirs, rel_tol=CLOSE, abs_tol=1e-12)
    return type(ours) is type(theirs) and bool(ours == theirs)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def text(value: Any) -> str:
    """A value of a setting in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        words = [text(part) for part in value]
        return (" or " if isinstance(value[0], str) else "..").join(words) if words else "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def settings_of(result: Result) -> dict[str, Any]:
    """The settings of a result by their names in `ORDER`; None or missing where they are not known."""
    probe = _mapping(result.settings.get("probe"))
    card = _mapping(result.settings.get("card"))
    fields = {name: value for name, value in probe.items() if isinstance(value, (str, int, float, bool))}
    return {
        **fields,
        **_data(result),
        **_encoder(result, card),
        **_tested(_view(probe, "test")),
        **_trained(_view(probe, "train")),
        **_headed(probe),
        **_read_out(probe),
        **_crop(_view(probe, "test"), card),
    }


def _data(result: Result) -> dict[str, Any]:
    listed = _official_classes([result.dataset.partition("@")[0]])
    own = tuple(map(str, result.settings.get("classes", ())))
    missing = max(result.expected - result.n, len(result.missing))
    of = {"examples": "some (--limit)" if result.limited else "all", "test examples": result.expected}
    of |= {"data": result.dataset.partition("@")[0], "missing videos": missing}
    of |= {"training share": result.variant.get("train_fraction", "all")}
    of |= {"altered clips": result.variant.get("altered", "none"), "seeds": max(len(result.seeds), 1)}
    if not listed or not own:
        return of
    same = f"the {len(listed)} of the authors"
    order = "usual" if own == listed else "another" if set(own) == set(listed) else None
    return {**of, "label order": order, "classes": same if order else f"{len(own)}, {_odd(own, listed)}"}


def _odd(own: Sequence[str], listed: Sequence[str]) -> str:
    """The first class that is not among those of the authors, or that is missing."""
    strange = [name for name in own if name not in listed]
    return f"{strange[0]!r}{nearest(strange[0], listed)}" if strange else f"{len(listed) - len(own)} missing"


def _official_classes(datasets: Sequence[str]) -> tuple[str, ...]:
    """The classes that come with the package for a dataset, in order; empty if none do."""
    name = datasets[0].replace("/", "_") if datasets else ""
    try:
        return labels(name)
    except FileNotFoundError:
        return ()


def _encoder(result: Result, card: Mapping[str, Any]) -> dict[str, Any]:
    name, *options = result.encoder.split("+")
    own = [option for option in options if option.startswith("weights:")]
    return {
        "checkpoint": " with ".join([name.partition("=")[0], *own]),
        "architecture": f"changed ({card['architecture']})" if card.get("architecture") else "official",
        "frames": card.get("frames") or None,
        "resolution": card.get("size") or None,
        "pooling": card.get("pool"),
        "precision": card.get("precision"),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _view(probe: Mapping[str, Any], side: str) -> list[Mapping[str, Any]]:
    """The samplers of a view, the outermost first."""
    return list(_unwrapped(_mapping(_mapping(probe.get(side)).get("sampler"))))


def _unwrapped(sampler: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    while sampler:
        yield sampler
        sampler = _mapping(sampler.get("inner"))


def _tested(samplers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which clips of a test video are read."""
    if not samplers:
        return {}
    kinds, base = [str(s.get("type")) for s in samplers], samplers[-1]
    altered = next((kind.lower() for kind in kinds if kind in PERTURBED), None)
    of = {"sampler": _named(base)} | ({"altered clips": altered} if altered else {})
    reader: Callable[[Mapping[str, Any]], dict[str, Any]] | None = READ.get(kinds[-1])
    return {**of, **(reader(base) if reader else {})}


def _named(sampler: Mapping[str, Any]) -> str:
    kind = str(sampler.get("type"))
    return SAMPLERS.get(kind, kind.lower())


def _views(sampler: Mapping[str, Any]) -> dict[str, Any]:
    grid = (sampler.get("crops"), sampler.get("clips"))
    return {"views": "x".join(map(str, grid)), "frame stride": sampler.get("stride")}


def _windows(sampler: Mapping[str, Any]) -> dict[str, Any]:
    seconds, stride = sampler.get("seconds"), sampler.get("stride")
    return {"clip length": seconds, "clip stride": seconds if stride is None else stride}


READ: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "Views": _views,
    "VJepa": _views,
    "MultiClip": _windows,
    "Around": lambda sampler: {"frame stride": None if sampler.get("window") else sampler.get("stride")},
}
"""What the fields of a sampler are called."""


def _trained(samplers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which clips of a training video are read, and how they are augmented."""
    crop = next((s for s in samplers if s.get("type") == "RandomCrop"), None)
    of: dict[str, Any] = {"flip": bool(crop["flip"]) if crop else False} if samplers else {}
    of |= {"crop area": crop.get("scale"), "crop ratio": crop.get("ratio")} if crop else _uncropped(samplers)
    base = samplers[-1] if samplers else {}
    if base:
        of |= {"training sampler": _named(base)}
    return of | ({"training stride": base.get("stride")} if base.get("type") == "RandomClip" else {})


def _uncropped(samplers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"crop area": "no random crop", "crop ratio": "no random crop"} if samplers else {}


def _headed(probe: Mapping[str, Any]) -> dict[str, Any]:
    """The kind of probe, and how its hyper-parameters were chosen."""
    lrs, decays = (_count(probe.get(name)) for name in ("lrs", "weight_decays"))
    tried = lrs * decays if "lrs" in probe else None
    single = tried == 1 or ("tau" in probe and not (probe.get("ks") or probe.get("taus")))
    of: dict[str, Any] = {"head": HEADS.get(str(probe.get("type"))), "heads tried": tried}
    of |= {"selection": "none" if single else probe.get("select")}
    of |= {"lr": f"{lrs} rates tried"} if lrs > 1 else {}
    of |= {"weight_decay": f"{decays} tried"} if decays > 1 else {}
    of |= {"k": "half a class, at most 20"} if probe.get("k") == 0 else {}
    return of | ({"aggregation": _aggregation(probe)} if "tau" in probe else {})


def _read_out(probe: Mapping[str, Any]) -> dict[str, Any]:
    """What is done to clip vectors or tokens before the probe; fields at their default are not recorded."""
    view = _mapping(probe.get("test"))
    more = {name: value for name, value in view.items() if name not in VIEW and value is not None}
    said = ", ".join(f"{name} {_described(value)}" for name, value in more.items())
    return {"clip vectors": (said or "as encoded") if view else None, "time code": probe.get("time", "none")}


def _described(value: Any) -> str:
    """A nested setting in short: its type in small letters, and its fields."""
    if not isinstance(value, Mapping):
        return text(value)
    fields = [text(part) for name, part in value.items() if name != "type" and not isinstance(part, Mapping)]
    return ":".join([str(value.get("type", "")).lower(), *fields]).strip(":")


def _count(values: Any) -> int:
    """Number of values that were tried; one where none are listed."""
    return max(len(values), 1) if isinstance(values, (list, tuple)) else 1


def _aggregation(probe: Mapping[str, Any]) -> str | None:
    kinds = [s.get("type") for s in _view(probe, "test")]
    return None if "MultiClip" not in kinds else "mean of clips" if probe.get("mean") else "votes of clips"


def _crop(samplers: Sequence[Mapping[str, Any]], card: Mapping[str, Any]) -> dict[str, Any]:
    """What of a frame becomes the square input, and how it is resampled; known only with the encoder's pixels."""
    resize, single = card.get("resize"), bool(samplers) and samplers[-1].get("crops", 1) == 1
    if resize is None or not samplers:
        return {}
    of = {"resampling": _resampling(card.get("filter", "bilinear"), antialias=card.get("antialias", True))}
    # several crops are cut along the long side, whatever is done for a single one
    if any(s.get("type") == "WholeFrame" for s in samplers) or (resize == "square" and single):
        return {**of, "crop": "whole frame"}
    ratio = card.get("crop_ratio", 1.0) if single else 1.0
    return {**of, "crop": "short side" if ratio == 1 else f"short side, inner {text(ratio)}"}


def _resampling(how: Any, *, antialias: Any) -> str:
    return f"{how}{'' if antialias else ', not antialiased'}"
