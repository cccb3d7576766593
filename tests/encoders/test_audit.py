"""The audit finds each broken promise, and reports what is seen of motion."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from vitascope.core.device import device, generator, peak_bytes
from vitascope.core.types import Card, Clip, Video
from vitascope.encoders.audit import Finding, audit, moving_clips
from vitascope.encoders.base import Encoder, Tokens, framewise
from vitascope.encoders.card_check import card_problem
from vitascope.encoders.catalog import cards
from vitascope.encoders.contract import check_encoder
from vitascope.encoders.load import load
from vitascope.sampling.contract import check_sampler
from vitascope.sampling.names import Uniform

CARD = Card(name="own/x", digest="0", dim=3, frames=6, size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Own:
    """An encoder of one function from clips to vectors."""

    def __init__(self, vectors: Callable[[Tensor], Tensor]) -> None:
        self.card, self.vectors, self.loaded = CARD, vectors, "nothing to load"

    def __call__(self, clips: Tensor, /) -> Tokens:
        vector = self.vectors(clips)
        return Tokens(vector[:, None, None, None], vector)


def mean(clips: Tensor) -> Tensor:
    return clips.mean((2, 3, 4))


def findings(encoder: Encoder) -> dict[str, Finding]:
    return {found.name: found for found in audit(encoder)}


def test_a_good_encoder_passes() -> None:
    found = findings(Own(mean))
    promises = {"weights", "shapes", "finite", "input dependence", "different clips", "dimensions", "deterministic"}
    promises |= {"batch size"}
    assert {name for name, f in found.items() if f.ok} == promises
    told = {"statistics", "token norms", "reversed", "shuffled", "bfloat16", "throughput", "peak memory"}
    assert {name for name, f in found.items() if f.ok is None} == told
    assert found["bfloat16"].detail.endswith("within the limits 0.999 and 0.2")
    assert found["statistics"].detail.endswith("; 0.0% of the token channels are dead")
    check_encoder(Own(mean))


NOISE = torch.Generator().manual_seed(0)
BROKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "shapes": lambda clips: mean(clips)[:, :2],
    "finite": lambda clips: mean(clips) / 0,
    "deterministic": lambda clips: mean(clips) + torch.rand(3, generator=NOISE),
    "batch size": lambda clips: mean(clips) - mean(clips).mean(0),
    "runs": lambda clips: clips.view(3),
    "input dependence": lambda clips: torch.arange(3.0).expand(len(clips), 3),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_every_broken_promise_is_found(promise: str) -> None:
    found = findings(Own(BROKEN[promise]))
    assert found[promise].ok is False
    with pytest.raises(AssertionError, match=f"own/x: .*{promise}"):
        check_encoder(Own(BROKEN[promise]))


def far_off(clips: Tensor) -> Tensor:
    """What a network gives for pixels that a mean and a deviation of 0 to 255 have squeezed together."""
    pixels = (clips * 0.5 + 0.5 - 123.7) / 58.4
    return torch.stack([pixels.mean((1, 2, 3, 4)), pixels.mean((2, 3, 4))[:, 0], pixels.amax((1, 2, 3, 4))], 1)


@pytest.mark.parametrize(
    ("vectors", "name", "said"),
    [
        (far_off, "different clips", "are mean, std and size of the card those of the network"),
        (
            lambda clips: torch.cat([mean(clips), torch.ones(len(clips), 97)], 1),
            "dimensions",
            "97.0% of 100 dimensions",
        ),
        (lambda clips: mean(clips) * torch.nan, "different clips", "cosine distance nan"),
    ],
)
def test_vectors_that_tell_clips_badly_apart_are_said(
    vectors: Callable[[Tensor], Tensor], name: str, said: str
) -> None:
    own = Own(vectors)
    own.card = replace(CARD, dim=vectors(torch.zeros(1, 3, 6, 16, 16)).shape[1])
    found = findings(own)[name]
    assert found.ok is False
    assert said in found.detail
    assert "\n" not in found.detail


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        (
            (123.7, 116.3, 103.5),
            (58.4, 57.1, 57.4),
            "are for pixels of 0 to 255, but pixels are 0 to 1; divide both by",
        ),
        ((0.5, 0.5, 0.5), (58.4, 57.1, 57.4), "divide both by 255"),
        ((-0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "must be 0 to 1"),
        ((0.5, 0.5, 0.5), (0.5, 0.0, 0.5), "card.std (0.5, 0, 0.5) must be 0.05 to 1"),
        ((0.5, 0.5, 0.5), (0.2, 0.001, 0.2), "must be 0.05 to 1"),
        ((0.5, 0.5, float("nan")), (0.5, 0.5, 0.5), "must be three numbers"),
    ],
)
def test_a_normalization_of_another_scale_is_refused(mean: Any, std: Any, said: str) -> None:
    own = Own(lambda clips: clips)
    own.card = replace(CARD, mean=mean, std=std)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        load(own)
    assert str(error.value).startswith("own/x: card.")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"frames": -1}, {"size": -5}, {"dim": 0}])
def test_sizes_that_are_none_are_refused(changes: dict[str, Any]) -> None:
    own = Own(lambda clips: clips)
    own.card = replace(CARD, **changes)
    with pytest.raises(ValueError, match=rf"card.{next(iter(changes))} must be a whole number"):
        load(own)


def test_every_built_in_card_is_in_order_and_so_is_a_network_of_bytes() -> None:
    assert not [name for name, card in cards().items() if card_problem(card)]
    assert not card_problem(replace(CARD, mean=(0.0,) * 3, std=(1 / 255,) * 3))


@pytest.mark.parametrize("name", ["pixels/thumbnail", "pixels/motion-energy", "vit/tiny-random", "tiny/twlv1"])
def test_built_in_encoders_tell_clips_apart(name: str) -> None:
    found = findings(load(name))
    assert found["different clips"].ok, found["different clips"].detail
    assert found["dimensions"].ok, found["dimensions"].detail


GRIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "input dependence": lambda clips: torch.zeros(len(clips), 2, 2, 2, 3),
    "batch size": lambda clips: (mean(clips) - mean(clips).mean(0))[:, None, None, None],
}


@pytest.mark.parametrize("promise", GRIDS)
def test_tokens_are_held_to_what_vectors_are(promise: str) -> None:
    class Grid(Own):
        def __call__(self, clips: Tensor, /) -> Tokens:
            return Tokens(GRIDS[promise](clips), self.vectors(clips))

    assert [name for name, found in findings(Grid(mean)).items() if found.ok is False] == [promise]


def test_vectors_without_a_network_are_nothing_to_audit() -> None:
    own = Own(mean)
    own.card = replace(CARD, frames=0, size=0)
    assert [(f.ok, "cannot be audited" in f.detail) for f in audit(own)] == [(False, True)]


def test_one_number_everywhere_is_no_answer() -> None:
    found = findings(Own(lambda clips: torch.ones(len(clips), 3)))
    assert found["input dependence"].ok is False
    assert found["statistics"].detail.endswith("; 100.0% of the token channels are dead")


def test_silence_about_the_weights_is_a_failure_with_its_remedy() -> None:
    encoder = Own(mean)
    encoder.loaded = ""
    found = findings(encoder)["weights"]
    assert found.ok is False
    assert "set its attribute `loaded`" in found.detail
    assert findings(load("vit/tiny-random"))["weights"].detail == "random weights with seed 0"


def test_what_was_seen_before_a_crash_is_kept() -> None:
    def once_forwards(clips: Tensor) -> Tensor:
        if len(clips) == 1:
            raise RuntimeError("no single clips\nand more")
        return mean(clips)

    found = findings(Own(once_forwards))
    assert found["deterministic"].ok is True
    assert found["runs"] == Finding("runs", False, "RuntimeError: no single clips")


@pytest.mark.parametrize(("precision", "ok"), [("float32", None), ("bfloat16", False)])
def test_half_precision_is_a_promise_of_those_who_ask_for_it(precision: Literal["float32"], ok: bool | None) -> None:
    def halved(clips: Tensor) -> Tensor:
        return mean(clips) * (-1 if torch.is_autocast_enabled("cpu") else 1)

    encoder = Own(halved)
    encoder.card = replace(CARD, precision=precision)
    found = findings(encoder)["bfloat16"]
    assert found.ok is ok
    assert "cosine at least -1.0000" in found.detail
    assert "outside the limits" in found.detail


@pytest.mark.parametrize(("precision", "ok"), [("float32", None), ("bfloat16", False)])
def test_where_half_precision_gives_nan_or_does_not_run(precision: Literal["float32"], ok: bool | None) -> None:
    def nan(clips: Tensor) -> Tensor:
        return mean(clips) / (0 if torch.is_autocast_enabled("cpu") else 1)

    def stuck(clips: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("no kernel for BFloat16")
        return mean(clips)

    for vectors, said in ((nan, "cosine at least nan"), (stuck, "does not run on cpu: no kernel for BFloat16")):
        encoder = Own(vectors)
        encoder.card = replace(CARD, precision=precision)
        found = findings(encoder)["bfloat16"]
        assert found.ok is ok
        assert said in found.detail


def test_long_tokens_are_seen() -> None:
    class Registers(Own):
        def __call__(self, clips: Tensor, /) -> Tokens:
            tokens = super().__call__(clips)
            grid = torch.ones(len(clips), 1, 4, 4, 3)
            grid[:, 0, 0, 0] = 20
            return Tokens(grid, tokens.clip)

    assert findings(Registers(mean))["token norms"].detail == "median 1.73, maximum 34.6, 20 times"


def test_sensitivity_to_order_is_zero_for_frame_wise_models_only() -> None:
    blind = findings(framewise(lambda images: images.amax((2, 3)) - images.amin((2, 3)), CARD))
    assert blind["reversed"].detail.startswith("cosine distance 0 ")
    assert blind["shuffled"].detail.startswith("cosine distance 0 ")
    seeing = findings(load("pixels/motion-energy"))
    assert float(seeing["reversed"].detail.split()[2]) > 0.1
    assert float(seeing["shuffled"].detail.split()[2]) > 0.1


def test_moving_clips_move_over_still_ground_and_are_the_seed_s() -> None:
    clips = moving_clips(CARD, 3)
    assert clips.shape == (3, 3, 6, 16, 16)
    assert torch.equal(clips, moving_clips(CARD, 3))
    assert not torch.equal(clips, moving_clips(CARD, 3, seed=1))
    assert float(clips.min()) >= -1
    assert float(clips.max()) == 1  # white, normalized
    white = (clips == 1).all(1)
    assert white.sum((2, 3)).unique().tolist() == [9]  # the patch, a fifth of 16 pixels a side
    column = (white.float().sum(2) * torch.arange(16)).sum(2) / 9
    assert (column.diff(dim=1) > 0).all()


def test_devices_are_chosen_and_refused_by_name() -> None:
    assert device().type in {"cuda", "mps", "cpu"}
    assert device("cpu") == torch.device("cpu")
    for name in ("cud", "tpu", "cuda:99", "cpu:x"):
        with pytest.raises(ValueError, match="cpu"):
            device(name)
    assert torch.equal(torch.rand(3, generator=generator(1)), torch.rand(3, generator=generator(1)))
    assert peak_bytes(torch.device("cpu")) > 2**20


class Drawing:
    """A sampler that draws although it was given no generator."""

    def __call__(self, video: Video, frames: int, rng: object = None) -> list[Clip]:
        return []


def test_samplers_that_are_no_values_are_found() -> None:
    check_sampler(Uniform())
    with pytest.raises(AssertionError, match="not plain data"):
        check_sampler(Drawing())
