"""Optimisers of many heads at once beside those of PyTorch, one per head, in double precision."""

from __future__ import annotations

import copy

import pytest
import torch

from lnlbench.trials.batched.row_optimizers import can_step, kind_of, rows_of

SHAPES = [(3, 4), (3,)]
SETTINGS = {
    torch.optim.SGD: [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.1},
        {"lr": 0.5, "momentum": 0.5, "weight_decay": 0.0},
    ],
    torch.optim.AdamW: [
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 1e-3, "weight_decay": 0.0},
        {"lr": 0.5, "weight_decay": 0.3},
    ],
}


def start(kind, generator):
    """Optimisers of PyTorch, each over a weight and a bias of its own."""
    found = []
    for settings in SETTINGS[kind]:
        own = [
            torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
            for shape in SHAPES
        ]
        found.append(kind(own, **settings))
    return found


def parameters(optimizers):
    return [optimizer.param_groups[0]["params"] for optimizer in optimizers]


def together(optimizers):
    """Stack the parameters, and let the optimisers' own be rows of the stacks."""
    stacks = []
    for place in range(len(SHAPES)):
        stack = torch.stack([own[place].detach().reshape(-1) for own in parameters(optimizers)])
        for own, row in zip(parameters(optimizers), stack, strict=True):
            own[place].data = row.view_as(own[place])
        stacks.append(stack)
    return rows_of(optimizers, stacks)


def steps(references, rows, count, generator, factor=1.0):
    """Take the same steps on the same gradients, with all rates times a factor, as a schedule would."""
    for optimizer in (*references, *rows.optimizers):
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
    rows.begin_epoch()
    for _ in range(count):
        gradients = [
            torch.randn((len(references), *shape), generator=generator, dtype=torch.float64)
            for shape in SHAPES
        ]
        for number, optimizer in enumerate(references):
            for own, gradient in zip(parameters([optimizer])[0], gradients, strict=True):
                own.grad = gradient[number].clone()
            optimizer.step()
        rows.step([gradient.reshape(len(references), -1) for gradient in gradients])
    rows.end_epoch()


def largest_difference(references, others):
    pairs = zip(parameters(references), parameters(others), strict=True)
    return max(
        float((a - b).detach().abs().max()) for one, two in pairs for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("kind", SETTINGS)
def test_steps_are_those_of_torch(kind):
    generator = torch.Generator().manual_seed(0)
    references = start(kind, generator)
    rows = together(copy.deepcopy(references))
    for factor in (1.0, 0.3, 0.7):
        steps(references, rows, 5, generator, factor)
    assert largest_difference(references, rows.optimizers) < 1e-13


@pytest.mark.parametrize("kind", SETTINGS)
def test_their_state_is_taken_over_and_handed_back(kind):
    generator = torch.Generator().manual_seed(1)
    references = start(kind, generator)
    rows = together(copy.deepcopy(references))
    steps(references, rows, 3, generator)
    # What a checkpoint holds goes into new optimisers: some of PyTorch alone, some of ours.
    alone, others = start(kind, generator), start(kind, generator)
    for one in (alone, others):
        for fresh, optimizer in zip(one, rows.optimizers, strict=True):
            for new, own in zip(parameters([fresh])[0], parameters([optimizer])[0], strict=True):
                new.data = own.detach().clone()
            fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    again = together(others)
    steps(alone, again, 3, torch.Generator().manual_seed(2))
    assert largest_difference(alone, again.optimizers) < 1e-13
    steps(references, rows, 3, torch.Generator().manual_seed(2))
    assert largest_difference(references, again.optimizers) < 1e-13


def test_a_head_that_is_not_finite_spoils_no_other():
    generator = torch.Generator().manual_seed(3)
    references = start(torch.optim.AdamW, generator)
    rows = together(copy.deepcopy(references))
    for each in (references, rows.optimizers):
        parameters(each)[1][0].data.fill_(torch.nan)
    steps(references, rows, 4, generator)
    assert parameters(rows.optimizers)[1][0].isnan().all()
    for kept in (0, 2):
        assert largest_difference([references[kept]], [rows.optimizers[kept]]) < 1e-13


def test_what_a_phase_does_not_set_is_left_to_torch():
    own = [torch.nn.Parameter(torch.zeros(2))]
    assert can_step(torch.optim.SGD(own, lr=0.1, momentum=0.9, weight_decay=0.1))
    assert can_step(torch.optim.AdamW(own, lr=0.1))
    for optimizer in (
        torch.optim.SGD(own, lr=0.1, momentum=0.9, nesterov=True),
        torch.optim.AdamW(own, lr=0.1, amsgrad=True),
        torch.optim.Adam(own, lr=0.1),
        torch.optim.SGD([{"params": own}, {"params": [torch.nn.Parameter(torch.zeros(1))]}], lr=0.1),
    ):
        assert not can_step(optimizer)
    assert kind_of(torch.optim.AdamW(own, betas=(0.8, 0.9))) != kind_of(torch.optim.AdamW(own))
