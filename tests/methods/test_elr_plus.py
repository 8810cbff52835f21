"""ELR+ against a plain implementation, and its weight averages, options and state."""

from __future__ import annotations

import pytest
import torch
from lnlbench.methods.elr_plus import ELRPlus
from reference import elr_plus as reference
from small_problem import SmallProblem, largest_difference, plain_copy, record_mixups, resumed, sgd, start
from torch import nn

from lnlbench.errors import UsageError

COVERS = ("elr_plus",)


CIFAR100 = {"beta": 0.9, "lam": 7.0, "lam_ramp": 0.4, "gamma_ramp": 0.4, "weighted_labels": True}


@pytest.mark.parametrize(
    ("values", "steps"),
    [({}, {"lam_steps": 0, "gamma_steps": 0}), (CIFAR100, {"lam_steps": 7.2, "gamma_steps": 7.2})],
    ids=["default", "cifar100"],
)
def test_epochs_equal_the_reference_parameter_by_parameter(monkeypatch, values, steps):
    mixes = record_mixups(monkeypatch)
    problem = SmallProblem()
    phase = problem.phase("fft", epochs=3)  # 18 steps of 8
    method = start(ELRPlus, problem, phase, **values)
    # Kept in float32 by default; the comparison is in double.
    for targets in method.targets:
        targets.values = targets.values.double()
    nets = [plain_copy(network) for network in method.networks]
    averages = [plain_copy(network) for network in method.networks]
    optimizers = [sgd(net) for net in nets]
    targets = [torch.zeros(48, 3, dtype=torch.float64) for _ in nets]
    settings = {"beta": 0.7, "lam": 3.0, "gamma": 0.997, "weighted_labels": False, **values, **steps}
    problem.train(method, phase)
    assert len(phase.drawn) == len(mixes) == 3 * 2 * 6
    recorded = [
        (batch.inputs, batch.labels, batch.index, mix.coefficient, mix.partners)
        for batch, mix in zip(phase.drawn, mixes, strict=True)
    ]
    for epoch in range(3):
        for k in (0, 1):
            first = 12 * epoch + 6 * k
            reference.epoch(
                nets[k],
                averages[k],
                averages[1 - k],
                optimizers[k],
                recorded[first : first + 6],
                targets[k],
                problem.classes,
                6 * epoch,
                settings=settings,
            )
    for k in (0, 1):
        assert largest_difference(method.networks[k], nets[k]) < 1e-10
        assert largest_difference(method.averages[k], averages[k]) < 1e-10
        torch.testing.assert_close(method.targets[k].values, targets[k], atol=1e-10, rtol=0)
    both = nets[0].eval()(problem.images) + nets[1].eval()(problem.images)
    torch.testing.assert_close(method.predict(problem.images), both, atol=1e-9, rtol=0)


def test_a_weight_average_is_the_mean_of_all_weights_until_gamma_is_reached():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(ELRPlus, problem, phase)
    seen = [method.networks[0].head.weight.detach().clone()]
    average_weights = method.average_weights

    def spy(number):
        average_weights(number)
        if number == 0:
            seen.append(method.networks[0].head.weight.detach().clone())

    method.average_weights = spy
    problem.train(method, phase)
    assert len(seen) == 13
    torch.testing.assert_close(method.averages[0].head.weight, torch.stack(seen).mean(0))


def test_probing_averages_only_the_head():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(ELRPlus, problem, phase)
    problem.train(method, phase)
    assert method.averages[0].backbone is None
    assert problem.ledger.to_dict()["training"]["backbone_forward"] == 0


def test_live_probing_does_not_mix_up_heads_and_backbones():
    problem = SmallProblem()
    phase = problem.phase("lp", 1, cached=False)
    method = start(ELRPlus, problem, phase)
    problem.train(method, phase)
    pretrained = SmallProblem().network(0).build().state_dict()
    for network in (*method.networks, *method.averages):
        assert all(torch.equal(network.build().state_dict()[name], pretrained[name]) for name in pretrained)


def test_a_second_phase_starts_from_the_averaged_head_and_keeps_the_targets():
    problem = SmallProblem()
    phase = problem.phase("lp", 2)
    method = start(ELRPlus, problem, phase)
    problem.train(method, phase)
    head = method.averages[0].head.weight.clone()
    targets = method.targets[0].values.clone()
    problem.begin(method, problem.phase("fft", 2, index=1))
    assert torch.equal(method.averages[0].head.weight, head)
    assert torch.equal(method.targets[0].values, targets)
    assert not any(p.requires_grad for p in method.averages[0].parameters())
    assert method.steps_of_first_phase == 12


@pytest.mark.parametrize("weighted_labels", [False, True])
def test_loss_and_gradient_are_finite_at_saturation(weighted_labels):
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(ELRPlus, problem, phase, weighted_labels=weighted_labels)
    for network in (*method.networks, *method.averages):
        nn.init.zeros_(network.head.weight)
        network.head.bias.data = torch.tensor([200.0, 0.0, -200.0], dtype=torch.float64)
    (batch,) = phase.batches(batch_size=64)
    loss = method.step_loss(phase, 0, batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(method.networks[0].head.bias.grad).all()


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_a_resumed_run_equals_an_uninterrupted_one(kind):
    straight, continued = resumed(ELRPlus, kind, 3, 1, **CIFAR100)
    assert torch.equal(straight, continued)


def test_targets_can_be_kept_small():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(ELRPlus, problem, phase, storage="bfloat16", place="cpu")
    problem.train(method, phase)
    assert method.targets[0].values.dtype == torch.bfloat16
    # One update of a target that started at 0, by a prediction that sums to one.
    torch.testing.assert_close(
        method.targets[0].values.float().sum(1), torch.full((48,), 0.3), atol=3e-3, rtol=0
    )


@pytest.mark.parametrize(
    "values",
    [
        {"beta": 1.0},
        {"gamma": 1.0},
        {"lam": -1.0},
        {"alpha": -1.0},
        {"lam_ramp": -0.1},
        {"gamma_ramp": -0.1},
        {"storage": "float8"},
        {"place": "disk"},
    ],
)
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        ELRPlus.Params(**values)


def test_data_set_defaults():
    assert dict(ELRPlus.resolve("elr_plus", "cifar100", {}).params).items() >= CIFAR100.items()
    assert not ELRPlus.resolve("elr_plus", "cifar100", {}).noise_aware
    assert dict(ELRPlus.resolve("elr_plus", "clothing1m", {}).params)["gamma"] == 0.9999
    for photos in ("webvision", "webvision_mini"):
        resolved = dict(ELRPlus.resolve("elr_plus", photos, {}).params)
        assert (resolved["alpha"], resolved["gamma"]) == (1.5, 0.997), photos
    assert ELRPlus.resolve("elr_plus", "cifar10", {}, "cifar10-asymmetric").noise_aware
