"""Probes of examples with several labels, against torch, SciPy-free closed forms and brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitascope.core.types import Example
from vitascope.features.base import StoredFeatures
from vitascope.metrics import average_precision
from vitascope.probes.classification.model_selection import held_out
from vitascope.probes.classification.multilabel import labels_of, logit_errors, loss_and_errors
from vitascope.probes.methods import attentive, knn, linear
from vitascope.probes.training.stacked_optimizer import head_losses

CLASSES = ("a", "b", "c")


def side(n: int, seed: int, *, tokens: bool = False, views: int = 1) -> StoredFeatures:
    """Class c is where coordinate c is above .3; some examples have no label, others all three."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, 8, generator=generator)
    truth = [tuple(np.flatnonzero(row[:3] > 0.3).tolist()) for row in values.numpy()]
    examples = [Example(id=f"{seed}-{i:03}", path="", truth=t) for i, t in enumerate(truth)]
    rows = values.repeat_interleave(views, 0)
    shaped = rows[:, None].repeat(1, 2, 1)[:, None] if tokens else rows
    return StoredFeatures(examples, CLASSES, shaped.contiguous(), torch.arange(n + 1) * views)


def mean_ap(predictions, features):
    return average_precision.summary(np.stack(list(predictions)), [e.truth for e in features.examples])["mAP"]


@pytest.mark.parametrize("variant", ["", "grid", "lbfgs", "lbfgs-grid"])
def test_linear_learns_every_class(variant):
    probe = replace(linear.build(variant), epochs=40, warmup=0, min_steps=60)
    train, test = side(120, 0), side(60, 1)
    predictions = probe.predict(train, test, seed=0)
    assert mean_ap(predictions, test) > 97
    assert np.stack(list(predictions)).sum(1).std() > 0.1  # no softmax: shares of an example do not add up to 1
    if len(probe.candidates) > 1:
        assert max(point["held-out"] for point in predictions.about["grid"]) <= 100


def test_lbfgs_is_one_logistic_regression_per_class():
    from sklearn.linear_model import LogisticRegression

    train, test = side(80, 2), side(40, 3)
    decay = 0.01
    probe = replace(linear.build("lbfgs"), weight_decay=decay, standardize=False)
    predictions = np.stack(list(probe.predict(train, test, seed=0)))
    for c in range(3):
        reference = LogisticRegression(C=1 / (decay * 80), tol=1e-8, max_iter=1000)
        reference.fit(train.values.numpy(), [c in e.truth for e in train.examples])
        np.testing.assert_allclose(predictions[:, c], reference.predict_proba(test.values.numpy())[:, 1], atol=2e-3)


def test_errors_are_the_gradient_of_the_loss():
    logits = torch.randn(5, 3, requires_grad=True)
    targets = (torch.rand(5, 3) > 0.5).float()
    loss, errors = loss_and_errors(logits, targets)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(errors, slope)
    torch.testing.assert_close(logit_errors(logits[:, None], targets)[:, 0], slope)
    stacked = torch.stack([logits, 2 * logits])
    torch.testing.assert_close(head_losses(stacked, targets)[0], loss.mean())


@pytest.mark.parametrize("variant", ["", "grid"])
def test_attentive_learns_every_class(variant):
    probe = replace(attentive.build(variant), batch=16, epochs=8, min_steps=100, lr=0.01)
    train, test = side(64, 4, tokens=True), side(32, 5, tokens=True)
    assert mean_ap(probe.predict(train, test, seed=0), test) > 80


@pytest.mark.parametrize("views", [1, 2])
def test_votes_are_shares_of_neighbors_that_have_the_class(views):
    train, test = side(50, 6), side(12, 7, views=views)
    probe = replace(knn.build(), k=7, center=False)
    predictions = np.stack(list(probe.predict(train, test, seed=0)))
    unit = [F.normalize(f.values.double(), dim=1).numpy() for f in (test, train)]
    cosines = unit[0][::views] @ unit[1].T
    for i, row in enumerate(cosines):
        best = np.argsort(-row)[:7]
        weights = np.exp(row[best] / probe.tau)
        for c in range(3):
            has = [c in train.examples[j].truth for j in best]
            assert predictions[i, c] == pytest.approx((weights * has).sum() / weights.sum(), abs=1e-5)


@pytest.mark.parametrize("variant", ["", "sweep"])
def test_knn_finds_classes(variant):
    train, test = side(200, 8), side(60, 9)
    assert mean_ap(knn.build(variant).predict(train, test, seed=0), test) > 70


def test_held_out_keeps_every_class():
    examples = side(100, 10).examples
    sides = held_out(examples, 0)
    assert 1 <= len(sides.held_out) <= 10
    kept = {label for i in sides.train for label in labels_of(examples[i])}
    assert kept == {label for e in examples for label in labels_of(e)}


def test_all_with_the_same_labels_cannot_be_trained():
    train = side(20, 11)
    same = replace(train, examples=[replace(e, truth=(0, 2)) for e in train.examples])
    for probe in (linear.build(), attentive.build()):
        with pytest.raises(ValueError, match="all 20 training examples have the same labels"):
            probe.predict(same, side(5, 12), seed=0)
