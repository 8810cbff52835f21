"""State by attribute: all that training changes comes back, and what cannot be saved is named at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_problem import SmallProblem, start
from torch import nn

from lnlbench.api import Batch, Method, Phase, PluginError, Task, Views, functional
from lnlbench.trials.checkpoint import decode, encode


class Keeps(Method):
    """Keeps one of everything."""

    unsaved = ("cache",)

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.task, self.device, self.labels = task, task.device, task.labels
        self.heads = {"first": [nn.Linear(2, 2)], "second": (nn.Linear(2, 2), 0.5)}
        self.own = nn.Parameter(torch.zeros(3))
        self.history: list[Any] = []
        self.averages = np.zeros(2)
        self.best: tuple[float, str | None] = (-math.inf, None)
        self.cache = lambda: 0

    def begin_phase(self, phase: Phase) -> None:
        super().begin_phase(phase)
        self.phase = phase
        self.own_optimizer = torch.optim.Adam([self.own], lr=0.1)

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def epoch(self, phase: Phase) -> None:
        super().epoch(phase)
        self.own_optimizer.zero_grad()
        (self.own - 1.0).square().sum().backward()
        self.own_optimizer.step()
        with torch.no_grad():
            for head in (self.heads["first"][0], self.heads["second"][0]):
                head.weight.fill_(phase.epoch + 1.0)
        self.history.append(self.own.detach().clone())
        self.averages += 0.1
        self.best = (float(phase.epoch), "here")
        self.labels = self.labels.roll(1)
        self.first_set_in_training = phase.epoch


def test_a_new_object_continues_with_everything() -> None:
    problem, other = SmallProblem(), SmallProblem()
    phase, again = problem.phase("lp", 4), other.phase("lp", 4)
    method, fresh = start(Keeps, problem, phase), start(Keeps, other, again)
    given = other.labels.clone()
    problem.train(method, phase, range(2))
    held = fresh.own
    fresh.load_state_dict(decode(encode(method.state_dict())))
    assert fresh.own is held
    assert torch.equal(other.labels, given)  # the task's labels are not the method's to change
    assert torch.equal(fresh.labels, problem.labels.roll(2))
    assert fresh.cache() == 0
    assert fresh.phase is again
    problem.train(method, phase, range(2, 4))
    other.train(fresh, again, range(2, 4))
    assert torch.equal(fresh.own, method.own)
    assert [value.tolist() for value in fresh.history] == [value.tolist() for value in method.history]
    assert torch.equal(fresh.network.head.weight, method.network.head.weight)
    assert fresh.heads["second"][0].weight.tolist() == [[4.0, 4.0], [4.0, 4.0]]
    assert fresh.heads["second"][1] == 0.5
    assert np.array_equal(fresh.averages, method.averages)
    assert (fresh.best, fresh.first_set_in_training) == ((3.0, "here"), 3)


@pytest.mark.parametrize(
    ("value", "where", "kind"),
    [
        (lambda: 0, "kept", "function"),
        ([0, {"deep": {1}}], r"kept\[1\]\['deep'\]", "set"),
        (torch.Generator(), "kept", "Generator"),
    ],
)
def test_what_cannot_be_saved_is_named_when_it_is_saved(value: Any, where: str, kind: str) -> None:
    problem = SmallProblem()
    method = start(Keeps, problem, problem.phase("lp", 1))
    method.kept = value
    with pytest.raises(PluginError, match=rf"cannot hold Keeps\.{where}, a {kind}\.") as error:
        method.state_dict()
    assert "unsaved" in str(error.value.hint)


def test_an_object_that_is_not_made_again_is_named() -> None:
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method, fresh = start(Keeps, problem, phase), start(Keeps, problem, phase)
    method.late = [nn.Linear(1, 1)]
    with pytest.raises(PluginError, match=r"state of Keeps\.late\[0\], and there is no such object"):
        fresh.load_state_dict(method.state_dict())


def test_a_method_may_add_to_its_state_under_any_name() -> None:
    class Adds(Keeps):
        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "own": "text"}

        def load_state_dict(self, state: Any) -> None:
            super().load_state_dict(state)
            self.read = state["own"]

    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method, fresh = start(Adds, problem, phase), start(Adds, problem, phase)
    fresh.load_state_dict(method.state_dict())
    assert fresh.read == "text"
    assert isinstance(fresh.own, nn.Parameter)


def test_views_may_be_an_attribute_or_depend_on_parameters() -> None:
    class Two(Method):
        views = Views(weak=2)

    class AsManyAsAsked(Keeps):
        @property
        def views(self) -> Views:
            return Views(weak=self.params)

    assert Keeps(None).views == Views()
    assert Two(None).views == Views(weak=2)
    assert AsManyAsAsked(3).views == Views(weak=3)


def test_a_task_names_its_classes() -> None:
    task = SmallProblem().task()
    assert (task.classes, task.class_names[2]) == (3, "class 2")
