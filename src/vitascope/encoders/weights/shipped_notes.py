"""What the cards in the shipped weight files leave out, in words: cost, what teachers saw, tuning, choice among seeds.

It stands here as the files are never rewritten; `Card.trained` describes a model, and no digest contains it.
"""

from __future__ import annotations

from dataclasses import replace

from vitascope.core.types import Card

_STEPS = "12,000 steps of 32 clips"
_TEACHER = "the image teacher saw labels of exactly the 24 looks of motionlab/appearance"
_FEW = "few settings were tried"
_SEEDS = "shipped is the best of three seeds by the mean of both axes; their motion, attentive"
TRAINED = {
    "tiny/twlv1": (
        f"{_STEPS}, 1.2 core-hours; targets at seen and hidden tokens, each through a decoder: the image teacher's "
        f"features of every frame, and optical flow; {_TEACHER}; no motion label was trained on, but about 26 settings "
        f"were tried with motion scores in sight; {_SEEDS}: 84.8, 79.7, 77.2"
    ),
    "tiny/image": (
        f"{_STEPS}, 0.5 core-hours; target at seen tokens alone, through a linear head: the image teacher's features "
        f"of each token's middle frame; {_TEACHER}; {_FEW}; {_SEEDS}: 7.6, 6.4, 5.4"
    ),
    "tiny/video": (
        f"{_STEPS}, 0.8 core-hours; target at hidden tokens, through a decoder: features of tiny/pixels; {_FEW}; "
        f"{_SEEDS}: 61.0, 60.8, 59.3"
    ),
    "tiny/pixels": (
        f"{_STEPS}, 0.8 core-hours; target at hidden tokens, through a decoder: normalized pixels; {_FEW}; "
        f"{_SEEDS}: 56.9, 55.9, 53.7"
    ),
    "tiny/latent": (
        f"{_STEPS}, 0.9 core-hours; target at all tokens, through a decoder: features of a slow copy; {_FEW}; "
        f"{_SEEDS}: 58.1, 53.7, 52.5"
    ),
    "tiny/stills": "1,600 steps of 128 stills, 4 minutes of a core; labels: the 24 looks of motionlab/appearance",
}
"""By encoder, what follows on `Card.trained`."""


def annotated(card: Card) -> Card:
    """The card of a shipped encoder with all that is known of its training."""
    more = TRAINED.get(card.name, "")
    return replace(card, trained="; ".join(filter(None, (card.trained, more))))
