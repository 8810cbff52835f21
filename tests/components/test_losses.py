"""Cross-entropy and generalized cross entropy against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lnlbench.methods.ce import CE
from lnlbench.methods.gce import GCE
from small_problem import SmallProblem, start
from torch.nn import functional

from lnlbench.components.losses import generalized_cross_entropy
from lnlbench.errors import UsageError

COVERS = ("ce", "gce")
LABELS = torch.tensor([0, 2, 1, 1, 3])


def logits(scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(5, 4, generator=generator, dtype=torch.float64)


@given(st.floats(0.01, 1.0), st.floats(0.1, 5.0), st.integers(0, 1000))
def test_gce_and_its_gradient_have_their_closed_forms(q, scale, seed):
    z = logits(scale, seed).requires_grad_()
    loss = generalized_cross_entropy(z, LABELS, q)
    loss.backward()
    p = z.detach().softmax(1)
    p_y = p.gather(1, LABELS[:, None])
    torch.testing.assert_close(loss.detach(), ((1 - p_y**q) / q).mean(), atol=1e-12, rtol=1e-9)
    expected = p_y**q * (p - functional.one_hot(LABELS, 4)) / 5
    torch.testing.assert_close(z.grad, expected, atol=1e-12, rtol=1e-9)


def test_gce_passes_gradcheck():
    assert torch.autograd.gradcheck(
        lambda z: generalized_cross_entropy(z, LABELS, 0.7), logits().requires_grad_()
    )


def test_gce_tends_to_cross_entropy_as_q_tends_to_zero():
    z = logits()
    expected = functional.cross_entropy(z, LABELS)
    gaps = [float((generalized_cross_entropy(z, LABELS, q) - expected).abs()) for q in (1e-2, 1e-4, 1e-8)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-7


def test_gce_with_q_one_is_the_mean_absolute_error():
    z = logits()
    p = z.softmax(1)
    # Half the sum of absolute differences from the one-hot label is 1 − p_y.
    mae = (p - functional.one_hot(LABELS, 4)).abs().sum(1).mean() / 2
    torch.testing.assert_close(generalized_cross_entropy(z, LABELS, 1.0), mae)


@pytest.mark.parametrize("margin", [104.0, 200.0, 1e4])
@pytest.mark.parametrize("k", [0.0, 0.5])
def test_gce_is_finite_at_saturation_in_single_precision(margin, k):
    z = torch.tensor([[margin, 0.0], [0.0, margin]], requires_grad=True)
    loss = generalized_cross_entropy(z, torch.tensor([1, 1]), 0.7, k)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()
    # One sample is as wrong as can be and costs at most 1/q, the other costs nothing.
    expected = 0.5 / 0.7 * (1.0 - k**0.7 if k else 1.0)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)


def test_truncated_gce_charges_a_constant_below_k():
    p = torch.tensor([[0.6, 0.4], [0.4, 0.6]], dtype=torch.float64)
    z = p.log().requires_grad_()
    loss = generalized_cross_entropy(z, torch.tensor([0, 0]), 0.7, 0.5)
    loss.backward()
    expected = ((1 - 0.6**0.7) / 0.7 + (1 - 0.5**0.7) / 0.7) / 2
    assert float(loss.detach()) == pytest.approx(expected)
    assert z.grad[1].tolist() == [0.0, 0.0]
    assert z.grad[0].abs().sum() > 0


@pytest.mark.parametrize(
    ("method_class", "params"), [(CE, {}), (GCE, {"q": 0.5}), (GCE, {"q": 0.9, "truncation": 0.3})]
)
def test_methods_return_their_loss(method_class, params):
    problem = SmallProblem(classes=4)
    method = start(method_class, problem, problem.phase("lp", 1), **params)
    (batch,) = problem.phase("lp", 1).batches(LABELS, batch_size=64)
    p_y = method.network(batch.inputs).softmax(1).gather(1, batch.labels[:, None]).squeeze(1)
    if method_class is CE:
        expected = -p_y.log().mean()
    else:
        k = params.get("truncation", 0.0)
        losses = (1 - p_y ** params["q"]) / params["q"]
        expected = torch.where(p_y > k, losses, (1 - k ** params["q"]) / params["q"]).mean()
    torch.testing.assert_close(method.loss(batch), expected)


@pytest.mark.parametrize("values", [{"q": 0.0}, {"q": 1.1}, {"truncation": 1.0}, {"truncation": -0.1}])
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        GCE.Params(**values)
