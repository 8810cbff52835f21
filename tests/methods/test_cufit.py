"""CUFIT: three heads that agree, written out."""

from __future__ import annotations

import copy

import pytest
import torch
from lnlbench.methods.cufit import CUFIT, Adapter
from small_problem import SmallProblem, bare_trial, resumed, start
from torch.nn import functional

from lnlbench.basics.facts import units_of
from lnlbench.errors import UsageError

COVERS = ("cufit",)


def test_an_adapter_is_the_identity_at_first_and_a_residual_bottleneck():
    adapter = Adapter(6, 3).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    assert torch.equal(adapter(features), features)
    torch.nn.init.normal_(adapter.up.weight)
    centred = features - features.mean(1, keepdim=True)
    normal = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    hidden = (normal @ adapter.down.weight.T + adapter.down.bias).clamp(min=0)
    torch.testing.assert_close(adapter(features), features + hidden @ adapter.up.weight.T)


def test_epochs_written_out():
    problem = SmallProblem()
    phase = problem.phase("lp", 3, lr=0.3)
    method = start(CUFIT, problem, phase, width=5)
    heads = copy.deepcopy([network.head for network in method.networks])
    adapters = copy.deepcopy(method.adapters)
    groups = [
        heads[0],
        torch.nn.ModuleList([heads[1], adapters[0]]),
        torch.nn.ModuleList([heads[2], adapters[1]]),
    ]
    optimizers = [
        torch.optim.SGD(group.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-4) for group in groups
    ]
    agreeing = torch.zeros(48, dtype=torch.bool)
    problem.train(method, phase)
    assert len(phase.drawn) == 18
    for batch in phase.drawn:
        f, y = batch.inputs, batch.labels
        logits = [heads[0](f), heads[1](adapters[0](f)), heads[2](adapters[1](f))]
        agreed = [torch.ones(len(y)), *((z.argmax(1) == y).double() for z in logits[:2])]
        for optimizer, z, weight in zip(optimizers, logits, agreed, strict=True):
            loss = (weight * functional.cross_entropy(z, y, reduction="none")).sum() / len(y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        agreeing[batch.index] = agreed[2].bool()
    features = problem.features()
    torch.testing.assert_close(method.predict(features), heads[2](adapters[1](features)), atol=1e-10, rtol=0)
    assert phase.selection.selected.tolist() == agreeing.tolist()
    assert 0 < int(agreeing.sum()) < 48


def test_heads_share_one_pass_of_a_live_image():
    problem = SmallProblem()
    phase = problem.phase("lp", 2, cached=False)
    method = start(CUFIT, problem, phase)
    problem.train(method, phase)
    counts = problem.ledger.to_dict()["training"]
    assert units_of(counts) == 2 * 48
    assert counts["backbone_backward"] == 0


def test_a_resumed_run_equals_an_uninterrupted_one():
    class Seeded(CUFIT):
        """As in a trial, which seeds the layers of a method's own."""

        def setup(self, task):
            torch.manual_seed(0)
            super().setup(task)

    straight, continued = resumed(Seeded, "lp", 3, 1)
    assert torch.equal(straight, continued)


def test_fine_tuning_is_declined():
    assert CUFIT.supports(bare_trial("cufit", "lp")) is None
    assert "in lp" in CUFIT.supports(bare_trial("cufit", "fft")).reason
    assert CUFIT.supports(bare_trial("cufit", "lp-fft")) is not None


def test_an_adapter_has_a_width():
    with pytest.raises(UsageError):
        CUFIT.Params(width=0)
