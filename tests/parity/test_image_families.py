"""Image models against what their official code gave for small files in official layouts.

What the known outputs are. `tokens` are patch tokens after the final norm, `cls` and `registers` the tokens of no
place after it; `image2` and `image_rect` are rectangles, for which position tables are resampled. For CLIP `tokens`
is transformers' last_hidden_state, class token first and before the final norm (our `sequence`). DFN's `cls_width`
is the class token after the final norm, `frame_embed` its projection, frame by frame; SigLIP's `pooler` and PE's
`pooled_noproj` are the attention head's vector. `pooled` of a video is always the mean over its frames.
"""

from __future__ import annotations

import numpy as np
import pytest

from helpers import official_encoders
from vitascope.encoders import golden

CASES = {
    "dino-v2_b14": (2, {"cls", "tokens", "tokens2", "cls2", "pooled_video"}),
    "dino-v2_l14_reg": (2, {"cls", "tokens", "tokens2", "cls2", "pooled_video", "registers"}),
    "dino-v3_l16": (2, {"cls", "tokens", "tokens2", "cls2", "pooled_video", "registers"}),
    "hf_image-clip_l14": (2, {"tokens", "frame_embed", "pooled"}),
    "hf_image-siglip2_b16": (2, {"tokens", "pooler", "pooled"}),
    "openclip_dfn-h14": (1, {"frame_embed", "pooled", "cls_width", "tokens"}),
    "openclip_dfn-hf": (1, {"frame_embed", "pooled", "cls_width", "tokens"}),
    "pe-core_b16": (1, {"cls", "tokens", "pooled", "pooled_noproj", "pooled_video", "tokens_rect"}),
}
"""Files (a transformers folder is a second one) and outputs of each case."""


@pytest.mark.parametrize("name", CASES)
def test_official_outputs(name: str) -> None:
    files, outputs = CASES[name]
    folder = official_encoders()
    rows = golden.run(folder, [name])
    assert len(rows) == files
    for row in rows:
        assert row.ok, row.why
        assert set(row.outputs) == outputs
        assert max(row.outputs.values()) <= 2e-5
        with np.load(folder / f"{name}.io.npz") as known:
            assert outputs == {key for key in known.files if not key.startswith(("image", "video"))}
