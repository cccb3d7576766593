"""What the original ActionFormer says with random weights: its weights under our names, its inputs and outputs."""

from __future__ import annotations

import re

import numpy as np
import torch

OURS = (
    (r"^backbone\.embd\.(\d)\.conv\.", r"embedding.\1."),
    (r"^backbone\.embd_norm\.", "embedding_norms."),
    (r"^backbone\.", ""),
    (r"\.ln([12])\.", r".norm\1."),
    (r"\.attn\.(query|key|value)_conv\.conv\.", r".attention.convs.\1."),
    (r"\.attn\.(query|key|value)_norm\.", r".attention.norms.\1."),
    (r"\.attn\.(query|key|value)\.", r".attention.inner.\1."),
    (r"\.attn\.proj\.", ".attention.proj."),
    (r"\.query\.", ".0."),
    (r"\.key\.", ".1."),
    (r"\.value\.", ".2."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.3\.", ".fc2."),
    (r"\.drop_path_attn\.scale$", ".scale1"),
    (r"\.drop_path_mlp\.scale$", ".scale2"),
    (r"^neck\.fpn_norms\.", "norms."),
    (r"^(cls|reg)_head\.head\.(\d)\.conv\.", r"\1_head.convs.\2."),
    (r"^(cls|reg)_head\.norm\.", r"\1_head.norms."),
    (r"^cls_head\.cls_head\.conv\.", "scores.last."),
    (r"^reg_head\.offset_head\.conv\.", "distances.last."),
    (r"^cls_head\.", "scores."),
    (r"^reg_head\.", "distances."),
)


def renamed(data: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The published weights as `ActionFormer.load_state_dict` takes them."""
    state, scales = {}, {}
    for name, array in data.items():
        if not name.startswith("sd/"):
            continue
        ours, tensor = name.removeprefix("sd/"), torch.from_numpy(array)
        if found := re.match(r"^reg_head\.scale\.(\d)\.scale$", ours):
            scales[int(found[1])] = tensor
            continue
        for pattern, to in OURS:
            ours = re.sub(pattern, to, ours)
        state[ours] = tensor.flatten() if tensor.ndim == 3 and tensor.shape[0] == tensor.shape[2] == 1 else tensor
    return {**state, "scale": torch.stack([scales[i] for i in sorted(scales)])}


def inputs(data: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Both videos side by side, padded to the longer, and which places they fill."""
    each = [torch.from_numpy(data[f"in/feats/{i}"]) for i in (0, 1)]
    lengths = torch.tensor([x.shape[1] for x in each])
    values = torch.stack([torch.nn.functional.pad(x, (0, int(lengths.max()) - x.shape[1])) for x in each])
    return values, torch.arange(int(lengths.max())) < lengths[:, None]


def stacked(data: dict[str, np.ndarray], name: str) -> torch.Tensor:
    """`out/name` of all levels, one after another."""
    return torch.cat([torch.from_numpy(data[f"out/{name}/{level}"]) for level in range(6)], 1)
