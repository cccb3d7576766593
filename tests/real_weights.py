"""Random weights in the official layouts of I3D and EfficientNet-Lite0, drawn from numpy's generator by name.

No torch and nothing of the package, so that the authors' code runs on them in an environment of its own.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

MIXED = {
    "3b": (192, (64, 96, 128, 16, 32, 32)),
    "3c": (256, (128, 128, 192, 32, 96, 64)),
    "4b": (480, (192, 96, 208, 16, 48, 64)),
    "4c": (512, (160, 112, 224, 24, 64, 64)),
    "4d": (512, (128, 128, 256, 24, 64, 64)),
    "4e": (512, (112, 144, 288, 32, 64, 64)),
    "4f": (528, (256, 160, 320, 32, 128, 128)),
    "5b": (832, (256, 160, 320, 32, 128, 128)),
    "5c": (832, (384, 192, 384, 48, 128, 128)),
}
"""Input width and widths of the branches of each mixed block, as the paper's figure has them."""
BLOCKS = (
    *[(32, 16, 3, 1)],
    *[(16, 24, 3, 6), (24, 24, 3, 6)],
    *[(24, 40, 5, 6), (40, 40, 5, 6)],
    *[(40, 80, 3, 6), (80, 80, 3, 6), (80, 80, 3, 6)],
    *[(80, 112, 5, 6), (112, 112, 5, 6), (112, 112, 5, 6)],
    *[(112, 192, 5, 6), (192, 192, 5, 6), (192, 192, 5, 6), (192, 192, 5, 6)],
    *[(192, 320, 3, 6)],
)
"""Input and output channels, kernel and expansion of each block of EfficientNet-Lite0."""


def drawn(name: str, *shape: int) -> np.ndarray:
    """Numbers of a normal distribution, always the same for a name."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def kernel(name: str, *shape: int, inputs: int) -> np.ndarray:
    """Weights of a convolution over so many inputs, which keep the size of what goes through."""
    return drawn(name, *shape) * np.float32(np.sqrt(2 / inputs))


def smooth(name: str, *shape: int) -> np.ndarray:
    """Pixels between -1 and 1, of blocks of eight with noise: (..., y, x, 3)."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    *before, y, x, channels = shape
    blocks = rng.uniform(-1, 1, (*before, -(-y // 8), -(-x // 8), channels)).repeat(8, -3).repeat(8, -2)
    return (0.75 * blocks[..., :y, :x, :] + 0.25 * rng.uniform(-1, 1, shape)).astype(np.float32)


def i3d_units() -> dict[str, tuple[int, int, int]]:
    """Input width, output width and kernel of every convolution by its official name."""
    units = {"Conv3d_1a_7x7": (3, 64, 7), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (64, 192, 3)}
    for name, (before, (a, b, c, d, e, f)) in MIXED.items():
        units |= {
            f"Mixed_{name}/Branch_0/Conv3d_0a_1x1": (before, a, 1),
            f"Mixed_{name}/Branch_1/Conv3d_0a_1x1": (before, b, 1),
            f"Mixed_{name}/Branch_1/Conv3d_0b_3x3": (b, c, 3),
            f"Mixed_{name}/Branch_2/Conv3d_0a_1x1": (before, d, 1),
            f"Mixed_{name}/Branch_2/Conv3d_0b_3x3": (d, e, 3),
            f"Mixed_{name}/Branch_3/Conv3d_0b_1x1": (before, f, 1),
        }
    return units


def put(tree: dict[str, Any], block: str, name: str, values: dict[str, np.ndarray]) -> None:
    """Parameters of a module of a block, whose last part may itself contain a slash."""
    path = block.split("/", 1)
    for key in path:
        tree = tree.setdefault(key, {})
    tree[name] = values


def i3d_variables() -> dict[str, Any]:
    """Variables of I3D, nested as the published pickle nests them; norms have axes of length one as there."""
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for name, (before, width, side) in i3d_units().items():
        weights = kernel(name, side, side, side, before, width, inputs=before * side**3)
        put(tree["params"], name, "Conv_0", {"kernel": weights})
        flat = (1, 1, 1, 1, width)
        put(tree["params"], name, "BatchNorm_0", {"bias": 0.3 * drawn(f"{name} bias", *flat)})
        variance = np.exp(0.3 * drawn(f"{name} var", *flat))
        put(tree["batch_stats"], name, "BatchNorm_0", {"mean": 0.3 * drawn(f"{name} mean", *flat), "var": variance})
    head = {"kernel": drawn("head", 1, 1, 1, 1024, 400), "bias": drawn("head bias", 400)}
    put(tree["params"], "Logits/Conv3d_0c_1x1", "Conv_0", head)
    return tree


def efficientnet_state() -> dict[str, np.ndarray]:
    """The state dict of EfficientNet-Lite0."""
    state: dict[str, np.ndarray] = {}

    def add(convolution: str, norm: str, shape: tuple[int, ...]) -> None:
        state[f"{convolution}.weight"] = kernel(convolution, *shape, inputs=int(np.prod(shape[1:])))
        for name in ("weight", "bias", "running_mean"):
            state[f"{norm}.{name}"] = (name == "weight") + 0.3 * drawn(f"{norm} {name}", shape[0])
        state[f"{norm}.running_var"] = np.exp(0.3 * drawn(f"{norm} var", shape[0]))
        state[f"{norm}.num_batches_tracked"] = np.array(7)

    add("_conv_stem", "_bn0", (32, 3, 3, 3))
    for number, (before, width, side, expansion) in enumerate(BLOCKS):
        block, inner = f"_blocks.{number}", before * expansion
        if expansion > 1:
            add(f"{block}._expand_conv", f"{block}._bn0", (inner, before, 1, 1))
        add(f"{block}._depthwise_conv", f"{block}._bn1", (inner, 1, side, side))
        add(f"{block}._project_conv", f"{block}._bn2", (width, inner, 1, 1))
    add("_conv_head", "_bn1", (1280, 320, 1, 1))
    return state | {"_fc.weight": drawn("_fc", 1000, 1280), "_fc.bias": drawn("_fc bias", 1000)}
