"""From a configuration to its network: which class of `nn` a family's numbers describe."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from vitascope.nn.configs.base import Architecture
from vitascope.nn.configs.convnet import ConvShape
from vitascope.nn.configs.hiera import HieraShape
from vitascope.nn.configs.image_vit import ImageShape
from vitascope.nn.configs.video_vit import VideoShape
from vitascope.nn.configs.videoprism import VideoPrismShape

NETWORKS: dict[type, str] = {
    ConvShape: "vitascope.nn.convnet:ConvNet",
    HieraShape: "vitascope.nn.hiera:Hiera",
    ImageShape: "vitascope.nn.image_vit:ImageViT",
    VideoShape: "vitascope.nn.video_vit:VideoViT",
    VideoPrismShape: "vitascope.nn.videoprism:VideoPrism",
}
"""`module:class` by the class of the numbers; imported when a network is made, as networks need torch."""


def empty(shape: Architecture) -> Any:
    """The network of `shape` without memory for its weights."""
    module, _, name = NETWORKS[type(shape)].partition(":")
    with torch.device("meta"):
        network: nn.Module = getattr(importlib.import_module(module), name)(shape)
    return network.eval().requires_grad_(False)
