"""Attentive probing: a learned query attends to all tokens of a clip; one head or many, on one frozen pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.fields import NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.registry import unknown_variant
from vitascope.core.types import LATER
from vitascope.features.base import Batch, Features, check_finite
from vitascope.features.view import View
from vitascope.nn.schedules import cosine
from vitascope.probes.base import PredictionList, WorkloadSize
from vitascope.probes.classification.attentive_pooler import AttentiveHeads, random_heads
from vitascope.probes.classification.base import Classification, check_classes, lr_decay_pairs
from vitascope.probes.classification.model_selection import HeldOutSplit, Select, choose, held_out, selection_score
from vitascope.probes.classification.multilabel import class_targets, is_multilabel, probabilities_of
from vitascope.probes.classification.time_code import TimeCode
from vitascope.probes.classification.twlv1_table4 import ASPECT, ATTENTIVE
from vitascope.probes.training import resume
from vitascope.probes.training.stacked_optimizer import StackedOptimizer, head_losses
from vitascope.sampling.augmentations import Drawn, RandomClip, RandomCrop, find_drawn
from vitascope.sampling.names import Uniform, VJepa, clips_of, crops_of

Array: TypeAlias = NDArray[Any]

READ_BYTES = 64 << 20
"""Bytes of tokens read at once, at least those of one example; gradients are accumulated to the batch."""
_WHOLE = View(Uniform(), "grid", stored=False)


@dataclass(frozen=True, kw_only=True)
class AttentiveProbe(Classification):
    """V-JEPA's head on the tokens of a frozen encoder: a learned query attends to them, then an MLP and a classifier.

    With depth 4, three self-attention blocks precede it (V-JEPA 2). Trained by AdamW with a half cosine down to 0; the
    state after the last epoch is used. The encoder runs without autograd, once per pass for all candidates, unless its
    token grids fit into the disk budget. Probabilities are averaged over the views of a test example. The default uses
    one clip over the whole video and suits small datasets; `attentive/paper` is the protocol of the TWLV-I report.
    """

    name: str = "attentive"
    """Name as typed by users, with variant and options."""
    version: int = 2
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _WHOLE
    """View of the training videos."""
    test: View = _WHOLE
    """View of the test videos."""
    depth: Annotated[int, POSITIVE] = 1
    """Blocks of the head: self-attention blocks and, last, the cross-attention of the query."""
    time: TimeCode = field(default="none", metadata=LATER)
    """Code of the time step, added to the normalized tokens: `learned` as in 4DS, or fixed `sine`s. Without one the
    head reads tokens as a set, and cannot tell the order of frames that an encoder encodes one by one."""
    heads: Annotated[int, NOT_NEGATIVE] = 0
    """Attention heads; 0: one per 64 channels, at most 16, as in the encoders of the TWLV-I report."""
    concat_clips: bool = False
    """Attend to all clips of a video together, in training and test, as V-JEPA does; probabilities are averaged over
    crops only. Else clips are classified individually, and training uses one per epoch."""
    lr: Annotated[float, POSITIVE] = 0.001
    """Peak learning rate."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight decay of AdamW."""
    lrs: Annotated[tuple[float, ...], POSITIVE] = ()
    """Learning rates to search, combined with all `weight_decays`, trained at once; `select` chooses. Empty: `lr`."""
    weight_decays: Annotated[tuple[float, ...], NOT_NEGATIVE] = ()
    """Weight decays to search, combined with all `lrs`. Empty: `weight_decay`."""
    final_weight_decay: float = -1.0
    """Weight decay at the last step, reached along a cosine; negative: constant."""
    no_decay_bias: bool = False
    """Do not decay biases and other vectors."""
    clip_grad_norm: Annotated[float, NOT_NEGATIVE] = 0.0
    """Maximum gradient norm of a head; 0: no clipping."""
    epochs: Annotated[int, POSITIVE] = 20
    """Passes over the training examples."""
    warmup: Annotated[int, NOT_NEGATIVE] = 0
    """Epochs of linear warm-up."""
    min_steps: int = 300
    """Minimum number of steps; the number of epochs, warm-up included, is scaled up to reach it."""
    batch: Annotated[int, POSITIVE] = 64
    """Examples per step; gradients are accumulated if they do not fit at once."""
    select: Select = "held-out"
    """Selection of hyper-parameters: on a held-out tenth of the training examples, or on the test set."""

    resumes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        if self.warmup > self.epochs:
            raise UserError(f"{self.name}: warmup = {self.warmup} must be at most epochs = {self.epochs}")
        if "clip" in (self.train.reduce, self.test.reduce):
            raise UserError(f"{self.name}: attends to tokens; its views must reduce to time or grid, not clip")
        drawn = find_drawn(self.train.sampler)
        if self.concat_clips and drawn and drawn.count:
            raise UserError(f"{self.name}: concat_clips needs fresh draws in every epoch; set draws=0")

    @property
    def candidates(self) -> list[dict[str, float]]:
        """Hyper-parameter candidates, trained at once."""
        return lr_decay_pairs(self.lrs or (self.lr,), self.weight_decays or (self.weight_decay,))

    @property
    def order_aware(self) -> bool:
        """Whether tokens carry a time code."""
        return self.time != "none"

    def for_dataset(self, family: str) -> AttentiveProbe:
        """Return `attentive/paper`, `vjepa` and `vjepa2` with the settings for the dataset; others unchanged."""
        builders = {"attentive/paper": _paper, "attentive/vjepa": _vjepa, "attentive/vjepa2": _vjepa2}
        builder = builders.get(self.name)
        return self if builder is None or family not in ATTENTIVE else builder(family, self.name)

    def passes(self, train: int) -> int:
        """Return the number of passes over `train` examples."""
        return self._epochs(train)[0]

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds of all heads, forward and backward; see `attentive_pooler`."""
        heads = self.heads or default_heads(load.dim)
        token = 2 * heads * load.dim + (self.depth - 1) * (12 * load.dim + 2 * load.tokens) * load.dim
        clip = load.tokens * token + 11 * load.dim**2
        examples_read = 3 * load.train * self.passes(load.train) + load.test * load.test_clips
        return float(examples_read * clip * len(self.candidates))

    def predict(
        self, train: Features[Any], test: Features[Any], *, seed: int, scratch: Path | None = None
    ) -> PredictionList[Float[Array, "c"]]:
        """Return class probabilities of each test example, float32; `seed` sets initialization and batch order.

        With `scratch`, the state is saved there after every epoch, and an interrupted training resumes from it.
        """
        check_classes(self.name, train)
        labels, test_labels, candidates = class_targets(train), class_targets(test), self.candidates
        hold_out = len(candidates) > 1 and self.select == "held-out"
        split = held_out(train.examples, seed) if hold_out else HeldOutSplit(list(range(len(labels))), [])
        trained = self._fit(train, split.train, labels, seed=seed, scratch=scratch)
        diverged = {"diverged": [candidates[i] for i in trained.diverged]} if trained.diverged else {}
        if len(candidates) == 1:
            return PredictionList(self._probabilities(trained, test, None, self.test)[0].numpy(), **diverged)
        if hold_out:
            probabilities = self._probabilities(trained, train, split.held_out, self.train)
            scores = [selection_score(p[split.held_out], labels[split.held_out]) for p in probabilities]
            best, about = choose(candidates, self.select, scores)
            predictions = self._probabilities(trained, test, None, self.test)[best]
        else:
            probabilities = self._probabilities(trained, test, None, self.test)
            best, about = choose(candidates, self.select, [selection_score(p, test_labels) for p in probabilities])
            predictions = probabilities[best]
        return PredictionList(predictions.numpy(), **about, **diverged)

    def _epochs(self, examples: int) -> tuple[int, int]:
        """Return the number of epochs and the steps per epoch."""
        steps = -(-examples // self.batch)
        return max(self.epochs, -(-self.min_steps // steps)), steps

    def _fit(
        self, train: Features[Any], indices: Sequence[int], labels: Tensor, *, seed: int, scratch: Path | None
    ) -> _TrainedHeads:
        """Train the heads, every example once per epoch."""
        first = next(iter(train.batches(1, [indices[0]], 0)), None) or next(iter(train.batches(1, indices, 0)), None)
        if first is None:
            raise UserError(f"{self.name}: none of {len(indices)} training videos could be encoded")
        device, dim = first.values.device, first.values.shape[-1]
        clip = 4 * first.values[0, 0].numel()
        limit = min(max(1, READ_BYTES // (clip * first.values.shape[1])), self.batch)
        size = next(n for n in range(limit, 0, -1) if self.batch % n == 0)
        model = random_heads(
            generator(seed),
            dim,
            len(train.classes),
            heads=self.heads or default_heads(dim),
            depth=self.depth,
            count=len(self.candidates),
            time=self.time,
            steps=1 if self.time == "none" else self._steps(train, int(first.owner[0])),
        ).to(device)
        optimizer = StackedOptimizer(
            model.parameters(), "adamw", no_decay_bias=self.no_decay_bias, clip_grad_norm=self.clip_grad_norm or None
        )
        epochs, epoch_steps = self._epochs(len(indices))
        parts: dict[str, resume.Stateful] = {"model": model, "optimizer": optimizer}
        done, labels = resume.resume(scratch, parts), labels.to(device)
        for epoch in range(done, epochs):
            step, accumulated = epoch * epoch_steps, 0
            for tokens, y, last in self._minibatches(train, indices, labels, size=size, epoch=epoch, seed=seed):
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    loss = head_losses(model(*tokens), y).sum() * len(y)
                loss.backward()
                accumulated += len(y)
                if last or accumulated >= self.batch:
                    _divide_gradients(model, accumulated)
                    step, accumulated = step + 1, 0
                    optimizer.step(*self._rates(step, epochs * epoch_steps, epochs))
            if len(optimizer.diverged) == len(self.candidates):
                resume.delete(scratch)  # the state is of no use
                raise UserError(f"{self.name}: all heads diverged by step {step}; lower lr")
            resume.save(scratch, parts, epoch + 1)
        resume.delete(scratch)
        return _TrainedHeads(model, optimizer.diverged, clip, is_multilabel(labels))

    def _rates(self, step: int, steps: int, epochs: int) -> tuple[Tensor, Tensor]:
        """Return learning rate and weight decay of every head at `step` (from 1)."""
        lr, decay = (torch.tensor([g[k] for g in self.candidates], dtype=torch.float64) for k in ("lr", "weight_decay"))
        warmup_steps = round(self.warmup * epochs / self.epochs) * (steps // epochs)
        if self.final_weight_decay >= 0:
            decay = cosine(step, steps, 0, decay, self.final_weight_decay)
        return cosine(step, steps, warmup_steps, lr), decay

    def _minibatches(
        self, train: Features[Any], indices: Sequence[int], labels: Tensor, *, size: int, epoch: int, seed: int
    ) -> Iterator[tuple[_ClipTokens, Tensor, bool]]:
        """Yield tokens, labels and whether the epoch ends, with every example of `indices` once."""
        order = torch.randperm(len(indices), generator=generator(1_000_003 * (seed + 1) + epoch))
        previous: tuple[_ClipTokens, Tensor] | None = None
        for batch in train.batches(size, torch.as_tensor(indices)[order].tolist(), self._draw(epoch)):
            if previous is not None:
                yield *previous, False
            tokens, owner = self._tokens(check_finite(train, batch), self.train)
            previous = tokens, labels[owner.to(labels.device)]
        if previous is not None:
            yield *previous, True

    def _draw(self, epoch: int) -> int | None:
        """Return which of the clips of a training example are read in an epoch; None: all of them."""
        return epoch if not self.concat_clips or find_drawn(self.train.sampler) else None

    def _steps(self, train: Features[Any], example: int) -> int:
        """Return the number of time steps of the tokens of a training example."""
        batch = next(iter(train.batches(1, [example], self._draw(0))))
        return self._tokens(batch, self.train)[0].steps

    def _tokens(self, batch: Batch, view: View) -> tuple[_ClipTokens, Tensor]:
        """Return the tokens a head attends to (of one clip, or of all clips of one crop), and their examples."""
        values, steps = batch.values.float().flatten(2, -2), batch.values.shape[2]
        if not self.concat_clips:
            mask = batch.mask.to(values.device)
            owner = batch.owner[:, None].expand_as(batch.mask)[batch.mask]
            return _ClipTokens(values.flatten(0, 1) if mask.all() else values[mask], None, steps), owner
        crops = crops_of(view.sampler)
        b, n, k, d = values.shape
        grouped = values.view(b, n // crops, crops, k, d).transpose(1, 2).reshape(b * crops, -1, d)
        clip_mask = batch.mask.view(b, n // crops, crops, 1).transpose(1, 2).expand(b, crops, n // crops, k)
        mask = clip_mask.reshape(b * crops, -1).to(values.device)
        tokens = _ClipTokens(grouped, None if mask.all() else mask, n // crops * steps)
        return tokens, batch.owner.repeat_interleave(crops)

    @torch.no_grad()
    def _probabilities(
        self, trained: _TrainedHeads, features: Features[Any], indices: Sequence[int] | None, view: View
    ) -> Float[Tensor, "p e c"]:
        """Return mean class probabilities by every head, of all examples or those in `indices`; NaN if unreadable."""
        total = torch.zeros(len(self.candidates), len(features.examples), len(features.classes))
        views = torch.zeros(len(features.examples))
        draw = None if indices is None or (self.concat_clips and not find_drawn(view.sampler)) else 0
        clips = 1 if draw is not None else clips_of(view.sampler, 16)
        for batch in features.batches(max(1, READ_BYTES // (trained.clip * clips)), indices, draw):
            tokens, owner = self._tokens(check_finite(features, batch), view)
            logits = trained.model(*tokens)
            probabilities = probabilities_of(logits, multilabel=trained.multilabel).float().cpu()
            total.index_add_(1, owner.cpu(), probabilities)
            views.index_add_(0, owner.cpu(), torch.ones(len(owner)))
        return total / torch.where(views > 0, views, torch.nan)[:, None]


def _divide_gradients(model: AttentiveHeads, count: int) -> None:
    """Turn gradients of a sum over `count` examples into those of the mean."""
    for p in model.parameters():
        if p.grad is not None:
            p.grad.div_(count)


class _ClipTokens(NamedTuple):
    """Tokens that a head attends to together, in order of time: `steps` time steps with equally many tokens each."""

    values: Float[Tensor, "m k d"]
    mask: Bool[Tensor, "m k"] | None
    steps: int


class _TrainedHeads(NamedTuple):
    """Trained heads, {head: step} of those that diverged, the bytes of the tokens of a clip, and the kind of labels."""

    model: AttentiveHeads
    diverged: dict[int, int]
    clip: int
    multilabel: bool


def default_heads(dim: int) -> int:
    """Return the number of attention heads for `dim` channels: one per 64, at most 16, and a divisor of `dim`."""
    return next(h for h in range(min(16, max(dim // 64, 1)), 0, -1) if dim % h == 0)


def _paper(family: str, name: str) -> AttentiveProbe:
    settings = ATTENTIVE[family]
    plain = AttentiveProbe(name=name, min_steps=0)
    return replace(plain, **settings.training, **settings.views(ASPECT["attentive"], "grid"))


CLIPS_BY_DATASET = {"ssv2": 2}
"""Number of clips that V-JEPA attends to together, where it is not eight."""
VJEPA2_CANDIDATES: Mapping[str, Any] = {
    "lrs": (5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
    "weight_decays": (0.01, 0.1, 0.4, 0.8),
}
"""The twenty candidates of V-JEPA 2."""


def _vjepa(family: str, name: str) -> AttentiveProbe:
    clips = CLIPS_BY_DATASET.get(family, 8)
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
        _vjepa(family, name),
        depth=4,
        final_weight_decay=-1.0,
        no_decay_bias=False,
        clip_grad_norm=0.0,
        **VJEPA2_CANDIDATES,
    )


_RANDOM = View(Drawn(RandomCrop(RandomClip(4), flip=True), 0), "grid", stored=False)
PRESETS: Mapping[str, AttentiveProbe] = {
    "": AttentiveProbe(),
    "grid": AttentiveProbe(name="attentive/grid", **VJEPA2_CANDIDATES),
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
    "grid": "twenty heads at once (V-JEPA 2's learning rates and weight decays), selected on held-out training data",
    "deep": "V-JEPA 2's head: three self-attention blocks before the query",
    "augmented": "one head; a random clip with a random resized crop, encoded anew in every epoch",
    "paper": "exactly table 4 of the TWLV-I report, by dataset: a random crop per epoch, 3 x n test views averaged",
    "paper-k400": "table 4 as for Kinetics-400, on any dataset",
    "paper-mit": "table 4 as for Moments in Time, on any dataset",
    "paper-ssv2": "table 4 as for Something-Something v2, on any dataset",
    "paper-diving48": "table 4 as for Diving-48, on any dataset",
    "paper-epic": "table 4 as for EPIC-Kitchens, on any dataset",
    "paper-in1k": "table 4 as for ImageNet-1K, on any dataset",
    "vjepa": "V-JEPA's protocol: attends to 8 clips (2 on ssv2) together, averages 3 crops; without RandAugment",
    "vjepa2": "V-JEPA 2's protocol: the same views, depth 4, twenty heads, selected on held-out training data",
    "vjepa2-original": "V-JEPA 2's protocol, head selected on the test set as by its authors; marked in tables",
}
"""{variant: description}, as listed by `vitascope ls probes`."""


def build(variant: str = "") -> AttentiveProbe:
    """Return the probe `attentive/variant`, or `attentive`."""
    known = PRESETS.get(variant)
    if known is None:
        raise unknown_variant("probes", "attentive", variant, VARIANTS)
    return known
