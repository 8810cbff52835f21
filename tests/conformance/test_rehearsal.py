"""The instruments of the checks: rehearsed trials, hidden truth, generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lnlbench.api import Phase, Task
from lnlbench.conformance.kit_problem import learning_spec, trial_spec, with_other_truth
from lnlbench.conformance.rehearsal import Rehearsal, global_generators
from lnlbench.conformance.rules import describe
from lnlbench.conformance.training import saturate
from lnlbench.data.source import Dataset
from lnlbench.plugins import registry
from lnlbench.spec import MethodSpec, NoiseSpec, TrialSpec
from lnlbench.trials.attempt import run_trial
from lnlbench.trials.problem import Problem, prepare_problem
from lnlbench.trials.workspace import RunSettings, Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache")))


def test_a_rehearsal_is_a_trial(workspace: Workspace) -> None:
    spec = trial_spec(MethodSpec("ce"), "lp-fft")
    course = Rehearsal(registry.methods().load("ce"), spec, workspace, prepare_problem(spec, workspace)).run()
    record = run_trial(spec, workspace)
    keys = ("loss", "validation", "test")
    assert [[getattr(epoch, key) for key in keys] for epoch in course.epochs] == [
        [entry[key] for key in keys] for entry in record.history
    ]
    for counter in record.ledger["training"]:
        counted = sum(passes[counter] for passes in course.passes.values())
        assert counted == record.ledger["training"][counter]


def test_a_saturated_head_has_a_mean_margin_of_200(workspace: Workspace) -> None:
    spec = trial_spec(MethodSpec("ce"), "lp")
    rehearsal = Rehearsal(registry.methods().load("ce"), spec, workspace, prepare_problem(spec, workspace))
    inputs = torch.rand(32, rehearsal.model.networks[0].feature_dim)
    saturate(rehearsal.model.networks[0], inputs)
    with torch.no_grad():
        ordered = rehearsal.model.networks[0](inputs).sort(dim=1).values
    assert float((ordered[:, -1] - ordered[:, -2]).mean()) == pytest.approx(200.0, rel=1e-4)


def test_another_truth_changes_what_is_hidden_and_nothing_else(workspace: Workspace) -> None:
    spec = trial_spec(MethodSpec("ce"), "lp")
    problem = prepare_problem(spec, workspace)
    other = with_other_truth(problem)
    assert other.true_labels is not None
    assert not (other.true_labels == problem.train_labels.numpy()).any()
    assert other.noise.realised_rate == 1.0
    np.testing.assert_array_equal(other.dataset.train.labels[other.train_rows], other.true_labels)
    for name in ("train_rows", "train_labels", "validation_labels", "test_labels"):
        assert torch.equal(getattr(other, name), getattr(problem, name))
    assert other.dataset.fingerprint == problem.dataset.fingerprint


def test_an_error_is_told_in_a_line_with_the_place_outside_pytorch() -> None:
    try:
        torch.nn.Linear(2, 2).load_state_dict({f"a_{number}": torch.zeros(1) for number in range(200)})
    except RuntimeError as error:
        text = describe(error)
    assert text.startswith("RuntimeError: Error(s) in loading state_dict for Linear: Missing key(s)")
    assert text.partition(" … (")[2].startswith(f"{__file__}:")
    assert "\n" not in text
    assert len(text.partition(" … (")[0]) <= 400


def test_global_generators_are_put_back() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(11)
    expected = [draw(), draw()]
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(11)
    first = draw()
    with global_generators(1):
        inside = draw()
    with global_generators(2):
        assert draw() != inside
    assert [first, draw()] == expected


def public_values(value: Any, depth: int = 3) -> Iterator[Any]:
    """Yield what can be reached through attributes without an underscore."""
    yield value
    if depth and type(value).__module__.startswith("lnlbench"):
        for name in dir(value):
            if not name.startswith("_"):
                yield from public_values(getattr(value, name), depth - 1)


def test_task_and_phase_do_not_hold_the_truth(workspace: Workspace) -> None:
    class Witness(registry.methods().load("ce")):
        def setup(self, task: Task) -> None:
            super().setup(task)
            self.task = task

        def epoch(self, phase: Phase) -> None:
            super().epoch(phase)
            self.phase = phase

    spec = trial_spec(MethodSpec("ce"), "lp")
    problem = prepare_problem(spec, workspace)
    rehearsal = Rehearsal(Witness, spec, workspace, problem)
    rehearsal.run()
    method = rehearsal.method
    assert isinstance(method, Witness)
    values = [*public_values(method.task), *public_values(method.phase)]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert any(torch.equal(tensor, problem.train_labels) for tensor in tensors)
    assert problem.true_labels is not None
    truth = torch.from_numpy(problem.true_labels)
    assert not any(torch.equal(tensor, truth) for tensor in tensors)
    assert not any(isinstance(value, (Problem, Dataset, NoiseSpec, TrialSpec)) for value in values)


def test_learning_takes_the_linear_probing_of_any_mode() -> None:
    spec = learning_spec(trial_spec(MethodSpec("ce"), "lp-fft"))
    assert [phase.kind for phase in spec.phases] == ["lp"]
