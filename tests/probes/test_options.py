"""Probes by name with options: every field can be set, and what cannot gets one line with the nearest match."""

from __future__ import annotations

import pytest

from vitascope.core import option_text
from vitascope.core.fields import hints
from vitascope.features.view import View
from vitascope.probes.catalog import PROBES
from vitascope.probes.counterfactual import split_perturbation
from vitascope.probes.methods import knn, linear
from vitascope.probes.options import options, probe
from vitascope.sampling.names import Frozen, MultiClip, Reversed, Uniform, Views, parse


def test_fields_are_set_by_name() -> None:
    result = probe("linear+lr=0.3+epochs=20+standardize=false+optimizer=adam")
    assert (result.lr, result.epochs, result.standardize, result.optimizer) == (0.3, 20, False, "adam")
    assert result.name == "linear+lr=0.3+epochs=20+standardize=false+optimizer=adam"
    assert probe("knn") == knn.build()
    assert probe("linear/lbfgs") == linear.build("lbfgs")


def test_the_spelling_of_before_makes_the_same_probe() -> None:
    assert probe("linear+lr:0.3+epochs:20") == probe("linear+lr=0.3+epochs=20")
    assert probe("knn+test:views:3x4/4") == probe("knn+test=views:3x4/4")
    assert probe("knn+k:5+both:frozen") == probe("knn+both=frozen+k=5")


def test_fields_are_set_together() -> None:
    """Two epochs of ten warm-up epochs would not do, whichever is set first."""
    assert probe("linear+epochs=2+warmup=1").warmup == probe("linear+warmup=1+epochs=2").warmup == 1
    assert probe("linear/paper+optimizer=lbfgs+draws=8").optimizer == "lbfgs"


def test_views_are_replaced_and_perturbed() -> None:
    assert probe("knn+test=views:3x4/4").test == View(Views(3, 4, 4))
    assert probe("knn+test=views:3x4/4").train == View(Uniform())
    assert probe("knn+test=views(crops=1,clips=2)+k=3").test == View(Views(1, 2))
    assert probe("knn+test=reversed(views+crops=1)").test == View(Reversed(Views(1)))
    assert probe("knn+test=reversed").test == View(Reversed(Uniform()))
    assert probe("attentive+train.reduce=time").train == View(Uniform(), "time", stored=False)
    both = probe("knn/clip+both=frozen")
    assert both.train == both.test == View(Frozen(MultiClip(2.0)))
    assert probe("knn+both=frozen+k=5").name == "knn+k=5+both:frozen"
    assert probe("knn+test=views+test=reversed").test == View(Reversed(Views()))


def test_draws_are_stored_or_endless() -> None:
    kept, endless = probe("linear/paper+draws=8").train, probe("linear/paper+draws=0").train
    assert (kept.sampler.count, kept.stored) == (8, True)
    assert (endless.sampler.count, endless.stored) == (0, False)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("knn", ("knn", "", "")),
        ("linear+lr=0.3+test=reversed", ("linear+lr=0.3", "reversed", "test")),
        ("linear+lr=0.3+test:reversed", ("linear+lr=0.3", "reversed", "test")),
        ("knn/clip+both=slowed", ("knn/clip", "slowed", "both")),
        ("knn+test=uniform:ends", ("knn+test=uniform:ends", "", "")),
    ],
)
def test_what_was_perturbed_is_in_the_name(name: str, parts: tuple[str, str, str]) -> None:
    assert split_perturbation(probe(name).name) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear+lrr=0.3", r"no option 'lrr'; did you mean 'lr'.*of train, test, both, draws, agg, layers, optimizer"),
        ("linear+lr", "no value of 'lr'; options are written"),
        ("linear+lr=", "no value of 'lr'"),
        ("linear+", "no option behind a '+'"),
        ("linear+lr=high", "linear.lr=high: lr = 'high' must be a number"),
        ("linear+epochs=1.5", "epochs = '1.5' must be a whole number"),
        ("linear+standardize=maybe", "standardize = 'maybe' must be true or false"),
        ("linear+optimizer=sdg", "must be one of sgd, adam, adamw, lars, lbfgs; did you mean 'sgd'"),
        ("linear+name=x", "no option 'name'"),
        ("linear+lr=1+lr=2", "lr is set twice"),
        ("linear+both=backwards", "there are reversed, shuffled, frozen, slowed"),
        ("linear+test=revrsed", "no sampler 'revrsed'; did you mean 'reversed'"),
        ("linear+test.reduced=time", "View has no 'reduced'; did you mean 'reduce'"),
        ("linear+test=reversed+both=frozen", "one perturbation at a time"),
        ("linear+draws=4", "its training draws nothing"),
        ("linear+lr=-1+momentum=2", "lr = -1.0 must be positive; momentum = 2.0 must be at least 0 and below 1"),
        ("linaer+lr=1", "did you mean 'linear'"),
    ],
)
def test_what_cannot_be_set(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("+'", r"\+'")) as caught:
        probe(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PROBES.names())
def test_every_option_has_a_meaning_and_is_read_as_it_is_shown(name: str) -> None:
    result = probe(name)
    for option in options(result):
        assert option.meaning.endswith("."), option
        if "." not in option.name and option.name not in ("train", "test", "agg", "layers", "both", "draws"):
            value = option_text.read(hints(type(result))[option.name], option.default, option.name)
            assert value == getattr(result, option.name), option
    shown = {option.name: option.default for option in options(result)}
    assert (parse(shown["train"]), parse(shown["test"])) == (result.train.sampler, result.test.sampler)
