"""Losses of several heads at once are those of one at a time, with their gradients, in double precision."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from lnlbench.methods.ce import CE
from lnlbench.methods.controls.ce_entropy import CEEntropy
from lnlbench.methods.controls.nce_rce import NCERCE
from lnlbench.methods.controls.sce import SCE
from lnlbench.methods.elr import ELR
from lnlbench.methods.gce import GCE
from small_problem import SmallProblem, start

from lnlbench.api import Batch, Heads

COVERS = ("ce", "gce", "elr", "sce", "nce_rce", "ce_entropy")
CLASSES, SAMPLES = 3, 48
PARAMS = {
    CE: [{}, {}, {}],
    GCE: [{"q": 0.7}, {"q": 0.2, "truncation": 0.4}, {"q": 1.0, "truncation": 0.1}],
    ELR: [{"beta": 0.7, "lam": 3.0}, {"beta": 0.9, "lam": 7.0}, {"beta": 0.0, "lam": 0.0}],
    SCE: [{"alpha": 0.1}, {"alpha": 6.0, "beta": 0.1}, {"alpha": 1.0, "log_zero": -4.0}],
    NCERCE: [{}, {"alpha": 10.0, "beta": 0.1}, {"beta": 0.0}],
    CEEntropy: [{}, {"lam": 0.0}, {"lam": 2.0}],
}


def make(method_class):
    """Methods whose network is the identity, so that a batch's inputs are its logits."""
    methods = []
    for params in PARAMS[method_class]:
        problem = SmallProblem()
        method = start(method_class, problem, problem.phase("lp", 1), **params)
        method.network = lambda logits: logits
        methods.append(method)
        if isinstance(method, ELR):
            method.targets.values = method.targets.values.double()
    return methods


def batches(scale):
    """Every sample once, then again, as two epochs would have them; the logits of three heads."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for index in torch.randperm(SAMPLES, generator=generator).split(16):
            logits = scale * torch.randn(3, 16, CLASSES, generator=generator, dtype=torch.float64)
            yield index, torch.randint(CLASSES, (16,), generator=generator), logits


@pytest.mark.parametrize("scale", [1.0, 300.0])  # predictions that saturate, too
@pytest.mark.parametrize("method_class", PARAMS)
def test_losses_and_gradients_are_those_of_each(method_class, scale):
    alone, others = make(method_class), make(method_class)
    heads = Heads(others, torch.zeros(1, dtype=torch.float64))
    for index, labels, logits in batches(scale):
        together = logits.clone().requires_grad_()
        losses = method_class.head_losses(heads, together, Batch(index, labels, torch.empty(16, 0)))
        losses.sum().backward()
        for number, method in enumerate(alone):
            own = logits[number].clone().requires_grad_()
            loss = method.loss(Batch(index, labels, own))
            loss.backward()
            torch.testing.assert_close(losses[number], loss, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(together.grad[number], own.grad, rtol=1e-12, atol=1e-12)
    if method_class is ELR:
        for method, other in zip(alone, others, strict=True):
            torch.testing.assert_close(method.targets.values, other.targets.values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("storage", "place"), [("bfloat16", "device"), ("float16", "cpu")])
def test_targets_stay_where_and_as_they_are_kept(storage, place):
    problem = SmallProblem()
    methods = [start(ELR, problem, problem.phase("lp", 1), storage=storage, place=place) for _ in range(2)]
    index = torch.arange(8)
    logits = torch.randn(2, 8, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    heads = Heads(methods, logits)
    ELR.head_losses(heads, logits, Batch(index, problem.labels[:8], torch.empty(8, 0)))
    for method, row in zip(methods, logits, strict=True):
        values = method.state_dict()["attributes"]["targets"]["@state_dict"]["values"]
        assert values.dtype == getattr(torch, storage)
        torch.testing.assert_close(values[:8].double(), 0.3 * row.softmax(1), atol=2e-3, rtol=0)
        assert values[8:].count_nonzero() == 0


def test_parameters_are_columns_and_state_is_shared():
    methods = make(ELR)
    heads = Heads(methods, torch.zeros(1, dtype=torch.float64))
    assert len(heads) == 3
    assert heads.param("beta").tolist() == [[0.7], [0.9], [0.0]]
    stack = heads.stacked("targets.values")
    stack[1, 4] = 5.0
    assert methods[1].targets.values[4].tolist() == [5.0] * CLASSES
    assert methods[0].targets.values.count_nonzero() == 0
    assert heads.stacked("targets.values") is stack


def test_every_parameter_is_looked_at():
    """A field that is added later needs a place in head_losses: this list is meant to fail then."""
    looked_at = {
        CE: set(),
        GCE: {"q", "truncation"},
        ELR: {"beta", "lam", "storage", "place"},
        SCE: {"alpha", "beta", "log_zero"},
        NCERCE: {"alpha", "beta"},
        CEEntropy: {"lam"},
    }
    for method_class, names in looked_at.items():
        assert {item.name for item in dataclasses.fields(method_class.Params)} == names
