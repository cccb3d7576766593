"""What classification probes share where an example belongs to any number of classes, each predicted on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vitascope.core.device import torch
from vitascope.core.types import Example
from vitascope.features.base import Features, has_several_labels, label_array
from vitascope.metrics import average_precision
from vitascope.probes.base import ScoredPredictions, TestPredictions

Array: TypeAlias = NDArray[Any]
NO_CLASS = -1
"""Stands for the class of an example without labels."""
TargetArray: TypeAlias = Int[Array, "_"] | Float[Array, "_ _"]
"""A class index per example, or, multi-label, 1 for each of its classes and 0 for the others."""
Targets: TypeAlias = "Int[torch.Tensor, '_'] | Float[torch.Tensor, '_ _']"
"""The same as a tensor; a string, as torch is imported when it is first used."""


def class_targets(features: Features[Any]) -> Targets:
    """Return `target_array` as a tensor."""
    return torch.from_numpy(target_array(features))


def target_array(features: Features[Any]) -> TargetArray:
    """Return the targets of each example; UserError if there are none, or a label is outside the class list."""
    if not has_several_labels(features.examples):
        return label_array(features)
    labels = [e.truth for e in features.examples]
    targets: TargetArray = average_precision.multi_hot(labels, len(features.classes)).astype(np.float32)
    return targets


def is_multilabel(targets: Targets | TargetArray) -> bool:
    """Return whether an example may have several labels."""
    return targets.ndim == 2


def labels_of(example: Example[Any]) -> tuple[int, ...]:
    """Return the classes of an example; `NO_CLASS` if it has none."""
    truth = example.truth
    return (truth or (NO_CLASS,)) if isinstance(truth, tuple) else (truth,)


def probabilities_of(logits: Float[torch.Tensor, "*b c"], *, multilabel: bool) -> Float[torch.Tensor, "*b c"]:
    """Return the softmax of the logits; multi-label, their sigmoid."""
    return logits.sigmoid() if multilabel else logits.softmax(-1)


def logit_errors(logits: Float[torch.Tensor, "b p c"], targets: Targets) -> Float[torch.Tensor, "b p c"]:
    """Return the gradient of each example's loss by its logits: cross-entropy, or `multilabel_loss`."""
    if is_multilabel(targets):
        return logits.sigmoid() - targets[:, None]
    error = logits.softmax(dim=2)
    error[torch.arange(len(targets), device=targets.device), :, targets] -= 1
    return error


def loss_and_errors(
    logits: Float[torch.Tensor, "b c"], targets: Targets
) -> tuple[Float[torch.Tensor, "b"], Float[torch.Tensor, "b c"]]:
    """Return the loss of each example and its gradient by the logits."""
    if is_multilabel(targets):
        return multilabel_loss(logits, targets), logits.sigmoid() - targets
    log_probabilities = logits.log_softmax(dim=1)
    target = torch.arange(len(targets), device=targets.device), targets
    losses = -log_probabilities[target]
    error = log_probabilities.exp_()
    error[target] -= 1
    return losses, error


def multilabel_loss(
    logits: Float[torch.Tensor, "*b c"], targets: Float[torch.Tensor, "*b c"]
) -> Float[torch.Tensor, "*b"]:
    """Return the sum over the classes of the binary cross-entropy with a sigmoid.

    Classes are trained independently: the sum, unlike SlowFast's mean, leaves the step of a class the same however many
    others there are.
    """
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)


def selection_score(scores: Float[torch.Tensor, "n c"], targets: Targets) -> float:
    """Return mAP in percent by which one of several models is chosen, without rows of NaN; 0 if it is not defined."""
    valid = ~scores.isnan().any(dim=1).cpu()
    labels = [row.nonzero()[:, 0].tolist() for row in targets.cpu()[valid]]
    if not any(labels):
        return 0.0
    return average_precision.summary(scores.cpu()[valid].numpy(), labels)["mAP"]


def score_label_sets(test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
    """Return mAP with intervals over groups and AP per class of the test predictions of one seed."""
    labels = [e.truth for e in test.examples]
    scores, per_class = average_precision.bootstrap(test.predictions, labels, test.groups, rng=rng)
    return ScoredPredictions(
        scores,
        {test.classes[label]: score for label, score in per_class.items()},
        {
            **test.columns,
            "true_classes": [list(own) for own in labels],
            "class_scores": [np.asarray(p, np.float32) for p in test.predictions],
        },
    )


def truth_is_several(truth: Sequence[Any]) -> bool:
    """Return whether the ground truth of examples is a tuple of classes each."""
    return bool(len(truth)) and isinstance(truth[0], tuple)
