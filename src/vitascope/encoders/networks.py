"""Build the network of a configuration."""

from __future__ import annotations

import importlib

import torch

from vitascope.core.errors import UserError, one_line
from vitascope.core.schema import conform
from vitascope.core.types import plain
from vitascope.nn.configs.base import NetworkConfig
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.efficientnet import EfficientNetConfig
from vitascope.nn.configs.hiera import HieraConfig
from vitascope.nn.configs.i3d import I3DConfig
from vitascope.nn.configs.image_vit import ImageViTConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.configs.videoprism import VideoPrismConfig
from vitascope.nn.network import Network

NETWORKS: dict[type, str] = {
    ConvNetConfig: "vitascope.nn.convnet:ConvNet",
    EfficientNetConfig: "vitascope.nn.efficientnet:EfficientNet",
    HieraConfig: "vitascope.nn.hiera:Hiera",
    I3DConfig: "vitascope.nn.i3d:I3D",
    ImageViTConfig: "vitascope.nn.image_vit:ImageViT",
    VideoViTConfig: "vitascope.nn.video_vit:VideoViT",
    VideoPrismConfig: "vitascope.nn.videoprism:VideoPrism",
}
"""Network class by configuration class, as `module:class`; imported on use, since networks need torch."""


MAX_BLOCKS, MAX_SIZE, MAX_PARAMS = 1000, 10**7, 10**12
"""Far more than any network has: building one of absurd numbers takes for ever."""


def check(shape: NetworkConfig) -> None:
    """Raise UserError for a configuration from a file that no network has."""
    data = plain(shape)
    conform(data, type(shape))
    numbers = [n for value in data.values() for n in (value if isinstance(value, list) else [value])]
    if wrong := [n for n in numbers if isinstance(n, (int, float)) and not 0 <= n <= MAX_SIZE]:
        raise UserError(f"no network has a {wrong[0]} in its configuration")
    depth = data.get("depth", data.get("stages", ()))
    blocks = sum(depth) if isinstance(depth, list) else int(depth or 0)
    try:
        if blocks > MAX_BLOCKS or shape.params > MAX_PARAMS:
            raise UserError(f"no network has {blocks} blocks and {shape.params:.3g} parameters")
        empty(shape)
    except UserError:
        raise
    except Exception as error:  # whatever numbers that contradict each other end in
        raise UserError(f"no network has this configuration ({one_line(error)})") from error


def empty(shape: NetworkConfig) -> Network:
    """The network of `shape` on the meta device, without memory for its weights."""
    module, _, name = NETWORKS[type(shape)].partition(":")
    with torch.device("meta"):
        network: Network = getattr(importlib.import_module(module), name)(shape)
    return network.eval().requires_grad_(False)
