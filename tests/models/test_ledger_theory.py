"""Counted passes against the cost formulas: forward 1, backward 2, per sample and epoch."""

from __future__ import annotations

import math

import pytest
import torch
from lnlbench.methods.ce import CE
from lnlbench.methods.controls.ce_entropy import CEEntropy
from lnlbench.methods.controls.ce_regularised import CERegularised
from lnlbench.methods.controls.nce_rce import NCERCE
from lnlbench.methods.controls.sce import SCE
from lnlbench.methods.dividemix import DivideMix
from lnlbench.methods.elr import ELR
from lnlbench.methods.elr_plus import ELRPlus
from lnlbench.methods.gce import GCE
from lnlbench.methods.turn import TURN
from lnlbench.methods.unicon import UNICON
from small_problem import SmallProblem, start

from lnlbench.basics.facts import units_of

SIMPLE = [CE, GCE, ELR, SCE, NCERCE, CEEntropy, CERegularised]
# fmt: off
COVERS = (
    "ce", "dividemix", "elr", "elr_plus", "gce", "turn", "unicon",
    "ce_entropy", "ce_regularised", "nce_rce", "sce",
)
# fmt: on
N = 96


def units_of_epoch(problem, method, phase, epoch=0):
    """Train an epoch; return what it cost."""
    before = units_of(problem.ledger.to_dict()["training"])
    problem.train(method, phase, range(epoch, epoch + 1))
    return units_of(problem.ledger.to_dict()["training"]) - before


@pytest.mark.parametrize(("method_class", "units"), [*((simple, 3) for simple in SIMPLE), (ELRPlus, 8)])
def test_methods_that_use_all_samples(method_class, units):
    problem = SmallProblem(samples=N)
    phase = problem.phase("fft", 1)
    assert units_of_epoch(problem, start(method_class, problem, phase), phase) == units * N


@pytest.mark.parametrize("method_class", [DivideMix, UNICON])
def test_warmup_costs_six(method_class):
    problem = SmallProblem(samples=N)
    phase = problem.phase("fft", 4)
    assert units_of_epoch(problem, start(method_class, problem, phase), phase) == 6 * N


def test_turn_costs_one_and_three_times_the_selected_share():
    problem = SmallProblem(samples=N)
    phase = problem.phase("fft", 2)
    method = start(TURN, problem, phase)
    for epoch in (0, 1):
        cost = units_of_epoch(problem, method, phase, epoch)
        selected = int(phase.selection.selected.sum())
        assert 0 < selected < N
        assert cost == N + 3 * selected


def test_turn_gets_its_first_loss_pass_from_the_probed_features():
    problem = SmallProblem(samples=N)
    lp = problem.phase("lp", 2)
    method = start(TURN, problem, lp)
    assert units_of_epoch(problem, method, lp) == 0  # heads only
    fft = problem.phase("fft", 2, index=1)
    problem.begin(method, fft)
    first = units_of_epoch(problem, method, fft, 0)
    assert first == 3 * int(fft.selection.selected.sum())
    second = units_of_epoch(problem, method, fft, 1)
    assert second == N + 3 * int(fft.selection.selected.sum())


def test_dividemix_at_a_given_share():
    problem = SmallProblem(samples=N)
    phase = problem.phase("fft", 1)
    method = start(DivideMix, problem, phase, warmup=0)
    posterior = method.posterior

    def given(phase, number):
        posterior(phase, number)  # for its cost
        clean = torch.arange(N) < (24, 48)[number]
        return clean.double()

    method.posterior = given
    rho = (24 + 48) / 2 / N
    assert units_of_epoch(problem, method, phase) == (2 + 36 * rho) * N


def test_dividemix_at_the_measured_share():
    problem = SmallProblem(samples=N)
    phase = problem.phase("fft", 1, lr=0.01)
    method = start(DivideMix, problem, phase, warmup=0)
    splits = []
    split = method.split
    method.split = lambda *args: splits.append(split(*args)) or splits[-1]
    cost = units_of_epoch(problem, method, phase)
    sizes = [int(made.labelled.sum()) for made in splits]
    assert all(0 < size < N for size in sizes)
    # An unlabelled sample costs 10 units. Per network, a step has a whole unlabelled batch for a
    # last labelled batch that is smaller, and each pass over the unlabelled ends with a smaller one.
    rounding = sum(10 * 8 * (1 + math.ceil(size / (N - size))) for size in sizes)
    assert abs(cost - (2 * N + 18 * sum(sizes))) <= rounding
    assert cost > 2 * N + 8 * sum(sizes)


def test_unicon_at_a_given_share():
    problem = SmallProblem(samples=N)
    problem.labels = torch.arange(N) % 3
    phase = problem.phase("fft", 1)
    method = start(UNICON, problem, phase, warmup=0)
    divergence = method.divergence

    def given(phase):
        divergence(phase)  # for its cost
        return torch.where(torch.arange(N) < N // 4, 0.1, 0.6).double()

    method.divergence = given
    # 24 labelled in three batches of 8; unlabelled batches of 8 / (2 · 1/4) = 16.
    assert units_of_epoch(problem, method, phase) == (20 + 16 / 4) * N


def test_unicon_at_the_measured_share():
    problem = SmallProblem(samples=N)
    phase = problem.phase("fft", 1, lr=0.01)
    method = start(UNICON, problem, phase, warmup=0)
    splits = []
    split = method.split
    method.split = lambda *args: splits.append(split(*args)) or splits[-1]
    cost = units_of_epoch(problem, method, phase)
    sizes = [int(made.labelled.sum()) for made in splits]
    batches = [made.unlabelled_batch for made in splits]
    passes = [math.ceil(math.ceil(s / 8) * b / (N - s)) for s, b in zip(sizes, batches, strict=True)]
    # An unlabelled sample costs 16 units; batches of each pass round as in DivideMix, B/(2R) is
    # rounded down, and R counts samples below the cut-off that equal shares leave out (at most C − 1).
    rounding = sum(
        16 * (b * (1 + p) + math.ceil(s / 8) + 2 * b / 8)
        for s, b, p in zip(sizes, batches, passes, strict=True)
    )
    assert "unlabelled_batch_bounded" not in phase.events
    assert abs(cost - (20 * N + 8 * sum(sizes))) <= rounding
    assert cost > 4 * N + 8 * sum(sizes)


@pytest.mark.parametrize("method_class", [*SIMPLE, ELRPlus, DivideMix, UNICON])
def test_probing_on_cached_features_needs_no_backbone(method_class):
    problem = SmallProblem(samples=N)
    phase = problem.phase("lp", 3)
    method = start(method_class, problem, phase)
    problem.train(method, phase)
    counts = problem.ledger.to_dict()["training"]
    assert units_of(counts) == 0
    assert counts["head_backward"] >= 3 * N
    assert all(network.backbone is None for network in problem.networks)


@pytest.mark.parametrize("method_class", [CE, DivideMix, UNICON, ELRPlus])
def test_live_probing_needs_no_backward_through_the_backbone(method_class):
    problem = SmallProblem(samples=48)
    phase = problem.phase("lp", 2, cached=False)
    problem.train(start(method_class, problem, phase), phase)
    counts = problem.ledger.to_dict()["training"]
    assert counts["backbone_forward"] > 0
    assert counts["backbone_forward_grad"] == counts["backbone_backward"] == 0
