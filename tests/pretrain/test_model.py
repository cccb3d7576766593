"""The student is the encoder on the visible tokens, at their cost; decoders predict at the selected tokens."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pretraining import SHAPE
from vitascope.core.device import generator
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import VideoViT
from vitascope.pretrain.masking import RunningCell, Tube, Whole
from vitascope.pretrain.model import Decoder, Student, gather_tokens, patchify

BASE = VideoViTConfig(dim=768, depth=12, heads=12, mlp=3072)
GRID = (2, 3, 3)


def student(**changes: object) -> Student:
    return Student(VideoViTConfig(**{**{f: getattr(SHAPE, f) for f in SHAPE.__slots__}, **changes}), generator(0))


def clips(count: int = 3, frames: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, frames, 24, 24, generator=generator(1))


@pytest.mark.parametrize("frames", [4, 1])
@pytest.mark.parametrize("positions", ["sincos3d_d4", "stored"])
def test_with_nothing_hidden_it_is_the_encoder(frames: int, positions: str) -> None:
    model, inputs = student(positions=positions), clips(frames=frames)
    grid = model.grid(frames, 24)
    whole = Whole()(3, grid, generator(0))
    tokens = model(model.patchify(inputs), whole.keep, grid)
    expected = model.trunk(inputs)[0]
    torch.testing.assert_close(tokens.unflatten(1, grid), expected, atol=1e-5, rtol=0)


def test_what_it_does_not_see_does_not_change_what_it_says() -> None:
    model, inputs = student(), clips()
    keep, hide = RunningCell(0.5)(3, GRID, generator(2))
    blocks = model.patchify(inputs)
    spoilt = blocks.scatter(1, hide[..., None].expand(-1, -1, blocks.shape[-1]), 9.0)
    assert torch.equal(model(blocks, keep, GRID), model(spoilt, keep, GRID))
    changed = blocks.scatter(1, keep[..., None].expand(-1, -1, blocks.shape[-1]), 9.0)
    assert not torch.equal(model(blocks, keep, GRID), model(changed, keep, GRID))


def test_visible_tokens_are_those_of_a_trunk_that_is_given_these_alone() -> None:
    model, inputs = student(), clips()
    keep, _ = Tube(0.6)(3, GRID, generator(3))
    x = gather_tokens(model.trunk.patch_embed(inputs) + model.trunk.positions(GRID), keep)
    for block in model.trunk.blocks:
        x = block(x)
    torch.testing.assert_close(model(model.patchify(inputs), keep, GRID), model.trunk.norm(x), atol=1e-5, rtol=0)


def test_blocks_are_the_pixels_of_each_token() -> None:
    inputs = clips(2)
    blocks = patchify(inputs, 2, 8)
    for t in range(2):
        for y in range(3):
            for x in range(3):
                expected = inputs[:, :, 2 * t : 2 * t + 2, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].flatten(1)
                assert torch.equal(blocks[:, (t * 3 + y) * 3 + x], expected)


def test_cost_follows_the_visible_tokens() -> None:
    """ViT-B at 16 x 224 x 224 under 90 % tubes, counted by torch without computing anything."""
    with torch.device("meta"):
        model = Student.__new__(Student)
        torch.nn.Module.__init__(model)
        model.trunk, model.checkpointing = VideoViT(BASE), False
        blocks = torch.empty(1, 1568, 3 * 2 * 16 * 16)
    keep, hide = Tube(0.9)(1, BASE.grid, generator(0))
    assert keep.shape == (1, 160)
    counts = {}
    for name, visible in {"masked": keep, "whole": torch.cat([keep, hide], 1)}.items():
        with FlopCounterMode(display=False) as counter:
            model(blocks, visible.to("meta"), BASE.grid)
        counts[name] = counter.get_total_flops()
        assert counts[name] == pytest.approx(model.flops(visible.shape[1]), rel=0.05)
    assert model.flops(1568) == 2 * BASE.macs(16, 224)
    assert counts["whole"] / counts["masked"] > 1568 / 160


def test_checkpointing_changes_no_gradient() -> None:
    inputs, (keep, _) = clips(), Tube(0.6)(3, GRID, generator(3))
    gradients = []
    for checkpointing in (False, True):
        model = Student(SHAPE, generator(0), checkpointing=checkpointing)
        model(model.patchify(inputs), keep, GRID).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])


@pytest.mark.parametrize(
    "changes",
    [{"cls": True}, {"image": "embed"}, {"image": "stored"}, {"positions": "rope3d"}, {"pool": "attention"}],
    ids=str,
)
def test_parts_that_nothing_would_train_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        student(**changes)


@pytest.mark.parametrize(("on", "depth", "count"), [("hidden", 1, 10), ("seen", 1, 8), ("all", 1, 18), ("seen", 0, 8)])
def test_decoders_predict_at_the_selected_tokens(on: str, depth: int, count: int) -> None:
    decoder = Decoder(32, 5, depth=depth, width=48, on=on, generator=generator(0))
    keep, hide = Tube(5 / 9)(2, GRID, generator(0))
    tokens = torch.randn(2, 8, 32, generator=generator(1))
    assert decoder(tokens, keep, hide, GRID).shape == (2, count, 5)


def test_a_decoder_knows_places_by_their_number_alone() -> None:
    """Hidden tokens in another order are answered in that order."""
    decoder = Decoder(32, 5, depth=2, width=32, on="hidden", generator=generator(0))
    keep, hide = Tube(5 / 9)(1, GRID, generator(0))
    tokens = torch.randn(1, 8, 32, generator=generator(1))
    order = torch.randperm(hide.shape[1], generator=generator(2))
    straight, turned = decoder(tokens, keep, hide, GRID), decoder(tokens, keep, hide[:, order], GRID)
    torch.testing.assert_close(turned, straight[:, order])
    assert (straight[:, :1] - straight[:, 1:]).abs().max() > 1e-4
