"""Short trainings of the heads against the authors' code: same start, data and order, hence the same losses and end."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import actionformer_golden
import asformer_golden
from helpers import parity
from vitascope.core.device import generator
from vitascope.probes.classification.attentive_pooler import KV, UNUSED, load_official, official_state
from vitascope.probes.methods import localize, segment
from vitascope.probes.methods.attentive import AttentiveProbe
from vitascope.probes.temporal.actionformer import ActionFormer, split_weight_decay
from vitascope.probes.temporal.asformer import ASFormer, asformer_loss
from vitascope.probes.temporal.localization_data import PointGrid, VideoSequence, learning_rate, pad_batch
from vitascope.probes.temporal.point_targets import training_losses
from vitascope.probes.training import resume
from vitascope.probes.training.clipped_step import clipped_step
from vitascope.probes.training.stacked_optimizer import StackedOptimizer, head_losses

pytestmark = pytest.mark.usefixtures("unchecked")
LOSSES = 3e-6
"""Largest relative difference of a loss."""
MOVEMENT = 2e-3
"""Largest distance between the weights at the end, as a share of how far they came."""
Arrays = dict[str, np.ndarray]


def training(name: str) -> tuple[Arrays, dict[str, Any]]:
    with np.load(parity(f"training/{name}.npz"), allow_pickle=False) as file:
        data = dict(file)
    return data, ast.literal_eval(str(data["in/config"]))


def weights(data: Arrays, part: str) -> Arrays:
    return {k.replace(f"{part}/", "sd/", 1): v for k, v in data.items() if k.startswith(f"{part}/")}


def assert_same_way(ours: Mapping[str, Tensor], start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> None:
    """That the weights `ours` are at `end`, measured by the way from `start`."""
    assert ours.keys() == end.keys()
    off = sum(float((ours[k].double() - end[k].double()).square().sum()) for k in end) ** 0.5
    way = sum(float((end[k].double() - start[k].double()).square().sum()) for k in end) ** 0.5
    assert off < MOVEMENT * way, f"{off / way:.2g}"


@pytest.mark.parametrize("name", ["attentive_v1_train1", "attentive_v2_train1"])
def test_attentive_heads(name: str) -> None:
    data, config = training(name)
    start, end = ({k[3:]: torch.from_numpy(v) for k, v in weights(data, part).items()} for part in ("sd0", "sd1"))
    model = load_official(start, heads=config["heads"]).double()
    probe = AttentiveProbe(
        lr=config["lr"],
        weight_decay=config["weight_decay"],
        final_weight_decay=config["last_weight_decay"],
        epochs=config["epochs"],
        warmup=config["warmup"],
        batch=config["batch"],
    )
    optimizer = StackedOptimizer(
        model.parameters(), "adamw", no_decay_bias=config["spare"], clip_grad_norm=config["clip"] or None
    )
    x, y = torch.from_numpy(data["in/x"]).double().flatten(1, -2), torch.from_numpy(data["in/y"])
    batches = torch.from_numpy(data["in/order"]).unflatten(1, (-1, config["batch"])).flatten(0, 1)
    losses = []
    for step, rows in enumerate(batches, 1):
        logits = model(x[rows])
        loss = torch.nn.functional.cross_entropy(logits[0], y[rows])
        torch.testing.assert_close(head_losses(logits, y[rows])[0].double(), loss, rtol=1e-6, atol=0)
        loss.backward()
        optimizer.step(*probe._rates(step, len(batches), config["epochs"]))
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(losses, data["out/losses"], rtol=LOSSES)
    ours = {k: v for k, v in official_state(model, 0).items() if k != f"{KV}bias"}  # that of keys has no effect
    end = {k: v for k, v in end.items() if not k.startswith(UNUSED) and k != f"{KV}bias"}
    assert_same_way(ours, start, end)


@pytest.mark.parametrize("name", ["actionformer_train_crop1", "actionformer_train_resize4"])
def test_actionformer(name: str) -> None:
    data, config = training(name)
    levels = config["windows"] if isinstance(config["windows"], list) else [config["windows"]] * 6
    positions = config["max_seq_len"] if config["positions"] else 0
    sizes = {"width": config["width"], "windows": tuple(levels), "positions": positions, "drop_path": 0.0}
    model = ActionFormer(config["dim"], config["classes"], **sizes)
    start, end, averaged = (actionformer_golden.renamed(weights(data, part)) for part in ("sd0", "sd1", "ema"))
    model.load_state_dict(start, strict=True)
    average = copy.deepcopy(model)
    decayed, others = split_weight_decay(model)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=config["weight_decay"], fused=True)
    batches, normalizer, losses = data["in/order"].reshape(-1, config["batch"]), config["normaliser"], []
    warm = config["warmup"] * data["in/order"].shape[1]
    for step, rows in enumerate(batches):
        padded = pad_batch([video(data, i) for i in rows], windows=levels, limit=config["max_seq_len"])
        loss = training_losses(
            *(model, padded.values, padded.mask, padded.actions),
            generator=generator(0),
            normalizer=normalizer,
            label_smoothing=config["smoothing"],
        )
        total = loss.classes + config["weight"] * loss.offsets
        total.backward()
        lr = learning_rate(step, len(batches), warm, config["lr"])
        clipped_step(optimizer, lr, max_norm=max(config["clip"], 0), name=name, scratch=None)
        normalizer = loss.normalizer
        with torch.no_grad():
            resume.update_average(average, model, config["ema"])
        losses.append([float(part.detach()) for part in (loss.classes, loss.offsets, total)])
    np.testing.assert_allclose(losses, data["out/losses"], rtol=LOSSES)
    assert_same_way(model.state_dict(), start, end)
    assert_same_way(average.state_dict(), start, averaged)


def video(data: Arrays, i: int) -> VideoSequence:
    """One video of the file, whose times are in points already."""
    values = torch.from_numpy(data[f"in/feats/{i}"]).mT
    segments, labels = (torch.from_numpy(data[f"in/{part}/{i}"]) for part in ("segments", "labels"))
    return VideoSequence(values, segments, labels, PointGrid(0.0, 1.0), float(len(values)))


@pytest.mark.parametrize("name", ["asformer_train_block1", "asformer_train_full3"])
def test_asformer(name: str) -> None:
    data, config = training(name)
    first = data["in/x/0"].shape[1]
    sizes = {"layers": config["layers"], "width": config["width"], "span": config["reach"]}
    model = ASFormer(first, config["classes"], **sizes, mask=0.0)
    start, end = (asformer_golden.renamed(weights(data, part)) for part in ("sd0", "sd1"))
    model.load_state_dict(start, strict=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"], fused=True)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=segment.FACTOR, patience=segment.PATIENCE)
    losses, smoothing = [], segment.build().smoothing_weight
    for order in data["in/order"]:
        for i in order:
            optimizer.zero_grad()
            x, y = (torch.from_numpy(data[f"in/{part}/{i}"]) for part in "xy")
            loss = asformer_loss(model(x), y, smoothing=smoothing)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        schedule.step(sum(losses[-len(order) :]))
    np.testing.assert_allclose(losses, data["out/losses"], rtol=LOSSES)
    assert_same_way(model.state_dict(), start, end)


def test_the_versions_are_those_of_this_start() -> None:
    """The start of the attentive head and the end of long videos have changed since version 1."""
    assert AttentiveProbe().version == localize.build().version == 2
