"""Mean tokens after every block: of all families at full size without weights, and against the blocks run by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from vitascope.core.types import Card
from vitascope.encoders.base import FrameWise, NetworkEncoder, Tokens
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.layers import block_layout, block_means
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.image_vit import ImageViTConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.convnet import ConvNet
from vitascope.nn.image_vit import ImageViT
from vitascope.nn.video_vit import VideoViT

CARD = Card(name="lab/net", digest="1", dim=8, frames=4, size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
FIRST = {f: next(m for m in models(f).values() if m.layouts) for f in ENCODERS.families() if models(f)}


def recorded(encoder, clips, layers=None):
    """The mean tokens after the layers, by default all, and the output of the same pass."""
    layers = layers or range(1, len(block_layout(encoder).blocks) + 1)
    with block_means(encoder, layers, len(clips)) as means:
        output = encoder(clips)
    return dict(means), output


def drawn(network):
    for i, p in enumerate(network.parameters()):
        p.detach().normal_(generator=torch.Generator().manual_seed(i)).mul_(0.3)
    return network


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("family", FIRST)
def test_every_block_of_every_family_gives_one_vector_per_clip(family):
    """On the meta device, which computes shapes alone."""
    model = FIRST[family]
    network = empty(model.shape)
    encoder = NetworkEncoder(model.full_card(), FrameWise(network) if model.framewise else network)
    sides = (model.card.frames, model.card.size, model.card.size)
    means, _ = recorded(encoder, torch.zeros(2, 3, *sides, device="meta"))
    assert list(means) == [*range(1, len(means) + 1)]
    assert len(means) >= 12
    assert {m.shape[0] for m in means.values()} == {2}
    # the last block of EfficientNet is narrower than the convolution after it
    assert means[len(means)].shape[1] == (320 if family == "efficientnet" else model.shape.width)
    assert encoder.card.framewise == model.framewise == model.full_card().framewise


def test_image_blocks_are_averaged_over_patches_and_frames_without_special_tokens():
    shape = ImageViTConfig(dim=8, depth=3, heads=2, mlp=16, patch=8, side=16, cls=True, registers=2)
    network, clips = drawn(ImageViT(shape)), noise(2, 3, 4, 16, 16)
    encoder = NetworkEncoder(CARD, FrameWise(network))
    assert encoder.card.framewise
    means, output = recorded(encoder, clips)
    torch.testing.assert_close(output.clip, encoder(clips).clip, rtol=0, atol=0)
    for depth in (1, 2, 3):
        cut = drawn(ImageViT(shape))
        cut.load_state_dict(network.state_dict())
        cut.blocks = cut.blocks[:depth]
        each = [cut.trunk(clips[:, :, t])[0][:, 3:].mean(1) for t in range(4)]  # class token and two registers first
        torch.testing.assert_close(means[depth], torch.stack(each).mean(0))
    torch.testing.assert_close(network.norm(means[3][:, None]).shape, torch.Size((2, 1, 8)))


def test_video_blocks_are_averaged_over_time_and_space():
    shape = VideoViTConfig(dim=16, depth=2, heads=2, mlp=16, tubelet=2, patch=8, grid=(2, 2, 2), cls=True)
    network, clips = drawn(VideoViT(shape)), noise(3, 3, 4, 16, 16)
    encoder = NetworkEncoder(replace(CARD, dim=16), network)
    means, _ = recorded(encoder, clips, [2])
    assert list(means) == [2]
    torch.testing.assert_close(means[2], network.trunk(clips)[0][:, 1:].mean(1))


def test_convolutions_are_averaged_over_their_maps():
    encoder = NetworkEncoder(CARD, FrameWise(ConvNet(ConvNetConfig())))
    clips = noise(2, 3, 3, 32, 32)
    means, _ = recorded(encoder, clips)
    assert len(means) == len(ConvNetConfig().layers)
    frames = encoder.network.model.body(clips.transpose(1, 2).flatten(0, 1)).mean((2, 3))
    torch.testing.assert_close(means[len(means)], frames.unflatten(0, (2, 3)).mean(1))


def test_nothing_is_left_behind():
    encoder = load("vit/tiny-random")
    with pytest.raises(ZeroDivisionError), block_means(encoder, [1], 1):
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in encoder.modules())


class Mine(nn.Module):
    card = CARD

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        return Tokens(clips.mean((2, 3, 4))[:, None, None, None], clips.mean((2, 3, 4)))


def test_encoders_without_blocks_say_so():
    for encoder in (load("pixels/thumbnail"), Mine()):
        with pytest.raises(ValueError, match=r"(pixels/thumbnail|lab/net): has no blocks to probe; .* `block_layout`"):
            block_layout(encoder)
    with pytest.raises(ValueError, match="lab/net: imported embeddings hold no layers"):
        block_layout(CARD)
