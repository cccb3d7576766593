"""Attentive heads against the unfolded arithmetic of their papers and the official implementations' numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import golden
from vitascope.probes.classification.attentive_pooler import AttentiveHeads, load_official, official_state, random_heads
from vitascope.probes.classification.time_code import row_weights

CROSS = "pooler.cross_attention_block."


def official(name):
    arrays = {key: torch.from_numpy(array) for key, array in golden(name).items()}
    return {key[3:]: a for key, a in arrays.items() if key.startswith("sd/")}, arrays["in/x"], arrays["out/y"]


def drawn(dim=12, classes=5, heads=3, depth=1, count=1, seed=0):
    """Heads in float64, every number of every head drawn anew: nothing is zero, one or shared by chance."""
    generator = torch.Generator().manual_seed(seed)
    model = AttentiveHeads(dim, classes, heads=heads, depth=depth, count=count).double()
    for p in model.parameters():
        p.detach().normal_(generator=generator).mul_(0.4)
    return model


def tokens(b=3, n=11, dim=12, seed=1):
    return torch.randn(b, n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 0.3


def attention(q, k, v, heads):
    """Of one clip: (m, d), (n, d), (n, d); a loop over the heads."""
    size = q.shape[-1] // heads
    parts = []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        parts.append((q[:, own] @ k[:, own].T / math.sqrt(size)).softmax(-1) @ v[:, own])
    return torch.cat(parts, -1)


def reference(sd, x, heads, code=0.0):
    """Logits of one classifier for one clip without padding, as the papers write it: keys and values of all tokens.

    Codes of time are added to the normalized tokens that the first attention reads, as in 4DS.
    """
    dim = x.shape[-1]

    def norm(name, y):
        return F.layer_norm(y, (dim,), sd[f"{name}.weight"], sd[f"{name}.bias"], 1e-5)

    def linear(name, y):
        return y @ sd[f"{name}.weight"].T + sd[f"{name}.bias"]

    def mlp(name, y):
        y = linear(f"{name}.fc1", y)
        return linear(f"{name}.fc2", y * 0.5 * (1 + torch.erf(y / math.sqrt(2))))

    depth = len({name.split(".")[2] for name in sd if ".blocks." in name})
    for block in (f"pooler.blocks.{i}" for i in range(depth)):
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x) + code).chunk(3, -1)
        x, code = x + linear(f"{block}.attn.proj", attention(q, k, v, heads)), 0.0
        x = x + mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
    query = sd["pooler.query_tokens"][0]
    k, v = linear(f"{CROSS}xattn.kv", norm(f"{CROSS}norm1", x) + code).chunk(2, -1)
    y = query + attention(linear(f"{CROSS}xattn.q", query), k, v, heads)
    y = y + mlp(f"{CROSS}mlp", norm(f"{CROSS}norm2", y))
    return linear("linear", y)[0]


@pytest.mark.parametrize("name", ["attentive_v1", "attentive_v2_depth4"])
def test_numbers_of_the_official_implementations(name):
    state, x, y = official(name)
    model = load_official(state, heads=4)
    torch.testing.assert_close(model(x)[0], y, rtol=0, atol=1e-6)
    # the number of heads is in no tensor; the others do not fit the numbers
    assert all((load_official(state, heads=h)(x)[0] - y).abs().max() > 0.01 for h in (1, 2, 3, 6, 8, 12, 16, 24, 48))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("lengths", [None, [11, 1, 7]])
def test_folded_is_unfolded_forward_and_backward(depth, count, lengths):
    model, x = drawn(depth=depth, count=count), tokens()
    mask = None if lengths is None else torch.arange(11) < torch.tensor(lengths)[:, None]
    if mask is not None:
        x[~mask] = torch.nan  # what is hidden has no say whatever it is
    got = model(x, mask)
    outward = torch.randn(got.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (got * outward).sum().backward()
    for i in range(count):
        sd = {name: tensor.requires_grad_() for name, tensor in official_state(model, i).items()}
        rows = [reference(sd, clip[: 11 if lengths is None else lengths[b]], 3) for b, clip in enumerate(x)]
        torch.testing.assert_close(got[i], torch.stack(rows), rtol=0, atol=1e-10)
        (torch.stack(rows) * outward[i]).sum().backward()
        expected = {name: tensor.grad for name, tensor in sd.items()}
        kv = {end: expected.pop(f"{CROSS}xattn.kv.{end}").chunk(2) for end in ("weight", "bias")}
        expected |= {f"{CROSS}xattn.{p}.{end}": kv[end][j] for j, p in enumerate("kv") for end in kv}
        assert expected.pop(f"{CROSS}xattn.k.bias").abs().max() < 1e-10
        result = {name: p.grad[i] for name, p in model.named_parameters() if p.grad is not None}
        assert set(result) == set(expected)
        for name, gradient in result.items():
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-10, msg=name)
            assert gradient.abs().max() > 1e-6


@settings(deadline=None, max_examples=25)
@given(
    heads=st.integers(1, 4),
    size=st.integers(1, 4),
    count=st.integers(1, 3),
    depth=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_padding_and_company_change_nothing(heads, size, count, depth, lengths, seed):
    dim = heads * size
    model = drawn(dim, 4, heads, depth, count, seed)
    x = tokens(len(lengths), max(lengths), dim, seed)
    got = model(x, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])
    for i in range(count):
        alone = load_official(official_state(model, i), heads=heads)
        for b, length in enumerate(lengths):
            torch.testing.assert_close(got[i, b], alone(x[b : b + 1, :length])[0, 0], rtol=0, atol=1e-10)


def test_one_head_s_infinity_stays_with_it():
    model, x = drawn(count=3), tokens()
    clean = model(x)
    model.linear.weight.detach()[1, 0, 0] = torch.inf
    model.pooler.query_tokens.detach()[1] = torch.nan
    got = model(x)
    torch.testing.assert_close(got[[0, 2]], clean[[0, 2]], rtol=0, atol=0)
    assert not got[1].isfinite().any()
    got.logsumexp(-1).sum().backward()
    for p in model.parameters():
        assert p.grad is None or p.grad[[0, 2]].isfinite().all()


def test_scores_of_any_size_make_a_softmax():
    model, x = drawn(), tokens()
    model.pooler.cross_attention_block.xattn.q.weight.detach().mul_(1e4)
    got = model(x)
    got.sum().backward()
    assert got.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_start(depth):
    """As in V-JEPA 2's `_rescale_blocks`: blocks count from 1, the cross-attention block as the last of them."""
    model = random_heads(torch.Generator().manual_seed(3), 96, 40, heads=4, depth=depth, count=3)
    for name, p in model.named_parameters():
        assert (p == p[:1]).all()
        one = p.detach()[0]
        if one.ndim == 1:
            assert (one == float("norm" in name and name.endswith("weight"))).all()
            continue
        layer = int(name.split(".")[2]) + 1 if ".blocks." in name else max(depth - 1, 1)
        std = 0.02 / (math.sqrt(2 * layer) if name.endswith(("fc2.weight", "proj.weight")) else 1)
        # four standard errors of an empirical deviation; a normal that is cut at two deviations has 0.88 of it
        assert one.std() == pytest.approx(std, rel=4 / math.sqrt(2 * one.numel()))
        assert abs(one.mean()) < 4 * std / math.sqrt(one.numel())
        assert one.numel() < 1000 or one.abs().max() > 3 * std  # the official code cuts at 100
    again = random_heads(torch.Generator().manual_seed(3), 96, 40, heads=4, depth=depth)
    other = random_heads(torch.Generator().manual_seed(4), 96, 40, heads=4, depth=depth)
    x = tokens(2, 5, 96).float()
    torch.testing.assert_close(model(x)[:1], again(x), rtol=0, atol=1e-6)
    assert (again(x) - other(x)).abs().max() > 1e-3


def test_the_start_of_the_published_depths():
    """The empirical deviations of the official code: 0.0200, and 0.0141 and 0.0082 at depth 4."""

    def std(model, name):
        return round(float(dict(model.named_parameters())[name][0].detach().std()), 4)

    shallow, deep = (random_heads(torch.Generator().manual_seed(0), 384, 9, heads=6, depth=d) for d in (1, 4))
    assert std(shallow, "pooler.cross_attention_block.mlp.fc1.weight") == 0.0200
    assert std(shallow, "pooler.cross_attention_block.mlp.fc2.weight") == 0.0141
    assert std(deep, "pooler.blocks.0.attn.qkv.weight") == 0.0200
    assert std(deep, "pooler.blocks.0.mlp.fc2.weight") == 0.0141
    assert std(deep, "pooler.blocks.2.mlp.fc2.weight") == 0.0082
    assert std(deep, "pooler.cross_attention_block.mlp.fc2.weight") == 0.0082


def test_parameters_are_as_many_as_published():
    model = random_heads(torch.Generator(), 48, 9, heads=4, count=2)
    assert sum(p.numel() for p in model.parameters()) == 2 * (11 * 48**2 + 13 * 48 + 9 * 49)


@pytest.mark.parametrize("depth", [1, 4])
def test_autocast_and_tokens_in_half_precision(depth):
    model = random_heads(torch.Generator().manual_seed(0), 64, 10, heads=4, depth=depth, count=2)
    for p in model.parameters():
        p.detach().mul_(3)
    x = tokens(2, 30, 64).bfloat16()
    exact = model(x.float())
    torch.testing.assert_close(model(x), exact, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x)
    assert rough.dtype == torch.float32
    error = (rough - exact).norm() / exact.norm()
    assert error == 0 if depth == 1 else 0 < error < 0.02
    rough.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())


def test_official_names_both_ways():
    for name in ("attentive_v1", "attentive_v2_depth4"):
        state, x, y = official(name)
        back = official_state(load_official({f"module.{key}": tensor for key, tensor in state.items()}, heads=4), 0)
        assert set(back) == {key for key in state if "xattn.proj" not in key}
        assert all(torch.equal(back[key], state[key]) for key in back)
        model = random_heads(torch.Generator(), 48, 9, heads=4, depth=1 if name.endswith("v1") else 4, count=2)
        assert {key: p.shape for key, p in official_state(model, 1).items()} == {
            key: p.shape for key, p in back.items()
        }
        loaded = load_official(state, heads=4)
        loaded.linear.bias.detach().add_(1)  # the file's tensors stay as they are
        torch.testing.assert_close(load_official(state, heads=4)(x)[0], y, rtol=0, atol=1e-6)


def test_what_does_not_fit_is_named():
    state, _, _ = official("attentive_v2_depth4")
    for name in state:
        with pytest.raises(ValueError) as error:
            load_official({key: tensor for key, tensor in state.items() if key != name}, heads=4)
        assert name in str(error.value)
    with pytest.raises(ValueError, match=r"unused tensor linear\.wait; did you mean 'linear\.weight'"):
        load_official({**state, "linear.wait": state["linear.bias"]}, heads=4)
    with pytest.raises(ValueError, match=r"unused tensor pooler\.blocks\.x\.norm1\.weight|no tensor pooler\.blocks\.3"):
        load_official({**state, "pooler.blocks.x.norm1.weight": state["linear.bias"]}, heads=4)
    with pytest.raises(ValueError, match=r"linear\.bias is \[8\], not \[9\]"):
        load_official({**state, "linear.bias": state["linear.bias"][:8]}, heads=4)
    with pytest.raises(ValueError, match=r"linear\.weight is \[432\], not a matrix"):
        load_official({**state, "linear.weight": state["linear.weight"].flatten()}, heads=4)
    with pytest.raises(ValueError, match="dim divisible by heads"):
        load_official(state, heads=5)
    with pytest.raises(ValueError, match="must be positive"):
        AttentiveHeads(48, 9, heads=4, depth=0)


STEPS, SPACE, DIM = 4, 3, 12


def coded(time="learned", **sizes):
    """Heads with a time code, every number of every head drawn anew."""
    model = AttentiveHeads(DIM, 5, heads=3, time=time, steps=STEPS, **sizes).double()
    for i, p in enumerate(model.parameters()):
        p.detach().normal_(generator=torch.Generator().manual_seed(i)).mul_(0.4)
    return model


def resampled(table, steps):
    """A table of codes for another number of time steps, by torch's own interpolation."""
    return F.interpolate(table.T[None], size=steps, mode="linear")[0].T


@pytest.mark.parametrize("time", ["learned", "sine"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("valid", [None, [4, 1, 3], [8, 2, 5], [1, 1, 1]])
def test_a_folded_code_is_an_unfolded_one_forward_and_backward(time, depth, valid):
    """Also of more, fewer and different numbers of time steps than the table has, padded to the longest."""
    model, steps = coded(time, depth=depth, count=2), max(valid or [STEPS])
    x = tokens(3, steps * SPACE)
    mask = None if valid is None else (torch.arange(steps) < torch.tensor(valid)[:, None]).repeat_interleave(SPACE, 1)
    got = model(x, mask, steps)
    outward = torch.randn(got.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (got * outward).sum().backward()
    table = model.time.codes.detach().expand(2, -1, -1)
    for i in range(2):
        own = table[i].clone().requires_grad_()
        rows = []
        for b, count in enumerate(valid or [STEPS] * 3):
            code = resampled(own, count).repeat_interleave(SPACE, 0)
            rows.append(reference(official_state(model, i), x[b, : count * SPACE], 3, code))
        torch.testing.assert_close(got[i], torch.stack(rows), rtol=0, atol=1e-6)  # weights of rows are single precision
        if time == "learned":
            (torch.stack(rows) * outward[i]).sum().backward()
            torch.testing.assert_close(model.time.codes.grad[i], own.grad, rtol=0, atol=1e-6)
            assert own.grad.abs().max() > 1e-3


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
def test_weights_of_rows_are_those_of_linear_interpolation(rows):
    valid = torch.tensor([1, 2, 5, 8, 13])
    each = row_weights(valid, 13, rows)
    torch.testing.assert_close(each.sum(2), torch.ones(5, 13))
    for weights, count in zip(each, valid.tolist(), strict=True):
        torch.testing.assert_close(weights[:count], resampled(torch.eye(rows), count), rtol=0, atol=1e-6)
    exact = row_weights(torch.tensor([rows]), rows, rows)[0]
    assert torch.equal(exact, torch.eye(rows))


def reversed_in_time(x):
    return x.unflatten(1, (STEPS, SPACE)).flip(1).flatten(1, 2)


@pytest.mark.parametrize("depth", [1, 2])
def test_without_a_code_the_order_of_time_steps_is_not_seen(depth):
    x = tokens(3, STEPS * SPACE)
    bare = drawn(depth=depth)
    torch.testing.assert_close(bare(x), bare(reversed_in_time(x)), rtol=0, atol=1e-12)
    for time in ("learned", "sine"):
        model = coded(time, depth=depth)
        assert (model(x, None, STEPS) - model(reversed_in_time(x), None, STEPS)).abs().max() > 1e-2
        # of one time step there is no order, however its tokens are arranged
        still = x[:, :SPACE]
        torch.testing.assert_close(model(still, None, 1), model(still.flip(1), None, 1), rtol=0, atol=1e-12)


def test_all_else_starts_from_the_same_numbers():
    without = random_heads(torch.Generator().manual_seed(3), 96, 9, heads=4, count=2).state_dict()
    model = random_heads(torch.Generator().manual_seed(3), 96, 9, heads=4, count=2, time="learned", steps=8)
    state = model.state_dict()
    codes = state.pop("time.codes")
    assert state.keys() == without.keys()
    assert all(torch.equal(state[name], without[name]) for name in state)
    assert codes.shape == (2, 8, 96)
    fixed = random_heads(torch.Generator().manual_seed(3), 96, 9, heads=4, time="sine", steps=8)
    assert "time.codes" not in dict(fixed.named_parameters())
    assert all(torch.equal(code, fixed.time.codes[0]) for code in codes)
    assert codes[1, 3, :3].tolist() == pytest.approx([math.sin(3), math.cos(3), math.sin(3 / 10000 ** (2 / 96))])
