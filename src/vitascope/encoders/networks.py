"""From a configuration to its network: which class of `nn` a family's numbers describe."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from vitascope.nn.configs.base import NetworkConfig
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.hiera import HieraConfig
from vitascope.nn.configs.image_vit import ImageViTConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.configs.videoprism import VideoPrismConfig

NETWORKS: dict[type, str] = {
    ConvNetConfig: "vitascope.nn.convnet:ConvNet",
    HieraConfig: "vitascope.nn.hiera:Hiera",
    ImageViTConfig: "vitascope.nn.image_vit:ImageViT",
    VideoViTConfig: "vitascope.nn.video_vit:VideoViT",
    VideoPrismConfig: "vitascope.nn.videoprism:VideoPrism",
}
"""`module:class` by the class of the numbers; imported when a network is made, as networks need torch."""


def empty(shape: NetworkConfig) -> Any:
    """The network of `shape` without memory for its weights."""
    module, _, name = NETWORKS[type(shape)].partition(":")
    with torch.device("meta"):
        network: nn.Module = getattr(importlib.import_module(module), name)(shape)
    return network.eval().requires_grad_(False)
