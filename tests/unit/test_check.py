"""The audit finds each broken promise, and reports what is seen of motion."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitascope.check import Finding, audit, moving_clips
from vitascope.encoder import Encoder, Tokens, framewise, load
from vitascope.runtime import device, generator, peak_bytes
from vitascope.sampling import Uniform
from vitascope.testing import check_encoder, check_sampler
from vitascope.types import Card, Clip, Video

CARD = Card(name="own/x", digest="0", dim=3, frames=6, size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Own:
    """An encoder of one function from clips to vectors."""

    def __init__(self, vectors: Callable[[Tensor], Tensor]) -> None:
        self.card, self.vectors = CARD, vectors

    def __call__(self, clips: Tensor, /) -> Tokens:
        vector = self.vectors(clips)
        return Tokens(vector[:, None, None, None], vector)


def mean(clips: Tensor) -> Tensor:
    return clips.mean((2, 3, 4))


def findings(encoder: Encoder) -> dict[str, Finding]:
    return {found.name: found for found in audit(encoder)}


def test_a_good_encoder_passes() -> None:
    found = findings(Own(mean))
    assert {name for name, f in found.items() if f.ok} == {"shapes", "finite", "deterministic", "batch size"}
    assert {name for name, f in found.items() if f.ok is None} == {
        "weights",
        "reversed",
        "shuffled",
        "throughput",
        "peak memory",
    }
    check_encoder(Own(mean))


NOISE = torch.Generator().manual_seed(0)
BROKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "shapes": lambda clips: mean(clips)[:, :2],
    "finite": lambda clips: mean(clips) / 0,
    "deterministic": lambda clips: mean(clips) + torch.rand(3, generator=NOISE),
    "batch size": lambda clips: mean(clips) - mean(clips).mean(0),
    "runs": lambda clips: clips.view(3),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_every_broken_promise_is_found(promise: str) -> None:
    found = findings(Own(BROKEN[promise]))
    assert found[promise].ok is False
    with pytest.raises(AssertionError, match=f"own/x: .*{promise}"):
        check_encoder(Own(BROKEN[promise]))


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
    assert float(clips.max()) == 1  # white, normalised
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
