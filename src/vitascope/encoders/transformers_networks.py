"""Networks of transformers as encoders: from normalized pixels to token grids and summary vectors."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.encoders.base import Tokens
from vitascope.nn.block_layout import BlockLayout

SIDE = 224
"""Side of the image to try a model with whose configuration names none, pixels."""


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The blocks of a transformers model, or the stages of a hierarchical one, without those of a predictor.

    They are in its outermost list of modules, and in others of the same name beside it: of frames, then of time.
    """
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and "predictor" not in n}
    places = {name: (name.count("."), name.rpartition(".")[2]) for name in lists}
    outermost = min(places.values(), key=lambda place: place[0], default=(0, ""))
    return [block for name, blocks in lists.items() if places[name] == outermost for block in blocks]


class ImageModel(nn.Module):
    """A transformers image model, from images to token grids and vectors."""

    before: int | None = None
    """Class and register tokens, which come first; known after the first image."""
    channels_first = False
    """Whether it is convolutional."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def block_layout(self) -> BlockLayout:
        """The blocks of the model, or the stages of a hierarchical or convolutional one."""
        if self.before is None:
            side = side_of(self.model.config) or SIDE
            self(torch.zeros(1, 3, side, side, device=next(self.model.parameters()).device))
        return BlockLayout(layers_of(self.model), self.before or 0, channels_first=self.channels_first)

    def forward(self, images: Float[Tensor, "n 3 y x"]) -> tuple[Float[Tensor, "n h w d"], Float[Tensor, "n c"]]:
        """The patch tokens and the pooled vector; without a regular token grid, the vector as a 1 x 1 grid."""
        out = self.model(pixel_values=images)
        states, self.before = out.last_hidden_state, 0
        self.channels_first = states.ndim == 4
        if self.channels_first:  # convolutional
            return states.permute(0, 2, 3, 1), pooled(out, states.flatten(2).transpose(1, 2))
        patch = getattr(self.model.config, "patch_size", None)
        h, w = (images.shape[2] // patch, images.shape[3] // patch) if isinstance(patch, int) else (0, 0)
        if not h or not 0 <= states.shape[1] - h * w <= 16:  # hierarchical: patches are merged between stages
            h = w = math.isqrt(states.shape[1])
            if h * w != states.shape[1]:
                vector = pooled(out, states)
                return vector[:, None, None], vector
        self.before = states.shape[1] - h * w  # class and register tokens come first
        tokens = states[:, self.before :]
        return tokens.unflatten(1, (h, w)), pooled(out, tokens)


class VideoModel(nn.Module):
    """A transformers video model, from clips to token grids and vectors; an `fc_norm` is applied to the mean."""

    before: int | None = None
    """Class tokens, which come first; known after the first clip."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def block_layout(self) -> BlockLayout:
        """The blocks of the model."""
        if self.before is None:
            config: Any = self.model.config
            sides = (frames_of(config) or 1, side_of(config) or SIDE, side_of(config) or SIDE)
            self(torch.zeros(1, 3, *sides, device=next(self.model.parameters()).device))
        return BlockLayout(layers_of(self.model), self.before or 0)

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Tokens in (t, h, w) order and the pooled vector; `UserError` for another input size than the model's."""
        config: Any = self.model.config
        check_size(config, clips)
        t, y, x = clips.shape[2:]
        name: str = self.model.main_input_name  # type: ignore[assignment]
        skip = {"skip_predictor": True} if config.model_type == "vjepa2" else {}
        out = self.model(**{name: clips.transpose(1, 2)}, **skip)
        tubelet, patch = block_of(config)
        t, h, w = t // tubelet, y // patch, x // patch
        self.before = out.last_hidden_state.shape[1] - t * h * w
        tokens = out.last_hidden_state[:, self.before :]
        if config.model_type == "timesformer":  # time varies fastest
            return Tokens(tokens.unflatten(1, (h, w, t)).permute(0, 3, 1, 2, 4), pooled(out, tokens))
        norm = getattr(self.model, "fc_norm", None)
        return Tokens(tokens.unflatten(1, (t, h, w)), pooled(out, tokens) if norm is None else norm(tokens.mean(1)))


class XClipVideo(nn.Module):
    """The video side of X-CLIP: a vision tower whose frames exchange messages, a projection and attention over frames.

    The vector is that of `get_video_features`; tokens are those of the vision tower.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config.vision_config
        self.dim: int = model.config.projection_dim
        self.vision_model, self.visual_projection, self.mit = model.vision_model, model.visual_projection, model.mit

    def block_layout(self) -> BlockLayout:
        """The blocks of the vision tower, which run on frames with a class token each."""
        return BlockLayout(layers_of(self.vision_model), 1)

    def forward(self, clips: Float[Tensor, "n 3 t y x"]) -> Tokens:
        """Tokens in (t, h, w) order and the vector; `UserError` for another input size than the model's."""
        check_size(self.config, clips)
        n, _, t, y, x = clips.shape
        out = self.vision_model(pixel_values=clips.transpose(1, 2).flatten(0, 1))
        h, w = y // self.config.patch_size, x // self.config.patch_size
        patches = out.last_hidden_state[:, 1:]
        frames = self.visual_projection(out.pooler_output).unflatten(0, (n, t))
        return Tokens(patches.unflatten(1, (h, w)).unflatten(0, (n, t)), self.mit(frames).pooler_output)


def check_size(config: Any, clips: Float[Tensor, "n 3 t y x"]) -> None:
    """Raise `UserError` for clips of another size than the model's."""
    t, y, x = clips.shape[2:]
    if (t, y, x) != (frames_of(config), side_of(config), side_of(config)):
        size, own = f"{t} x {y} x {x}", f"{frames_of(config)} x {side_of(config)} x {side_of(config)}"
        raise UserError(f"{config.model_type} takes clips of {own}, not {size}, for which its positions are wrong")


def pooled(out: Any, tokens: Float[Tensor, "n l d"]) -> Float[Tensor, "n c"]:
    """The model's own summary vector, otherwise the mean of the patch tokens; see `summary_of`."""
    name = summary_of(out)
    return torch.as_tensor(getattr(out, name)).flatten(1) if name else tokens.mean(1)


def summary_of(out: Any) -> str:
    """Name of the model's own summary vector, `image_embeds` or `pooler_output`; empty if it has none."""
    names = ("image_embeds", "pooler_output")
    return next((name for name in names if getattr(out, name, None) is not None), "")


def frames_of(config: Any) -> int | None:
    """Number of frames per clip; None for an image model."""
    return getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)


def side_of(config: Any) -> int | None:
    """Side of the square input, pixels; None if the configuration does not specify it."""
    size = getattr(config, "crop_size", None) or getattr(config, "image_size", None)
    return size[0] if isinstance(size, (list, tuple)) else size


def block_of(config: Any) -> tuple[int, int]:
    """Size of one token of a video model: frames, and side in pixels."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, (list, tuple)):
        return tubelet[0], tubelet[1]
    patch = config.patch_size
    return tubelet, patch[0] if isinstance(patch, (list, tuple)) else patch
