"""What a phase offers to methods: optimisers and schedules, batches, and passes over the whole set."""

import math

import pytest
import torch
from small_problem import SmallProblem
from torch import nn
from torch.nn import functional

from lnlbench.components.running_targets import RunningTargets
from lnlbench.errors import TrialError, UsageError


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def cosine(epoch, epochs):
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


# optimisers


def test_groups_keep_their_rates_through_a_schedule():
    problem = SmallProblem()
    phase = problem.phase("fft", 4, schedule="cosine", lr=0.05)
    network = problem.network(0)
    network.freeze(False)
    optimizer = phase.optimizer({"params": network.head, "lr": 0.4}, {"params": [network.backbone]})
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]
    for epoch in range(4):
        phase.start_epoch(epoch)
        assert rates(optimizer) == pytest.approx([0.4 * cosine(epoch, 4), 0.05 * cosine(epoch, 4)])
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1})
    phase.start_epoch(2)
    assert rates(optimizer) == pytest.approx([0.2, 0.025, 0.05])


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_one_group_takes_the_settings_of_the_phase(kind):
    problem = SmallProblem()
    phase = problem.phase("lp", 3, optimizer=kind, lr=0.05, weight_decay=0.01)
    network = problem.network(0)
    own = nn.Parameter(torch.zeros(3))
    fixed = nn.Parameter(torch.zeros(3), requires_grad=False)
    optimizer = phase.optimizer(network, own, [fixed, nn.Linear(2, 2)], lr=0.3)
    (group,) = optimizer.param_groups
    assert [tuple(p.shape) for p in group["params"]] == [(3, 6), (3,), (3,), (2, 2), (2,)]
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.01)
    assert phase.optimizer(network).param_groups[0]["lr"] == 0.05


def test_an_optimiser_of_ones_own_follows_the_schedule():
    phase = SmallProblem().phase("lp", 2, schedule="cosine")
    own = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=3.0)
    assert phase.schedule(own) is own
    phase.start_epoch(1)
    assert rates(own) == [pytest.approx(1.5)]
    # In a second phase it starts from its own rate again, not from where the first one left it.
    phase.schedule(own)
    phase.start_epoch(0)
    assert rates(own) == [3.0]


def test_several_optimisers_step_on_one_loss():
    phase = SmallProblem().phase("lp", 1)
    first, second = (nn.Parameter(torch.tensor(1.0)) for _ in range(2))
    steps = [torch.optim.SGD([p], lr=rate) for p, rate in ((first, 0.1), (second, 0.01))]
    phase.start_epoch(0)
    for _ in range(2):
        phase.step(steps, first * second)
    # By hand: 1, 1 → 0.9, 0.99 → 0.9 − 0.1·0.99, 0.99 − 0.01·0.9
    assert (first.item(), second.item()) == pytest.approx((0.801, 0.981))
    assert phase.end_epoch() == pytest.approx((1 + 0.9 * 0.99) / 2)


def test_a_step_of_ones_own_is_recorded_and_must_be_finite():
    phase = SmallProblem().phase("lp", 2)
    phase.start_epoch(0)
    phase.record(torch.tensor(2.0))
    phase.record(torch.tensor(4.0))
    assert phase.end_epoch() == 3.0
    phase.start_epoch(1)
    phase.record(torch.tensor(math.nan))
    with pytest.raises(TrialError, match="not finite in epoch 2"):
        phase.end_epoch()


# batches


def test_batches_in_a_given_order_are_as_given():
    problem = SmallProblem()
    phase = problem.phase("lp", 1, batch_size=4)
    index = torch.tensor([9, 3, 3, 1, 40, 2, 9])
    phase.start_epoch(0)
    batches = list(phase.batches(index, order="given"))
    assert [batch.index.tolist() for batch in batches] == [[9, 3, 3, 1], [40, 2, 9]]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), problem.labels[index])
    assert torch.equal(batches[1].inputs, problem.features()[[40, 2, 9]])
    with pytest.raises(UsageError, match="order of batches 'sorted'"):
        next(phase.batches(order="sorted"))


def test_repeated_indices_are_seen_as_often_as_they_stand_there():
    phase = SmallProblem().phase("lp", 1)
    phase.start_epoch(0)
    index = torch.tensor([5] * 6 + [7] * 2 + [11] * 9)
    seen = torch.cat([batch.index for batch in phase.batches(index)])
    assert torch.equal(seen.bincount(), index.bincount())
    assert not torch.equal(seen, index)


def test_running_targets_keep_the_last_of_the_rows_of_a_sample():
    targets = RunningTargets(3, 1, "float32", "device", torch.device("cpu"))
    new = targets.update(torch.tensor([2, 0, 2]), torch.tensor([[1.0], [0.5], [0.2]]), 0.5)
    assert new.flatten().tolist() == pytest.approx([0.5, 0.25, 0.1])
    assert targets.values.flatten().tolist() == pytest.approx([0.25, 0.0, 0.1])


# the whole set


def spoilt(network):
    """A network in train mode that has dropout, of which a pass in eval mode must show nothing."""
    network.head.register_forward_pre_hook(
        lambda head, inputs: (functional.dropout(inputs[0], 0.9, head.training),)
    )
    return network.train()


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_losses_are_the_cross_entropy_of_all_logits(kind, monkeypatch):
    monkeypatch.setattr("lnlbench.api.phase.EVALUATION_BATCH", 7)  # several pieces, the last one smaller
    problem = SmallProblem()
    phase = problem.phase(kind, 1)
    network = spoilt(problem.network(0))
    logits = phase.logits(network)
    assert logits.shape == (48, 3)
    expected = functional.cross_entropy(logits.double(), problem.labels, reduction="none")
    assert torch.equal(phase.losses(network), expected)
    network.eval()
    assert torch.equal(phase.losses(lambda inputs: network(inputs)), expected)
    right = phase.reduce(network, lambda outputs, batch: outputs.argmax(1) == batch.labels)
    assert torch.equal(right, logits.argmax(1) == problem.labels)
    assert torch.equal(phase.reduce(network, lambda _, batch: batch.index), torch.arange(48))


def test_every_part_of_a_network_is_put_back_into_its_mode():
    problem = SmallProblem()
    phase = problem.phase("fft", 1)
    network = problem.network(0).train()
    network.freeze(False, statistics=True)
    before = [module.training for module in network.modules()]
    assert len(set(before)) == 2
    phase.logits(network)
    phase.features(network)
    assert [module.training for module in network.modules()] == before


def test_features_are_those_of_probing_until_the_backbone_learns():
    problem = SmallProblem()
    probing, tuning = problem.phase("lp", 1), problem.phase("fft", 1, index=1)
    network = problem.network(0).train()
    assert torch.equal(probing.features(network), problem.features())
    network.freeze(False)
    count = problem.ledger.to_dict
    before = count()
    assert torch.equal(tuning.features(network), problem.features())
    assert count() == before
    own = torch.optim.SGD(network.parameters(), lr=0.1)
    tuning.start_epoch(0)
    # In eval mode and with an optimiser that the phase did not make: the gradient tells.
    for batch in tuning.batches():
        tuning.step(own, functional.cross_entropy(network.eval()(batch.inputs), batch.labels))
    features = tuning.features(network)
    with torch.no_grad():
        assert torch.allclose(features, network.features(problem.images))
    assert not torch.allclose(features, problem.features())
    assert count() != before


def test_outputs_that_are_not_finite_end_the_trial():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    network = problem.network(0)
    with torch.no_grad():
        network.head.weight[0] = math.inf
    for whole_set in (phase.logits, phase.losses):
        with pytest.raises(TrialError, match="not finite in epoch 1 of the lp phase"):
            whole_set(network)


# fp16


def scaled_phase(scale):
    """A phase whose losses are scaled, without arithmetic in fp16."""
    phase = SmallProblem().phase("fft", 1)
    phase.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    phase.start_epoch(0)
    return phase


def test_a_scaled_step_is_the_step():
    weights = []
    for scaled in (False, True):
        phase = scaled_phase(2.0**10)
        if not scaled:
            phase.scaler = None
        parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
        optimizer = phase.optimizer(parameter)
        for _ in range(5):
            phase.step(optimizer, parameter.pow(4).sum())
        assert phase.events == {}
        weights.append(parameter.detach())
    # A scale that is a power of two rounds nothing.
    assert torch.equal(*weights)


def test_a_step_that_overflows_is_left_out_and_counted():
    phase = scaled_phase(2.0**127)
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = phase.optimizer(parameter)
    for expected in (2.0**126, 2.0**125):
        phase.step(optimizer, 8 * parameter.sum())  # 8 · 2¹²⁶ is beyond float32
        assert parameter.item() == 1.0
        assert phase.scaler.get_scale() == expected
    phase.step(optimizer, 4 * parameter.sum())
    assert parameter.item() == pytest.approx(1.0 - 0.05 * (4 + 1e-4))
    assert phase.events == {"fp16_overflow": 2}
    assert phase.end_epoch() == pytest.approx(20 / 3)


def test_a_scaled_loss_need_not_reach_every_optimiser():
    phase = scaled_phase(2.0)
    reached, other = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizers = [phase.optimizer(parameter) for parameter in (reached, other)]
    phase.step(optimizers, reached.sum())
    assert reached.item() < 1.0
    assert other.item() == 1.0
