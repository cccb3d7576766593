"""Attentive probing: one learned query asks all tokens of a clip; one head or many at once, on one frozen pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.registry import unknown_variant
from vitascope.features.base import Batch, Features, finite, truths
from vitascope.features.view import View
from vitascope.nn.schedules import cosine
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.attentive_pooler import AttentiveHeads, random_heads
from vitascope.probes.classification.base import Classification, check_classes, pairs
from vitascope.probes.classification.model_selection import Select, Sides, check_select, chosen, held_out, top_1
from vitascope.probes.classification.twlv1_table4 import ASPECT, ATTENTIVE
from vitascope.probes.training import resume
from vitascope.probes.training.stacked_optimizer import Stacked, losses
from vitascope.sampling.augmentations import Drawn, RandomClip, RandomCrop, drawing
from vitascope.sampling.names import Uniform, VJepa, clips_of, crops_of

Array: TypeAlias = NDArray[Any]

READ = 64 << 20
"""Bytes of tokens read at once, at least one example's; gradients add up to the batch."""
_WHOLE = View(Uniform(), "grid", stored=False)


@dataclass(frozen=True, kw_only=True)
class AttentiveProbe(Classification):
    """V-JEPA's head on the tokens of a frozen encoder: a learned query attends to them, then an MLP and a classifier.

    Of depth 4 there are three self-attention blocks before it (V-JEPA 2). AdamW, half a cosine down to 0; the state
    after the last epoch is what counts. The encoder runs without autograd, once for all heads of a grid, at every
    reading, unless its grids fit into the budget on disk. Probabilities of the views of a test example are averaged.
    The default has one clip over the whole video, and settings for small sets; `attentive/paper` is the report's.
    """

    name: str = "attentive"
    version: int = 1
    train: View = _WHOLE
    test: View = _WHOLE
    depth: int = 1
    heads: int = 0
    """Attention heads; 0: one for 64 numbers and at most 16, as the encoders of the report have."""
    concat_clips: bool = False
    """Clips attended together, as V-JEPA does, in training too: only the crops' probabilities are averaged. Else every
    clip is judged alone, and training sees one an epoch."""
    lr: float = 0.001
    weight_decay: float = 0.01
    lrs: tuple[float, ...] = ()
    """Several, each with each of `weight_decays`: trained at once on one frozen pass; `select` chooses."""
    weight_decays: tuple[float, ...] = ()
    final_weight_decay: float = -1.0
    """Where the weight decay goes along a cosine; negative: it stays."""
    no_decay_bias: bool = False
    """No decay of biases and other vectors."""
    clip_grad_norm: float = 0.0
    """Largest norm of a head's gradient; 0: any."""
    epochs: int = 20
    warmup: int = 0
    """Epochs in which the learning rate rises linearly."""
    min_steps: int = 300
    """Epochs are lengthened in proportion until they make so many steps."""
    batch: int = 64
    """Examples of a step; gradients are accumulated to it."""
    select: Select = "held-out"
    """By which side one of several is chosen; what is held out, a tenth of the training side, is not trained on."""

    resumes = True

    def __post_init__(self) -> None:
        check_select(self.name, self.select)
        above = {"lr": min([self.lr, *self.lrs]), "epochs": self.epochs, "batch": self.batch, "depth": self.depth}
        wrong = [f"{name} = {value}" for name, value in above.items() if not value > 0]
        wrong += [f"weight_decay = {d}" for d in (self.weight_decay, *self.weight_decays) if d < 0]
        wrong += [f"warmup = {self.warmup}"] if not 0 <= self.warmup <= self.epochs else []
        wrong += [f"{n} = {v}" for n, v in (("heads", self.heads), ("clip_grad_norm", self.clip_grad_norm)) if v < 0]
        if wrong:
            raise UserError(
                f"{self.name}: {', '.join(wrong)}: lr, epochs, batch and depth must be positive, weight_decay, heads "
                "and clip_grad_norm not negative, warmup between 0 and epochs"
            )
        if "clip" in (self.train.reduce, self.test.reduce):
            raise UserError(f"{self.name}: attends to tokens; its views keep time or grid, not one vector a clip")
        drawn = drawing(self.train.sampler)
        if self.concat_clips and drawn and drawn.count:
            raise UserError(f"{self.name}: clips attended together are drawn anew at every epoch; say draws:0")

    @property
    def grid(self) -> list[dict[str, float]]:
        """The settings that are trained at once."""
        return pairs(self.lrs or (self.lr,), self.weight_decays or (self.weight_decay,))

    def on(self, family: str) -> AttentiveProbe:
        """`attentive/paper`, `vjepa` and `vjepa2` as they are on the data set; any other as it is."""
        there = {"attentive/paper": _paper, "attentive/vjepa": _vjepa, "attentive/vjepa2": _vjepa2}
        made = there.get(self.name)
        return self if made is None or family not in ATTENTIVE else made(family, self.name)

    def passes(self, train: int) -> int:
        """How often `train` examples are read."""
        return self._epochs(train)[0]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Of all heads, forward and backward; see `nn.pooler`."""
        heads = self.heads or heads_of(load.dim)
        token = 2 * heads * load.dim + (self.depth - 1) * (12 * load.dim + 2 * load.tokens) * load.dim
        clip = load.tokens * token + 11 * load.dim**2
        read = 3 * load.train * self.passes(load.train) + load.test * load.test_clips
        return float(read * clip * len(self.grid))

    def predict(
        self, train: Features[int], test: Features[int], *, seed: int, scratch: Path | None = None
    ) -> PredictionList[Float[Array, "c"]]:
        """Class probabilities of each test example, float32; `seed` sets the start and the order of the batches.

        With `scratch` the state is kept there after every epoch, and a training that was interrupted goes on from it.
        """
        check_classes(self.name, train)
        labels, answers, grid = truths(train), truths(test), self.grid
        choosing = len(grid) > 1 and self.select == "held-out"
        sides = held_out(train.examples, seed) if choosing else Sides(list(range(len(labels))), [])
        fitted = self._fit(train, sides.train, labels, seed=seed, scratch=scratch)
        told = {"diverged": [grid[i] for i in fitted.lost]} if fitted.lost else {}
        if len(grid) == 1:
            return PredictionList(self._judge(fitted, test, None, self.test)[0].numpy(), **told)
        if choosing:
            each = self._judge(fitted, train, sides.held, self.train)
            scores = [top_1(p[sides.held], labels[sides.held]) for p in each]
            best, about = chosen(grid, self.select, scores)
            found = self._judge(fitted, test, None, self.test)[best]
        else:
            each = self._judge(fitted, test, None, self.test)
            best, about = chosen(grid, self.select, [top_1(p, answers) for p in each])
            found = each[best]
        return PredictionList(found.numpy(), **about, **told)

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Epochs, and steps of one."""
        an_epoch = -(-examples // self.batch)
        return max(self.epochs, -(-self.min_steps // an_epoch)), an_epoch

    def _fit(
        self, train: Features[int], among: Sequence[int], labels: Tensor, *, seed: int, scratch: Path | None
    ) -> _Fitted:
        """The heads after all epochs, every example once an epoch."""
        first = next(iter(train.batches(1, [among[0]], 0)), None) or next(iter(train.batches(1, among, 0)), None)
        if first is None:
            raise UserError(f"{self.name}: none of {len(among)} training videos could be encoded")
        where, dim = first.values.device, first.values.shape[-1]
        clip = 4 * first.values[0, 0].numel()
        most = min(max(1, READ // (clip * first.values.shape[1])), self.batch)
        size = next(n for n in range(most, 0, -1) if self.batch % n == 0)
        heads = self.heads or heads_of(dim)
        model = random_heads(
            generator(seed), dim, len(train.classes), heads=heads, depth=self.depth, count=len(self.grid)
        ).to(where)
        optimizer = Stacked(
            model.parameters(), "adamw", no_decay_bias=self.no_decay_bias, clip_grad_norm=self.clip_grad_norm or None
        )
        epochs, an_epoch = self._epochs(len(among))
        parts: dict[str, resume.Stateful] = {"model": model, "optimizer": optimizer}
        at, labels = resume.resume(scratch, parts), labels.to(where)
        for epoch in range(at, epochs):
            step, seen = epoch * an_epoch, 0
            for x, mask, y, last in self._minibatches(train, among, labels, size=size, epoch=epoch, seed=seed):
                with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
                    loss = losses(model(x, mask), y).sum() * len(y)
                loss.backward()
                seen += len(y)
                if last or seen >= self.batch:
                    _divide(model, seen)
                    step, seen = step + 1, 0
                    optimizer.step(*self._rates(step, epochs * an_epoch, epochs))
            if len(optimizer.lost) == len(self.grid):
                resume.forget(scratch)  # there is nothing to go on from
                raise UserError(f"{self.name}: no gradient is finite from step {step} on; lower lr")
            resume.keep(scratch, parts, epoch + 1)
        resume.forget(scratch)
        return _Fitted(model, optimizer.lost, clip)

    def _rates(self, step: int, steps: int, epochs: int) -> tuple[Tensor, Tensor]:
        """Learning rate and weight decay of every head at `step`, from 1."""
        lr, decay = (torch.tensor([g[k] for g in self.grid], dtype=torch.float64) for k in ("lr", "weight_decay"))
        warm = round(self.warmup * epochs / self.epochs) * (steps // epochs)
        if self.final_weight_decay >= 0:
            decay = cosine(step, steps, 0, decay, self.final_weight_decay)
        return cosine(step, steps, warm, lr), decay

    def _minibatches(
        self, train: Features[int], among: Sequence[int], labels: Tensor, *, size: int, epoch: int, seed: int
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor, bool]]:
        """Tokens, their mask, labels, and whether the epoch ends with them: every example of `among` once."""
        order = torch.randperm(len(among), generator=generator(1_000_003 * (seed + 1) + epoch))
        draw = epoch if not self.concat_clips or drawing(self.train.sampler) else None
        held: tuple[Tensor, Tensor | None, Tensor] | None = None
        for batch in train.batches(size, torch.as_tensor(among)[order].tolist(), draw):
            if held is not None:
                yield *held, False
            x, mask, owner = self._tokens(finite(train, batch), self.train)
            held = x, mask, labels[owner.to(labels.device)]
        if held is not None:
            yield *held, True

    def _tokens(self, batch: Batch, view: View) -> tuple[Float[Tensor, "m k d"], Bool[Tensor, "m k"] | None, Tensor]:
        """What a head gets at once: the tokens of one clip, or of all clips through one crop; and whose they are."""
        values = batch.values.float().flatten(2, -2)
        if not self.concat_clips:
            mask = batch.mask.to(values.device)
            whose = batch.owner[:, None].expand_as(batch.mask)[batch.mask]
            return values.flatten(0, 1) if mask.all() else values[mask], None, whose
        crops = crops_of(view.sampler)
        b, n, k, d = values.shape
        grouped = values.view(b, n // crops, crops, k, d).transpose(1, 2).reshape(b * crops, -1, d)
        shown = batch.mask.view(b, n // crops, crops, 1).transpose(1, 2).expand(b, crops, n // crops, k)
        mask = shown.reshape(b * crops, -1).to(values.device)
        return grouped, None if mask.all() else mask, batch.owner.repeat_interleave(crops)

    @torch.no_grad()
    def _judge(
        self, fitted: _Fitted, features: Features[int], among: Sequence[int] | None, view: View
    ) -> Float[Tensor, "p e c"]:
        """Mean probabilities by every head of each example, or of those `among` them; NaN of what could not be read."""
        total = torch.zeros(len(self.grid), len(features.examples), len(features.classes))
        views = torch.zeros(len(features.examples))
        draw = None if among is None or (self.concat_clips and not drawing(view.sampler)) else 0
        clips = 1 if draw is not None else clips_of(view.sampler, 16)
        for batch in features.batches(max(1, READ // (fitted.clip * clips)), among, draw):
            x, mask, owner = self._tokens(finite(features, batch), view)
            found = fitted.model(x, mask).softmax(-1).float().cpu()
            total.index_add_(1, owner.cpu(), found)
            views.index_add_(0, owner.cpu(), torch.ones(len(owner)))
        return total / torch.where(views > 0, views, torch.nan)[:, None]


def _divide(model: AttentiveHeads, count: int) -> None:
    """Gradients of a sum over so many examples become those of its mean."""
    for p in model.parameters():
        if p.grad is not None:
            p.grad.div_(count)


class _Fitted(NamedTuple):
    """Trained heads, which of them diverged at which step, and the bytes of a clip's tokens."""

    model: AttentiveHeads
    lost: dict[int, int]
    clip: int


def heads_of(dim: int) -> int:
    """Attention heads of a head on `dim` numbers: one for 64, at most 16, and a divisor."""
    return next(h for h in range(min(16, max(dim // 64, 1)), 0, -1) if dim % h == 0)


def _paper(family: str, name: str) -> AttentiveProbe:
    column = ATTENTIVE[family]
    plain = AttentiveProbe(name=name, min_steps=0)
    return replace(plain, **column.training, **column.views(ASPECT["attentive"], "grid"))


CLIPS = {"ssv2": 2}
"""Clips that V-JEPA attends together where they are not eight."""
GRID: Mapping[str, Any] = {
    "lrs": (5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
    "weight_decays": (0.01, 0.1, 0.4, 0.8),
}
"""The twenty heads of V-JEPA 2."""


def _vjepa(family: str, name: str) -> AttentiveProbe:
    clips = CLIPS.get(family, 8)
    drawn = Drawn(RandomCrop(VJepa(clips, 4, 1), (0.08, 1.0), (3 / 4, 4 / 3)), 0)
    return AttentiveProbe(
        name=name,
        train=View(drawn, "grid", stored=False),
        test=View(VJepa(clips, 4, 3), "grid", stored=False),
        concat_clips=True,
        final_weight_decay=1e-6,
        no_decay_bias=True,
        clip_grad_norm=1.0,
        min_steps=0,
        batch=256,
    )


def _vjepa2(family: str, name: str) -> AttentiveProbe:
    return replace(
        _vjepa(family, name), depth=4, final_weight_decay=-1.0, no_decay_bias=False, clip_grad_norm=0.0, **GRID
    )


_RANDOM = View(Drawn(RandomCrop(RandomClip(4), flip=True), 0), "grid", stored=False)
PRESETS: Mapping[str, AttentiveProbe] = {
    "": AttentiveProbe(),
    "grid": AttentiveProbe(name="attentive/grid", **GRID),
    "deep": AttentiveProbe(name="attentive/deep", depth=4),
    "augmented": AttentiveProbe(name="attentive/augmented", train=_RANDOM),
    "paper": _paper("k400", "attentive/paper"),
    **{f"paper-{family}": _paper(family, f"attentive/paper-{family}") for family in ATTENTIVE},
    "vjepa": _vjepa("k400", "attentive/vjepa"),
    "vjepa2": _vjepa2("k400", "attentive/vjepa2"),
    "vjepa2-original": replace(_vjepa2("k400", "attentive/vjepa2-original"), select="best-on-test"),
}
VARIANTS: dict[str, str] = {
    "": "V-JEPA's head on one clip over the whole video; AdamW, at least 300 steps",
    "grid": "twenty heads at once (V-JEPA 2's learning rates and weight decays), one chosen on held-out training data",
    "deep": "V-JEPA 2's head: three self-attention blocks before the query",
    "augmented": "one head, a random clip through a random resized crop, encoded anew at every epoch",
    "paper": "table 4 to the letter, the column of the data set: one random crop in training, 3 x n views averaged",
    "paper-k400": "the Kinetics-400 column, on any data set",
    "paper-mit": "the Moments-in-Time column",
    "paper-ssv2": "the Something-Something-v2 column",
    "paper-diving48": "the Diving-48 column",
    "paper-epic": "the EPIC-Kitchens column",
    "paper-in1k": "the ImageNet-1K column",
    "vjepa": "V-JEPA's protocol: 8 clips (2 on ssv2) attended together, 3 crops averaged; without its RandAugment",
    "vjepa2": "V-JEPA 2's: the same views, depth 4, twenty heads, one chosen on held-out training data",
    "vjepa2-original": "the same with the head that is best on the test side, as its authors choose; marked so",
}
"""What follows `attentive/`, and what it is."""


def build(variant: str = "") -> AttentiveProbe:
    """The probe called `attentive/variant`, or `attentive`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "attentive", variant, VARIANTS)
    return known
