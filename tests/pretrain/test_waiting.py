"""The host waits for nothing in an ordinary step: neither for numbers of the device nor for the disk."""

import errno
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pretraining import Blobs, losses, recipe, same, state, train
from vitascope.core.device import generator
from vitascope.pretrain import checkpoint, optim
from vitascope.pretrain import train as train_module
from vitascope.pretrain.data.mixture import MixtureReader
from vitascope.pretrain.masking import (
    Attended,
    Blocks,
    DualMask,
    Masked,
    Random,
    RunningCell,
    Steps,
    Tube,
    Whole,
    _indices,
)
from vitascope.pretrain.targets.feature_cache import FeatureCache
from vitascope.pretrain.targets.targets import Distilled, Flow, Hog, Labels, Latent, Pixels

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique_dim", "_unique2"}
"""Operations that copy what the device computed: `item`, `float`, `bool`, and those whose result has a size that
depends on values."""


class Reads(TorchDispatchMode):
    """Counts reads of values by step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.step, self.counts = -1, Counter[int]()
        schedule = optim.apply_schedule

        def stepped(optimizers: Any, made: Any, step: int) -> float:
            self.step = step
            return schedule(optimizers, made, step)

        monkeypatch.setattr(optim, "apply_schedule", stepped)
        self.methods = {name: getattr(torch.Tensor, name) for name in ("tolist", "numpy", "cpu", "__array__")}
        for name, method in self.methods.items():
            monkeypatch.setattr(torch.Tensor, name, self.counted(method))

    def counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, counted in the thread of the loop."""
        own = threading.get_ident()

        def call(*args: Any, **named: Any) -> Any:
            self.counts[self.step] += threading.get_ident() == own
            return method(*args, **named)

        return call

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[self.step] += func.__name__.split(".")[0] in READS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_ordinary_steps_read_nothing_from_the_device(
    optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow: dict[str, Any] = {"width": 16, "depth": 1}
    teacher = Distilled(name="films", teacher="pretraining:teacher", **narrow)
    targets = (Pixels(**narrow), Hog(**narrow), Flow(steady=True, **narrow), Latent(**narrow), teacher)
    data = ((Blobs(), 1.0), (Blobs(name="stills", still=True), 1.0))
    masks: dict[str, Any] = {"masks": (Tube(0.6), DualMask(Random(0.5), 0.5)), "image_masks": (RunningCell(0.5),)}
    made = recipe(targets=targets, data=data, steps=9, accumulate=2, optimizer=optimizer, **masks)
    with Reads(monkeypatch) as reads:
        train(tmp_path, made, log_every=4, save_every=6)
    assert {step for step, count in reads.counts.items() if count and step >= 0} == {3, 5, 7, 8}, (
        "lines and checkpoints"
    )


def test_nor_do_blocks_a_guide_and_a_cache_of_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are drawn on the CPU wherever training runs, and keys are those of clips not yet on a device."""
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    teacher = Distilled(name="films", teacher="pretraining:teacher", width=16, depth=1)
    read: list[torch.Tensor] = []
    with Reads(monkeypatch) as reads:

        def on_the_host(function: Callable[..., Any], check: Callable[..., bool]) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                assert check(*given, **named)
                with _disable_current_modes(), monkeypatch.context() as patch:
                    for name, method in reads.methods.items():
                        patch.setattr(torch.Tensor, name, method)
                    return function(*given, **named)

            return call

        drawn = on_the_host(train_module.draw_masks, lambda rules, grid, rng, **_: rng.device.type == "cpu")
        read_batch = MixtureReader.read

        def remembered(reader: Any, count: int) -> Any:
            batch = read_batch(reader, count)
            read.append(batch.pixels)
            return batch

        monkeypatch.setattr(MixtureReader, "read", remembered)
        keyed = on_the_host(train_module.clip_keys, lambda pixels: pixels is read[-1])
        monkeypatch.setattr(train_module, "clip_keys", keyed)
        # of a file; features that are not yet written are handed on as they are
        monkeypatch.setattr(FeatureCache, "_read", on_the_host(FeatureCache._read, lambda *_: True))
        for name, masks in (("guided", (Attended(0.5),)), ("blocks", (Blocks(2, 0.3), Tube(0.6)))):
            if name == "blocks":
                monkeypatch.setattr(train_module, "draw_masks", drawn)
            guide = "pretraining:teacher" if name == "guided" else ""
            made = recipe(targets=(teacher,), masks=masks, guide=guide, steps=6, accumulate=2)
            train(tmp_path / name, made, log_every=4, save_every=6, teacher_cache=0.1)
            counts = {step for step, count in reads.counts.items() if count and step >= 0}
            assert counts == {3, 5}, f"{name}: lines and checkpoints"
            reads.counts.clear()
    assert read


def test_masks_that_read_what_they_drew_are_drawn_on_the_cpu() -> None:
    """The device of the generator where training is on a GPU, which need not be there."""
    where = torch.device("cuda")
    for masks, host in (((Tube(0.6), DualMask(Blocks(2, 0.3))), True), ((Blocks(2, 0.3),), True)):
        assert (optim.mask_generator(recipe(masks=masks), 3, where).device.type == "cpu") == host
    cpu, anywhere = (optim.mask_generator(recipe(masks=(Blocks(2, 0.3),)), 3, torch.device(d)) for d in ("cpu", "cuda"))
    assert torch.equal(torch.rand(4, generator=cpu), torch.rand(4, generator=anywhere))
    assert not any(mask.reads for mask in (Whole(), Tube(0.6), Random(0.5), RunningCell(0.5), Attended(0.5)))


def test_a_read_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with Reads(monkeypatch) as reads:
        values = torch.ones(3)
        for call in (lambda: values.sum().item(), lambda: float(values[0]), lambda: values[values > 0], values.tolist):
            before = reads.counts[-1]
            call()
            assert reads.counts[-1] == before + 1 or call is not values.tolist
        assert bool(values.all())
        assert reads.counts[-1] >= 4


@pytest.mark.parametrize(
    "mask", [Whole(), Tube(0.6), Random(0.4), Steps(0.5), RunningCell(0.3), Blocks(2, 0.3)], ids=str
)
def test_masks_list_hidden_and_visible_tokens_in_order(mask: Any) -> None:
    drawn: Masked = mask(5, (4, 4, 6), generator(0))
    both = torch.cat(drawn, 1)
    for part in drawn:
        assert torch.equal(part, part.sort(dim=1).values)
    assert all(len(set(row.tolist())) == both.shape[1] for row in both)
    chosen = torch.rand(4, 9, generator=generator(1)).argsort(dim=1) < 3
    assert torch.equal(_indices(chosen, 3), chosen.nonzero()[:, 1].view(4, 3))


def test_labels_are_checked_before_they_are_copied() -> None:
    target = Labels(classes=3)
    target.check_labels(torch.tensor([0, 2]))
    for labels in ([0, 3], [-1, 1]):
        with pytest.raises(ValueError, match=f"labels from {min(labels)} to {max(labels)} do not fit 3 classes"):
            target.check_labels(torch.tensor(labels))


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is written only once step 4 has begun; what it holds is still the state after step 2."""
    write, schedule, begun = checkpoint.write_state, optim.apply_schedule, threading.Event()

    def late(*given: Any, **named: Any) -> Any:
        assert begun.wait(60), "training waits for the disk"
        return write(*given, **named)

    def stepped(optimizers: Any, made: Any, step: int) -> float:
        if step == 3:
            begun.set()
        return schedule(optimizers, made, step)

    train(tmp_path / "same", save_every=2, stop_at=2)
    monkeypatch.setattr(checkpoint, "write_state", late)
    monkeypatch.setattr(optim, "apply_schedule", stepped)
    train(tmp_path / "run", save_every=2, stop_at=4)
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(tmp_path / "run")] == [2, 4]
    assert same(state(tmp_path / "run", 2, tmp_path), state(tmp_path / "same", 2, tmp_path))
    train(tmp_path / "at once", save_every=2, stop_at=4, background_saves=False)
    assert same(state(tmp_path / "run", 4, tmp_path), state(tmp_path / "at once", 4, tmp_path))


def test_a_failed_write_stops_the_run_at_a_line_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the next checkpoint; the run then resumes from the one that is whole."""
    schedule, failed = optim.apply_schedule, threading.Event()

    def refuse(*_: Any, **__: Any) -> None:
        failed.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    def stepped(optimizers: Any, made: Any, step: int) -> float:
        assert step < 3 or failed.wait(60)
        return schedule(optimizers, made, step)

    train(tmp_path, recipe(steps=200), stop_at=1, save_every=200)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_state", refuse)
        patch.setattr(optim, "apply_schedule", stepped)
        with pytest.raises(OSError, match=r"No space left on device.*the one of step 1 is intact"):
            train(tmp_path, recipe(steps=200), save_every=2, stop_at=100)
    assert max(losses(tmp_path)) < 100
    train(tmp_path, recipe(steps=200), stop_at=3, save_every=200)
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(tmp_path)] == [1, 3]
