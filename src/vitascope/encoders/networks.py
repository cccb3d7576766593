"""Build the network of a configuration."""

from __future__ import annotations

import importlib

import torch

from vitascope.nn.configs.base import NetworkConfig
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.hiera import HieraConfig
from vitascope.nn.configs.image_vit import ImageViTConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.configs.videoprism import VideoPrismConfig
from vitascope.nn.network import Network

NETWORKS: dict[type, str] = {
    ConvNetConfig: "vitascope.nn.convnet:ConvNet",
    HieraConfig: "vitascope.nn.hiera:Hiera",
    ImageViTConfig: "vitascope.nn.image_vit:ImageViT",
    VideoViTConfig: "vitascope.nn.video_vit:VideoViT",
    VideoPrismConfig: "vitascope.nn.videoprism:VideoPrism",
}
"""Network class by configuration class, as `module:class`; imported on use, since networks need torch."""


def empty(shape: NetworkConfig) -> Network:
    """The network of `shape` on the meta device, without memory for its weights."""
    module, _, name = NETWORKS[type(shape)].partition(":")
    with torch.device("meta"):
        network: Network = getattr(importlib.import_module(module), name)(shape)
    return network.eval().requires_grad_(False)
