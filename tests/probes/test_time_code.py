"""Attentive probes with time codes: order of frames, within a clip and across clips, images, and digests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitascope.core.types import Example, digest, plain
from vitascope.features.base import StoredFeatures
from vitascope.features.view import View
from vitascope.nn.schedules import cosine
from vitascope.probes.classification.attentive_pooler import random_heads
from vitascope.probes.methods.attentive import AttentiveProbe
from vitascope.probes.options import probe
from vitascope.sampling.names import VJepa


def ordered(n, clips=1, seed=0, steps=4, dim=8):
    """Videos of two classes that hold the same frames in opposite orders, in all their clips together."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % 2
    ramp = torch.linspace(-1, 1, clips * steps)[None, :, None] * torch.where(truth == 0, 1.0, -1.0)[:, None, None]
    values = 0.1 * torch.randn(n, clips * steps, 2, 2, dim, generator=draw)
    values[..., 0] += 3 * ramp[..., None]
    values[..., 1] -= 3 * ramp[..., None]
    examples = [Example(id=f"v{seed}-{i:03}", path=f"{i}.mp4", truth=int(t)) for i, t in enumerate(truth)]
    flat = values.view(n * clips, steps, 2, 2, dim)
    return StoredFeatures(examples, ["up", "down"], flat, torch.arange(n + 1) * clips)


def top_1(how, data, test):
    predictions = how.predict(data, test, seed=0)
    return how.score(predictions, [e.truth for e in test.examples])["top-1"]


@pytest.mark.parametrize("clips", [1, 3])
def test_only_a_code_tells_classes_apart_that_differ_in_order(clips):
    """Within a clip, and across clips that are attended to together, of which each alone is of either class."""
    view = View(VJepa(clips, 4, 1), "grid", stored=False)
    how = AttentiveProbe(train=view, test=view, concat_clips=True, lr=3e-3, epochs=30, min_steps=0, batch=16)
    data, test = ordered(64, clips), ordered(32, clips, seed=1)
    assert top_1(how, data, test) < 75
    assert not how.order_aware
    for time in ("learned", "sine"):
        assert top_1(replace(how, time=time), data, test) > 95
        assert replace(how, time=time).order_aware


def test_videos_of_other_lengths_than_the_first_are_read():
    how = AttentiveProbe(time="learned", concat_clips=True, lr=3e-3, epochs=30, min_steps=0, batch=16)
    data, test = ordered(48, 2), ordered(24, 3, seed=1)
    assert top_1(how, data, test) > 90
    mixed = replace(test, offsets=torch.tensor([0, 1, 4, *range(6, 72, 3)])[:25])
    assert np.isfinite(np.stack(list(how.predict(data, mixed, seed=0)))).all()


def test_images_have_one_time_step():
    data = ordered(12, steps=1)
    with_code = AttentiveProbe(time="learned", epochs=2, min_steps=0).predict(data, data, seed=0)
    assert np.isfinite(np.stack(list(with_code))).all()


def test_training_with_a_code_is_the_obvious_loop():
    how = AttentiveProbe(time="learned", lr=3e-3, epochs=3, min_steps=0, batch=16, weight_decay=0.1)
    data, test = ordered(32), ordered(9, seed=1)
    model = random_heads(torch.Generator().manual_seed(2), 8, 2, heads=1, time="learned", steps=4)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1.0, weight_decay=0.1)
    labels = torch.tensor([e.truth for e in data.examples])
    for step in range(6):
        order = torch.randperm(32, generator=torch.Generator().manual_seed(1_000_003 * 3 + step // 2))
        part = order[16 * (step % 2) :][:16]
        loss = F.cross_entropy(model(data.values[part].flatten(1, -2), None, 4)[0], labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = cosine(step + 1, 6, 0, 3e-3)
        optimizer.step()
    with torch.no_grad():
        expected = model(test.values.flatten(1, -2), None, 4)[0].softmax(-1).numpy()
    np.testing.assert_allclose(np.stack(list(how.predict(data, test, seed=2))), expected, atol=2e-5)


def test_the_digest_knows_a_code_and_nothing_of_its_absence():
    assert "time" not in plain(AttentiveProbe())
    assert plain(probe("attentive+time=sine"))["time"] == "sine"
    named = [digest(plain(replace(AttentiveProbe(), time=time))) for time in ("none", "learned", "sine")]
    assert len({*named}) == 3
    assert probe("attentive/paper+time=learned", "ssv2").time == "learned"
    assert [probe(p).order_aware for p in ("linear", "knn", "attentive/vjepa2")] == [False] * 3
    with pytest.raises(ValueError, match="time = 'learnt' must be one of none, learned, sine; did you mean 'learned'"):
        probe("attentive+time=learnt")
