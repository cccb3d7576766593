"""Probes by name with options: every field can be said, and what cannot gets one line with the nearest match."""

from __future__ import annotations

import pytest

from vitascope.features.view import View
from vitascope.probes.counterfactual import alteration
from vitascope.probes.methods import knn, linear
from vitascope.probes.options import probe
from vitascope.sampling.names import Frozen, MultiClip, Reversed, Uniform, Views


def test_fields_are_set_by_name() -> None:
    found = probe("linear+lr:0.3+epochs:20+standardize:false+optimizer:adam")
    assert (found.lr, found.epochs, found.standardize, found.optimizer) == (0.3, 20, False, "adam")
    assert found.name == "linear+lr:0.3+epochs:20+standardize:false+optimizer:adam"
    assert probe("knn") == knn.build()
    assert probe("linear/lbfgs") == linear.build("lbfgs")


def test_views_are_replaced_and_altered() -> None:
    assert probe("knn+test:views:3x4/4").test == View(Views(3, 4, 4))
    assert probe("knn+test:views:3x4/4").train == View(Uniform())
    assert probe("knn+test:reversed").test == View(Reversed(Uniform()))
    both = probe("knn/clip+both:frozen")
    assert both.train == both.test == View(Frozen(MultiClip(2.0)))
    assert probe("knn+both:frozen+k:5").name == "knn+k:5+both:frozen"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("knn", ("knn", "", "")),
        ("linear+lr:0.3+test:reversed", ("linear+lr:0.3", "reversed", "test")),
        ("knn/clip+both:slowed", ("knn/clip", "slowed", "both")),
        ("knn+test:uniform:ends", ("knn+test:uniform:ends", "", "")),
    ],
)
def test_what_was_altered_is_in_the_name(name: str, parts: tuple[str, str, str]) -> None:
    assert alteration(probe(name).name) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear+lrr:0.3", r"no option 'lrr'; did you mean 'lr'.*of train, test, optimizer"),
        ("linear+lr", "no option 'lr'"),
        ("linear+lr:high", "lr is a number, not 'high'"),
        ("linear+epochs:1.5", "epochs is a whole number, not '1.5'"),
        ("linear+standardize:no", "true or false, not 'no'"),
        ("linear+name:x", "no option 'name'"),
        ("linear+both:backwards", "there are reversed, shuffled, frozen, slowed"),
        ("linear+test:revrsed", "no sampler 'revrsed'; did you mean 'reversed'"),
        ("linear+test:reversed+both:frozen", "one alteration at a time"),
        ("linear+draws:4", "its training draws nothing"),
        ("linear+lr:-1", "must be positive"),
        ("linaer+lr:1", "did you mean 'linear'"),
    ],
)
def test_what_cannot_be_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        probe(text)
    assert "\n" not in str(caught.value)
