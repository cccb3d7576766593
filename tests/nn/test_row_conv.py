"""Convolution of rows by fewer multiplications: values and gradients are those of the plain sum in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.device import generator
from vitascope.nn import fast_linear
from vitascope.nn.row_conv import conv3


def plain(x, weight):
    return F.pad(F.conv1d(x.mT[None], weight)[0].mT, (0, 0, 1, 1))


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.integers(2, 40),
    dim=st.integers(1, 90),
    out=st.sampled_from([1, 20, 63, 64, 100]),
    known=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_convolution_and_its_gradients(pairs, dim, out, known, seed):
    draw = generator(seed)
    x = torch.randn(2 * pairs, dim, generator=draw, requires_grad=not known)
    weight = torch.randn(out, dim, 3, generator=draw, requires_grad=True)
    slope = torch.randn(2 * pairs, out, generator=draw)
    inputs = (weight,) if known else (x, weight)
    y, wanted = conv3(x, weight), plain(x.double(), weight.double())
    of, of_wanted = torch.autograd.grad(y, inputs, slope), torch.autograd.grad(wanted, inputs, slope.double())
    terms = (3 * dim, 2 * pairs) if known else (3 * dim, 3 * out, 2 * pairs)
    for a, b, count in zip((y, *of), (wanted, *of_wanted), terms, strict=True):
        assert float((a.detach() - b.detach()).abs().max()) < 5e-6 * count**0.5
    assert not y[0].any()
    assert not y[-1].any()


@pytest.mark.parametrize("least", [0, 2**60])
@pytest.mark.parametrize("has_onednn", [True, False])
def test_rounding_is_that_of_float32(has_onednn, least, monkeypatch):
    """At the size of the first convolution: three times the plain sum's error, 2e-7 of the outputs' deviation."""
    if has_onednn and not fast_linear.HAS_ONEDNN:
        pytest.skip("torch without oneDNN")
    monkeypatch.setattr(fast_linear, "HAS_ONEDNN", has_onednn)
    monkeypatch.setattr(fast_linear, "MIN_PRODUCTS", least)
    x, weight = torch.randn(258, 1024, generator=generator(0)), torch.randn(64, 1024, 3, generator=generator(1))
    wanted = plain(x.double(), weight.double())
    assert float((conv3(x, weight) - wanted).square().mean().sqrt() / wanted.std()) < 8e-7


def test_double_precision_and_a_bias():
    x, weight = torch.randn(8, 3, dtype=torch.float64), torch.randn(64, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(conv3(x, weight), plain(x, weight), rtol=1e-13, atol=1e-13)
    x, weight, bias = x.float(), weight.float(), torch.randn(64)
    torch.testing.assert_close(conv3(x, weight, bias)[1:-1], (plain(x, weight) + bias)[1:-1])


def test_an_odd_number_of_rows_is_an_error():
    with pytest.raises(AssertionError, match="7 rows"):
        conv3(torch.zeros(7, 2), torch.zeros(64, 2, 3))
