"""ELR against closed forms: targets, gradient, saturation, storage, state."""

from __future__ import annotations

import pytest
import torch
from lnlbench.methods.elr import ELR
from small_problem import SmallProblem, resumed, start
from torch.nn import functional

from lnlbench.api import Batch
from lnlbench.errors import UsageError

COVERS = ("elr",)


@pytest.fixture
def elr():
    """ELR whose network is the identity, so that a batch's inputs are its logits."""
    problem = SmallProblem()
    method = start(ELR, problem, problem.phase("lp", 1))
    method.targets.values = method.targets.values.double()
    method.network = lambda logits: logits
    return method


def batch(logits, labels=(0, 2, 1)):
    return Batch(torch.tensor([4, 0, 7]), torch.tensor(labels), logits)


def some_logits():
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_targets_after_k_steps_have_the_closed_form(elr):
    z = some_logits()
    for k in range(1, 6):
        elr.loss(batch(z))
        torch.testing.assert_close(elr.targets.values[[4, 0, 7]], (1 - 0.7**k) * z.softmax(1))
    others = [i for i in range(48) if i not in (4, 0, 7)]
    assert elr.targets.values[others].count_nonzero() == 0


def test_targets_of_saturated_predictions_are_clamped_and_normalised(elr):
    elr.loss(batch(torch.tensor([[200.0, 0.0, 0.0]] * 3, dtype=torch.float64)))
    clamped = torch.tensor([1 - 1e-4, 1e-4, 1e-4], dtype=torch.float64)
    torch.testing.assert_close(elr.targets.values[4], 0.3 * clamped / clamped.sum())


def test_loss_and_gradient_have_their_closed_forms(elr):
    elr.loss(batch(some_logits()))  # so that targets and predictions differ
    z = (0.5 * some_logits().flip(0)).requires_grad_()
    before = elr.targets.values[[4, 0, 7]].clone()
    loss = elr.loss(batch(z))
    loss.backward()
    p, onehot = z.detach().softmax(1), functional.one_hot(torch.tensor([0, 2, 1]), 3)
    t = 0.7 * before + 0.3 * p
    inner = (t * p).sum(1, keepdim=True)
    expected = -(onehot * p.log()).sum(1).mean() + 3.0 * torch.log(1 - inner).mean()
    torch.testing.assert_close(loss.detach(), expected)
    # d⟨t, p⟩/dz = p ∘ t − p ⟨t, p⟩, with t held fixed.
    gradient = (p - onehot) / 3 - 3.0 * (p * t - p * inner) / (1 - inner) / 3
    torch.testing.assert_close(z.grad, gradient)


def test_the_clamp_stops_the_gradient_of_the_regulariser(elr):
    z = torch.tensor([[12.0, 0.0, 0.0]] * 3, dtype=torch.float64, requires_grad=True)
    elr.loss(batch(z)).backward()
    p = z.detach().softmax(1)  # beyond the clamp in every entry
    assert bool(((p > 1 - 1e-4) | (p < 1e-4)).all())
    expected = (p - functional.one_hot(torch.tensor([0, 2, 1]), 3)) / 3
    torch.testing.assert_close(z.grad, expected)


@pytest.mark.parametrize("margin", [104.0, 200.0])
def test_loss_and_gradient_are_finite_at_saturation(elr, margin):
    for _ in range(50):  # targets are as confident as they get
        z = torch.tensor([[margin, 0.0, -margin]] * 3, requires_grad=True)
        loss = elr.loss(batch(z))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_targets_can_be_kept_in_half_the_space(storage):
    scores = []
    for kept in ("float32", storage):
        problem = SmallProblem()
        phase = problem.phase("lp", 3)
        method = start(ELR, problem, phase, storage=kept, place="cpu")
        problem.train(method, phase)
        scores.append(method.targets.values)
    assert scores[1].dtype == getattr(torch, storage)
    torch.testing.assert_close(scores[1].float(), scores[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_a_resumed_run_equals_an_uninterrupted_one(kind):
    straight, continued = resumed(ELR, kind, 4, 2)
    assert torch.equal(straight, continued)


def test_one_default_per_data_set_and_a_flagged_preset():
    def values(*where):
        spec = ELR.resolve("elr", *where)
        params = dict(spec.params)
        return params["beta"], params["lam"], spec.noise_aware

    assert values("cifar10", {}) == (0.7, 3.0, False)
    assert values("cifar100", {}) == (0.9, 7.0, False)
    assert values("cifar10", {}, "cifar10-asymmetric") == (0.9, 1.0, True)


@pytest.mark.parametrize("values", [{"beta": 1.0}, {"lam": -1.0}, {"storage": "int8"}, {"place": "disk"}])
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        ELR.Params(**values)
