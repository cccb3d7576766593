"""The protocol of a result in two or three sentences, generated from its recorded settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitascope.core.text import escaped
from vitascope.evaluation.results import Result
from vitascope.report.analysis.sampling_words import Plain, count, sampled, value

OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "lars": "LARS", "lbfgs": "L-BFGS"}
ON = {"held-out": "a held-out tenth of the training examples", "best-on-test": "the test set itself"}


def protocol_words(result: Result) -> str:
    """Sampler, head, optimizer, selection, seeds and folds of a result as sentences; what is unknown is left out."""
    probe = result.settings.get("probe")
    probe = probe if isinstance(probe, Mapping) else {}
    kind = str(probe.get("type"))
    describe = PROBES.get(kind, _unknown)
    sentences = [_views(probe), describe(probe, result), _scored(result)]
    return escaped(" ".join(s for s in sentences if s))


def _views(probe: Plain) -> str:
    train, test = sampled(probe.get("train")), sampled(probe.get("test"))
    if not test:
        return ""
    if train == test or not train:
        return f"Of each video the frozen encoder reads {test}."
    return f"Of a training video the frozen encoder reads {train}; of a test video it reads {test}."


def _knn(probe: Plain, result: Result) -> str:
    chosen = _chosen(result)
    k, tau = probe.get("k"), value(probe.get("tau", 0.1))
    if probe.get("ks") or probe.get("taus"):
        number = f"the nearest training vectors, their number and temperature selected {_neighbors_on(probe)}"
    elif chosen.get("k") is not None:
        number = f"its {value(chosen['k'])} nearest training vectors"
    else:
        number = f"its {value(k)} nearest training vectors" if k else "its nearest training vectors, at most 20"
    what = "A test video, as the mean of its clips, takes" if probe.get("mean") else "A test video takes"
    centered = ", after the mean of the training vectors is subtracted" if probe.get("center") else ""
    temperature = "" if probe.get("taus") else f" / {tau}"
    similarity = value(probe.get("similarity", "cosine"))
    return f"{what} the class for which {number} vote, each with weight exp({similarity}{temperature}){centered}."


def _neighbors_on(probe: Plain) -> str:
    tested = probe.get("select") == "best-on-test"
    return "on the test set itself" if tested else "by leaving out one group of training examples after another"


def _linear(probe: Plain, result: Result) -> str:
    scale = "standardized " if probe.get("standardize") else ""
    of = "mean vectors of videos" if probe.get("mean") else "clip vectors"
    head = f"A linear classifier on {scale}{of}"
    decay = _searched(probe, "weight_decay", "weight decay")
    if probe.get("optimizer") == "lbfgs":
        most = f"at most {value(probe.get('epochs'))} iterations"
        return f"{head} is solved for by L-BFGS ({decay}, {most}){_grid(probe)}."
    return f"{head} is trained {_training(probe)}."


def _attentive(probe: Plain, result: Result) -> str:
    depth, time = probe.get("depth"), probe.get("time")
    blocks = "" if depth == 1 else f" of {value(depth)} blocks"
    clock = f", with a {value(time)} code of time" if time not in (None, "", "none", False) else ""
    trained = _training({"optimizer": "adamw", **probe})
    return f"An attentive head{blocks} reads all tokens{clock} and is trained {trained}."


def _localize(probe: Plain, result: Result) -> str:
    head = f"ActionFormer's head ({value(probe.get('width'))} channels) finds actions in the sequence of clip vectors"
    return f"{head}, trained {_training({'optimizer': 'adamw', **probe})}{_state(probe)}."


def _segment(probe: Plain, result: Result) -> str:
    head = f"ASFormer's head ({count(probe.get('layers'), 'layer')} a stage) labels every frame from the clip vectors"
    return f"{head}, trained {_training({'optimizer': 'adam', **probe})}."


def _detect(probe: Plain, result: Result) -> str:
    head = f"A decoder of {count(probe.get('layers'), 'layer')} with {count(probe.get('queries'), 'query')} "
    trained = _training({"optimizer": "adamw", **probe})
    return f"{head.replace('querys', 'queries')}finds actors among the tokens, trained {trained}."


def _roi(probe: Plain, result: Result) -> str:
    boxes = "boxes of a detector" if probe.get("detections") else "true boxes, which are given in testing too"
    return f"A head classifies {boxes}, trained {_training({'optimizer': 'adamw', **probe})}."


def _direction(probe: Plain, result: Result) -> str:
    kind = "Linear discriminant analysis with shrinkage" if probe.get("classifier") == "lda" else "Logistic regression"
    question = {
        "direction": "forward from reversed",
        "order": "ordered from shuffled",
        "speed": "half, normal and double speed",
    }
    told = question.get(str(probe.get("of")), value(probe.get("of")))
    chance = f"; its p-value is from {count(probe['permutations'], 'relabeling')}" if probe.get("permutations") else ""
    return f"{kind} tells {told} in videos it was not trained on, all versions of a video on one side{chance}."


def _chirality(probe: Plain, result: Result) -> str:
    kind = {
        "lda": "linear discriminant analysis with shrinkage",
        "logistic": "logistic regression",
        "ridge": "ridge regression",
    }
    name = kind.get(str(probe.get("classifier")), value(probe.get("classifier")))
    return f"For each pair of opposite classes, {name} on one vector a video; the score is the mean over pairs."


def _unknown(probe: Plain, result: Result) -> str:
    """A head without words of its own: its name, and its settings that are single values."""
    hidden = ("type", "name", "version", "train", "test")
    told = [f"{k.replace('_', ' ')} {value(v)}" for k, v in probe.items() if k not in hidden and _single(v)]
    return f"Head {result.probe}{': ' if told else ''}{', '.join(told[:12])}."


def _single(of: Any) -> bool:
    return isinstance(of, (int, float, str)) and not isinstance(of, bool) and of != ""


def _training(probe: Plain) -> str:
    """Optimizer, rates, batch, epochs and selection of a training."""
    rates = [_searched(probe, "lr", "learning rate"), _searched(probe, "weight_decay", "weight decay")]
    batch = [f"batches of {value(probe['batch'])}"] if probe.get("batch") else []
    warmup = f", the first {value(probe['warmup'])} to warm up" if probe.get("warmup") else ""
    least = f" (at least {value(probe['min_steps'])} steps)" if probe.get("min_steps") else ""
    name = OPTIMIZERS.get(str(probe.get("optimizer")), str(probe.get("optimizer")))
    passes = f" for {count(probe['epochs'], 'epoch')}{warmup}{least}" if probe.get("epochs") else ""
    return f"with {name} ({', '.join([*filter(None, rates), *batch])}){passes}{_grid(probe)}"


def _searched(probe: Plain, name: str, words: str) -> str:
    grid = probe.get(f"{name}s")
    if isinstance(grid, Sequence) and len(grid) > 1:
        return f"{words} among {value(grid)}"
    return f"{words} {value(probe[name])}" if name in probe else ""


def _grid(probe: Plain) -> str:
    """How hyperparameters were selected, if there was a choice."""
    grids = [probe.get(name) for name in ("lrs", "weight_decays", "ks", "taus")]
    if not any(isinstance(grid, Sequence) and len(grid) > 1 for grid in grids):
        return ""
    return f"; selected on {_selected_on(probe)}"


def _selected_on(probe: Plain) -> str:
    return ON.get(str(probe.get("select")), "a part of the training examples")


def _state(probe: Plain) -> str:
    return ", and the state that is best on the test set counts" if probe.get("select") == "best-on-test" else ""


def _chosen(result: Result) -> Plain:
    first = next(iter(result.about), {})
    return first if isinstance(first, Mapping) else {}


def _scored(result: Result) -> str:
    """How many trainings stand behind the score, and what part of the data."""
    folds, seeds = len(result.folds), len(result.seeds)
    parts = []
    if folds > 1:
        parts.append(f"the test examples of {folds} folds are scored together")
    if seeds > 1:
        parts.append(f"the score is the mean over {seeds} seeds, from {result.seed}")
    if result.limited:
        parts.append("only a part of the data set was used (--limit)")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else "One training, one seed." if _trains(result) else ""


def _trains(result: Result) -> bool:
    probe = result.settings.get("probe")
    return isinstance(probe, Mapping) and bool(probe.get("epochs")) and len(result.seeds) == 1


PROBES: Mapping[str, Callable[[Plain, Result], str]] = {
    "KNNProbe": _knn,
    "LinearProbe": _linear,
    "AttentiveProbe": _attentive,
    "LocalizationProbe": _localize,
    "SegmentationProbe": _segment,
    "DetectionProbe": _detect,
    "TubeProbe": _detect,
    "RoiProbe": _roi,
    "DirectionProbe": _direction,
    "ChiralityProbe": _chirality,
}
"""Words for heads by the names of their classes."""
