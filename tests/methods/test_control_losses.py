"""SCE, NCE+RCE, CE with entropy and regularised CE against formulas written out in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lnlbench.methods.controls.ce_entropy import CEEntropy
from lnlbench.methods.controls.ce_regularised import CERegularised
from lnlbench.methods.controls.nce_rce import NCERCE
from lnlbench.methods.controls.sce import SCE
from small_problem import SmallProblem, plain_copy, record_mixups, resumed, start
from torch.nn import functional

from lnlbench.errors import UsageError

COVERS = ("ce_entropy", "ce_regularised", "nce_rce", "sce")
CLASSES = 4
LABELS = torch.tensor([0, 2, 1, 1, 3])
ONE_HOT = functional.one_hot(LABELS, CLASSES).double()


class Given(torch.nn.Module):
    """Stands for a network: what it is fed are the logits."""

    def forward(self, inputs):
        return inputs


def loss_and_gradient(method_class, logits, **params):
    """The loss of a method, and its gradient with respect to the logits."""
    problem = SmallProblem(classes=CLASSES)
    phase = problem.phase("lp", 1)
    method = start(method_class, problem, phase, **params)
    method.network = Given()
    inputs = logits.clone().requires_grad_()
    (batch,) = phase.batches(torch.arange(5), batch_size=5, order="given")
    object.__setattr__(batch, "inputs", inputs)
    object.__setattr__(batch, "labels", LABELS)
    loss = method.loss(batch)
    loss.backward()
    return loss.detach(), inputs.grad


def drawn(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(5, CLASSES, generator=generator, dtype=torch.float64)


def symmetric(p, alpha, beta):
    """α · CE + β · RCE, by the definition: a sum over classes with log 0 := log 1e-4."""
    cross = -(ONE_HOT * p.log()).sum(1)
    reverse = -(p * ONE_HOT.clamp(min=1e-4).log()).sum(1)
    return (alpha * cross + beta * reverse).mean()


def normalised(p, alpha, beta):
    """α · NCE + β · RCE, by the definition."""
    cross = -(ONE_HOT * p.log()).sum(1)
    of_all_labels = sum(-p[:, k].log() for k in range(CLASSES))
    reverse = -(p * ONE_HOT.clamp(min=1e-4).log()).sum(1)
    return (alpha * cross / of_all_labels + beta * reverse).mean()


def entropic(p, lam):
    """CE + λ · H, by the definition."""
    return (-(ONE_HOT * p.log()).sum(1) - lam * (p * p.log()).sum(1)).mean()


CASES = [
    (SCE, symmetric, {"alpha": 0.1, "beta": 1.0}),
    (SCE, symmetric, {"alpha": 6.0, "beta": 0.1}),
    (NCERCE, normalised, {"alpha": 1.0, "beta": 1.0}),
    (NCERCE, normalised, {"alpha": 10.0, "beta": 0.1}),
    (CEEntropy, entropic, {"lam": 0.5}),
]


@pytest.mark.parametrize(("method_class", "formula", "params"), CASES)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 5.0))
def test_losses_and_gradients_are_those_of_the_definition(method_class, formula, params, seed, scale):
    logits = drawn(seed, scale)
    loss, gradient = loss_and_gradient(method_class, logits, **params)
    plain = logits.clone().requires_grad_()
    expected = formula(plain.softmax(1), **params)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), atol=1e-11, rtol=1e-9)
    torch.testing.assert_close(gradient, plain.grad, atol=1e-11, rtol=1e-9)


def test_the_gradient_of_reverse_cross_entropy_has_its_closed_form():
    logits = drawn(3, 2.0)
    _, gradient = loss_and_gradient(SCE, logits, alpha=0.0, beta=1.0, log_zero=-4.0)
    p = logits.softmax(1)
    p_y = p.gather(1, LABELS[:, None])
    torch.testing.assert_close(gradient, 4.0 * p_y * (p - ONE_HOT) / 5, atol=1e-12, rtol=1e-9)


def test_the_gradient_of_the_entropy_has_its_closed_form():
    logits = drawn(4, 2.0)
    _, gradient = loss_and_gradient(CEEntropy, logits, lam=2.0)
    p = logits.softmax(1)
    entropy = -(p * p.log()).sum(1, keepdim=True)
    expected = (p - ONE_HOT) - 2.0 * p * (p.log() + entropy)
    torch.testing.assert_close(gradient, expected / 5, atol=1e-12, rtol=1e-9)


def test_normalised_cross_entropy_is_symmetric():
    """Summed over all labels it is one whatever the prediction: why it is robust to symmetric noise."""
    p = drawn(5, 3.0)[0].softmax(0)
    assert float(sum(p[y].log() / p.log().sum() for y in range(CLASSES))) == pytest.approx(1.0)


@pytest.mark.parametrize("margin", [100.0, 1e4])
@pytest.mark.parametrize(("method_class", "formula", "params"), CASES)
def test_losses_are_finite_in_single_precision_at_saturation(method_class, formula, params, margin):
    logits = (margin * functional.one_hot(torch.tensor([1, 1, 1, 1, 1]), CLASSES)).float()
    loss, gradient = loss_and_gradient(method_class, logits, **params)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("method_class", "params"),
    [
        (SCE, {"alpha": -0.1}),
        (SCE, {"alpha": 0.0, "beta": 0.0}),
        (SCE, {"log_zero": 0.0}),
        (NCERCE, {"beta": -1.0}),
        (NCERCE, {"alpha": 0.0, "beta": 0.0}),
        (CEEntropy, {"lam": -0.5}),
        (CERegularised, {"alpha": -1.0}),
        (CERegularised, {"momentum": 1.0}),
    ],
)
def test_impossible_parameters_are_usage_errors(method_class, params):
    with pytest.raises(UsageError):
        method_class.Params(**params)


@pytest.mark.parametrize(("method_class", "name"), [(SCE, "sce"), (NCERCE, "nce_rce")])
def test_cifar100_has_weights_of_its_own(method_class, name):
    usual, cifar100 = (dict(method_class.resolve(name, data, {}).params) for data in ("cifar10", "cifar100"))
    assert (usual["alpha"], usual["beta"]) == ((0.1, 1.0) if name == "sce" else (1.0, 1.0))
    assert (cifar100["alpha"], cifar100["beta"]) == ((6.0, 0.1) if name == "sce" else (10.0, 0.1))


# Regularised cross-entropy


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_an_epoch_of_regularised_cross_entropy_written_out(monkeypatch, kind):
    mixes = record_mixups(monkeypatch)
    problem = SmallProblem()
    phase = problem.phase(kind, 2)
    method = start(CERegularised, problem, phase, momentum=0.7)
    net = plain_copy(method.network)
    learning = net[1] if kind == "lp" else net
    mean = [parameter.detach().clone() for parameter in learning.parameters()]
    optimizer = torch.optim.SGD(learning.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    problem.train(method, phase)
    steps = list(zip(phase.drawn, mixes, strict=True))
    assert len(steps) == 12
    for t, (batch, mix) in enumerate(steps):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * t / 12)) / 2
        share = mix.coefficient
        mixed = share * batch.inputs + (1 - share) * batch.inputs[mix.partners]
        labels = functional.one_hot(batch.labels, 3).double()
        targets = share * labels + (1 - share) * labels[mix.partners]
        log_p = learning(mixed).log_softmax(1)
        optimizer.zero_grad()
        (-(targets * log_p).sum(1).mean()).backward()
        optimizer.step()
        momentum = min(0.7, 1 - 1 / (t + 2))
        with torch.no_grad():
            for average, parameter in zip(mean, learning.parameters(), strict=True):
                average.mul_(momentum).add_(parameter, alpha=1 - momentum)
    for average, parameter in zip(mean, learning.parameters(), strict=True):
        parameter.data = average
    inputs = problem.features() if kind == "lp" else problem.images
    torch.testing.assert_close(method.predict(inputs), learning.eval()(inputs), atol=1e-10, rtol=0)


def test_without_its_parts_it_is_cross_entropy():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(CERegularised, problem, phase, alpha=0.0, momentum=0.0, cosine=False)
    problem.train(method, phase)
    assert method.optimizer.param_groups[0]["lr"] == 0.05
    features = problem.features()
    assert torch.equal(method.predict(features), method.network(features))


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_a_resumed_run_of_regularised_cross_entropy_equals_an_uninterrupted_one(kind):
    straight, continued = resumed(CERegularised, kind, 3, 1)
    assert torch.equal(straight, continued)


def test_a_second_phase_of_regularised_cross_entropy_starts_from_the_averaged_head():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(CERegularised, problem, phase)
    problem.train(method, phase)
    head = method.average.head.weight.clone()
    problem.begin(method, problem.phase("fft", 2, index=1))
    assert torch.equal(method.average.head.weight, head)
    assert not torch.equal(method.network.head.weight, head)
    assert not any(parameter.requires_grad for parameter in method.average.parameters())
