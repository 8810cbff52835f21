"""Shared pieces against independent formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.unicon import nt_xent as naive_nt_xent
from scipy.spatial.distance import jensenshannon
from small_problem import SmallProblem

from lnlbench.components.contrastive import nt_xent, projection_head
from lnlbench.components.mixing import Mixup
from lnlbench.components.ramp import linear_ramp, sigmoid_ramp
from lnlbench.components.running_targets import RunningTargets
from lnlbench.components.sampling import balanced_index
from lnlbench.components.selection_rules import (
    divergence_cutoff,
    label_divergence,
    label_probabilities,
    lowest_of_each_class,
)
from lnlbench.components.soft_labels import (
    mean_prediction,
    negative_entropy,
    sharpen,
    soft_cross_entropy,
    uniform_prior_divergence,
)
from lnlbench.components.weight_average import move_average, rising_momentum, weight_average

COVERS = ("components",)


LN2 = math.log(2.0)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Soft labels


def test_sharpening_with_temperature_one_is_the_identity():
    p = randn(20, 7).softmax(1)
    torch.testing.assert_close(sharpen(p, 1.0), p, atol=1e-15, rtol=0)


def test_sharpening_with_half_squares():
    p = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    expected = torch.tensor([[0.25, 0.09, 0.04]], dtype=torch.float64) / 0.38
    torch.testing.assert_close(sharpen(p, 0.5), expected)


@given(st.floats(0.01, 1.0), st.integers(2, 200))
def test_sharpened_predictions_are_distributions_with_the_same_order(temperature, classes):
    p = randn(3, classes, seed=classes).softmax(1).float()
    q = sharpen(p, temperature)
    torch.testing.assert_close(q.sum(1), torch.ones(3))
    assert torch.equal(q.argmax(1), p.argmax(1))
    assert bool((q.amax(1) >= p.amax(1) - 1e-6).all())


def test_soft_cross_entropy_of_one_hot_targets_is_cross_entropy():
    logits, labels = randn(9, 4), torch.arange(9) % 4
    onehot = torch.nn.functional.one_hot(labels, 4).double()
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(soft_cross_entropy(logits, onehot), expected)


def test_negative_entropy_by_hand():
    p = torch.tensor([[0.5, 0.5, 1e-30], [0.25, 0.25, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(negative_entropy(p.log()), torch.tensor(-(LN2 + 1.5 * LN2) / 2).double())


def test_uniform_prior_divergence_by_hand():
    logits = randn(6, 5)
    mean = logits.softmax(1).mean(0)
    expected = (0.2 * torch.log(0.2 / mean)).sum()
    torch.testing.assert_close(uniform_prior_divergence(logits), expected)
    balanced = 50.0 * torch.eye(5, dtype=torch.float64)
    assert float(uniform_prior_divergence(balanced).abs()) < 1e-12


@pytest.mark.parametrize("loss", [negative_entropy, uniform_prior_divergence])
def test_penalties_are_finite_at_margins_of_200(loss):
    logits = torch.tensor([[200.0, 0.0, 0.0], [200.0, 0.0, -200.0]], requires_grad=True)
    value = loss(logits)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


# Mixup


def test_mixup_is_one_convex_combination_per_row():
    mix = Mixup(0.75, torch.tensor([2, 0, 1]))
    values = torch.tensor([[1.0], [2.0], [4.0]])
    assert mix(values).tolist() == [[0.75 + 1.0], [1.5 + 0.25], [3.0 + 0.5]]


@given(st.floats(0.05, 8.0), st.integers(1, 40), st.integers(0, 2**31))
def test_mixup_keeps_each_row_closer_to_itself(alpha, rows, seed):
    mix = Mixup.draw(rows, alpha, torch.Generator().manual_seed(seed))
    assert 0.5 <= mix.coefficient <= 1.0
    assert sorted(mix.partners.tolist()) == list(range(rows))
    targets = torch.nn.functional.one_hot(torch.arange(rows) % 3, 3).double()
    torch.testing.assert_close(mix(targets).sum(1), torch.ones(rows, dtype=torch.float64))


def test_mixup_coefficients_follow_the_folded_beta_distribution():
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([Mixup.draw(1, 4.0, generator).coefficient for _ in range(2000)])
    # E|λ − ½| of Beta(4, 4) is B(4, 4)⁻¹ ∫|x − ½| x³(1 − x)³ dx = 35/256.
    assert abs(drawn.mean() - (0.5 + 35 / 256)) < 4 * drawn.std() / 2000**0.5


def test_no_mixup_with_alpha_zero():
    mix = Mixup.draw(5, 0.0, torch.Generator())
    values = randn(5, 3)
    assert torch.equal(mix(values), values)


def test_mixup_advances_only_its_own_generator():
    torch.manual_seed(3)
    Mixup.draw(5, 1.0, torch.Generator().manual_seed(1))
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(3))


# Ramps


def test_ramp_end_points():
    assert [linear_ramp(x, 16) for x in (-3, 0, 4, 16, 40)] == [0.0, 0.0, 0.25, 1.0, 1.0]
    assert linear_ramp(0, 0) == 1.0
    values = [sigmoid_ramp(x, 10) for x in (-1, 0, 5, 10, 40)]
    assert values == pytest.approx([math.exp(-5), math.exp(-5), math.exp(-1.25), 1.0, 1.0])
    assert sigmoid_ramp(0, 0) == 1.0


# Running targets


def test_running_targets_after_k_updates_have_the_closed_form():
    targets = RunningTargets(4, 3, "float32", "device", torch.device("cpu"))
    p = torch.tensor([[0.2, 0.3, 0.5]])
    for k in range(1, 6):
        new = targets.update(torch.tensor([2]), p, 0.7)
        torch.testing.assert_close(new, (1 - 0.7**k) * p)
    torch.testing.assert_close(targets.values[2:3], new)
    assert targets.values[[0, 1, 3]].count_nonzero() == 0


# Divergence and selection


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12), st.data())
def test_label_divergence_is_the_jensen_shannon_divergence(weights, data):
    p = np.array(weights) / np.sum(weights)
    label = data.draw(st.integers(0, len(p) - 1))
    onehot = np.eye(len(p))[label]
    expected = jensenshannon(p, onehot) ** 2
    assert float(label_divergence(torch.tensor([p[label]]))) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0.0, 1.0))
def test_label_divergence_lies_between_zero_and_ln_two(p):
    d = float(label_divergence(torch.tensor([p])))
    assert 0.0 <= d <= LN2


def test_label_divergence_at_its_ends_and_its_order():
    assert label_divergence(torch.tensor([0.0, 1.0])).tolist() == [LN2, 0.0]
    d = label_divergence(torch.linspace(0, 1, 101))
    assert bool((d.diff() < 0).all())


def test_cutoff_in_nats_never_exceeds_the_published_bound():
    d = torch.full((10,), LN2, dtype=torch.float64)
    d[0] = 0.1
    mean = float(d.mean())
    assert divergence_cutoff(d, 0.7, 5.0, in_bits=False) == mean
    assert divergence_cutoff(d, 0.7, 5.0, in_bits=True) == pytest.approx(mean - (mean - 0.1) / 5)
    assert divergence_cutoff(d, 0.6, 5.0, in_bits=False) == pytest.approx(mean - (mean - 0.1) / 5)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 20), st.integers(0, 99))
def test_selection_is_balanced_without_duplicates_and_of_the_lowest(labels, quota, seed):
    labels = torch.tensor(labels)
    d = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    selected, short = lowest_of_each_class(d, labels, 5, quota)
    sizes = torch.bincount(labels, minlength=5)
    kept = torch.bincount(labels[selected], minlength=5)
    assert kept.tolist() == [min(quota, size) for size in sizes.tolist()]
    assert short == int((sizes < quota).sum())
    for label in range(5):
        inside, outside = d[selected & (labels == label)], d[~selected & (labels == label)]
        assert not len(inside) or not len(outside) or inside.max() <= outside.min()


# Contrast


@pytest.mark.parametrize("rows", [2, 5])
def test_nt_xent_equals_its_definition_in_loops(rows):
    first, second = randn(rows, 6, seed=1), randn(rows, 6, seed=2)
    torch.testing.assert_close(nt_xent(first, second, 0.5), naive_nt_xent(first, second, 0.5))


def test_nt_xent_of_one_pair_is_zero():
    first = randn(1, 4).requires_grad_()
    loss = nt_xent(first, randn(1, 4, seed=3), 0.05)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    assert torch.isfinite(first.grad).all()


def test_nt_xent_ignores_length_and_gradient_is_right():
    first, second = randn(3, 4, seed=4), randn(3, 4, seed=5)
    torch.testing.assert_close(nt_xent(first, 7.0 * second, 0.1), nt_xent(first, second, 0.1))
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, 0.5), (first.requires_grad_(), second.requires_grad_())
    )


def test_projection_head_depends_on_its_seed_alone():
    torch.manual_seed(1)
    first = projection_head(6, 4, seed=3)
    torch.manual_seed(2)
    second = projection_head(6, 4, seed=3)
    assert torch.equal(first[0].weight, second[0].weight)
    assert first(torch.randn(5, 6)).mean(0).abs().max() < 1e-6  # batch normalisation is the last layer


# Predictions of several views


def test_mean_prediction_averages_views_and_joins_single_samples():
    rows = []

    def network(view):
        rows.append(len(view))
        return view

    first, second = randn(3, 4, seed=6), randn(3, 4, seed=7)
    expected = (first.softmax(1) + second.softmax(1)) / 2
    torch.testing.assert_close(mean_prediction(network, (first, second)), expected)
    torch.testing.assert_close(mean_prediction(network, (first[:1], second[:1])), expected[:1])
    assert rows == [3, 3, 2]


# Sampling


@given(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=40), st.none() | st.integers(1, 50))
def test_a_balanced_index_has_every_label_equally_often(values, per_class):
    labels = torch.tensor(values)
    index = balanced_index(labels, torch.Generator().manual_seed(0), per_class)
    counts = labels.bincount()
    wanted = int(counts.max()) if per_class is None else per_class
    assert torch.equal(labels[index].bincount(), torch.where(counts > 0, wanted, 0))
    for label in set(values):
        # A sample comes again only when all others of its label have come.
        times = index.bincount(minlength=len(values))[labels == label]
        assert int(times.max() - times.min()) <= 1


# Weight averages


def test_a_weight_average_is_the_exponential_mean_of_what_learns():
    problem = SmallProblem()
    network = problem.network(0)
    network.freeze(False)
    network.backbone[1].weight.requires_grad_(False)
    average = weight_average(network)
    assert not any(weight.requires_grad for weight in average.parameters())
    first = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1.0)
        network.backbone[1].running_mean.fill_(5.0)
    move_average(average, network, 0.75)
    for name, weight in average.named_parameters():
        moved = 0.0 if name == "backbone.1.weight" else 0.25
        torch.testing.assert_close(weight, first[name] + moved)
    assert not average.backbone[1].running_mean.eq(5.0).any()
    move_average(average, network, 0.75, copy_statistics=True)
    assert average.backbone[1].running_mean.eq(5.0).all()


def test_a_weight_average_continues_an_earlier_one():
    problem = SmallProblem()
    network = problem.network(0)
    probed = weight_average(network)  # of the head alone, the backbone is not loaded
    with torch.no_grad():
        probed.head.weight.fill_(7.0)
    network.freeze(False)
    tuned = weight_average(network, probed)
    assert tuned.head.weight.eq(7.0).all()
    assert torch.equal(tuned.backbone[0].weight, network.backbone[0].weight)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_a_rising_momentum_gives_the_plain_mean(values):
    mean = 0.0
    for step, value in enumerate(values):
        momentum = rising_momentum(step, 0.999)
        mean = momentum * mean + (1 - momentum) * value
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    assert rising_momentum(100, 0.9) == 0.9


# The whole set


def test_label_probabilities_are_those_of_the_logits():
    problem = SmallProblem()
    phase, network = problem.phase("fft", 1), problem.network(0)
    expected = phase.logits(network).double().softmax(1)[torch.arange(48), problem.labels]
    assert torch.equal(label_probabilities(phase, network), expected)


def test_the_average_of_a_partly_frozen_network_normalises_as_its_network_does():
    network = SmallProblem().network(0)
    network.learn(network.build()[0])
    partly = weight_average(network)
    network.freeze(False)
    wholly = weight_average(network)
    # Convolution and batch normalisation.
    assert [module.training for module in list(partly.train().backbone)[:2]] == [True, False]
    assert [module.training for module in list(wholly.train().backbone)[:2]] == [True, True]
