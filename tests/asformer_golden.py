"""What the original ASFormer says with random weights: its weights under our names, its inputs and outputs."""

from __future__ import annotations

import re

import numpy as np
import torch

OURS = (
    (r"^encoder\.", "stages.0."),
    (r"\.feed_forward\.layer\.0\.", ".conv."),
    (r"\.att_layer\.conv_out\.", ".mix."),
    (r"(layers\.\d+)\.conv_1x1\.", r"\1.last."),
    (r"\.conv_1x1\.", ".first."),
    (r"\.conv_out\.", ".out."),
)


def renamed(data: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The published weights as `ASFormer.load_state_dict` takes them."""
    given = {k.removeprefix("sd/"): torch.from_numpy(v) for k, v in data.items() if k.startswith("sd/")}
    state: dict[str, torch.Tensor] = {}
    for name, tensor in given.items():
        ours = re.sub(r"^decoders\.(\d)\.", lambda m: f"stages.{int(m[1]) + 1}.", name)
        for pattern, to in OURS:
            ours = re.sub(pattern, to, ours)
        if found := re.match(r"(.*)\.att_layer\.query_conv\.(weight|bias)$", ours):
            parts = [given[name.replace("query", part)] for part in ("query", "key", "value")]
            state[f"{found[1]}.qkv.{found[2]}"] = (
                torch.cat(parts).flatten(1) if found[2] == "weight" else torch.cat(parts)
            )
        elif "att_layer" not in ours:
            state[ours] = tensor.permute(0, 2, 1) if ".conv." in ours and tensor.ndim == 3 else tensor.squeeze(-1)
    return state
