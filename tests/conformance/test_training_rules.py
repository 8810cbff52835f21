"""What training must keep to: a sound method passes, and each broken rule is found by its check."""

from __future__ import annotations

import gc
import random
from typing import Any

import numpy as np
import pytest
import torch

from lnlbench.api import Batch, Heads, Method, Phase, Skip, Task, Views, functional
from lnlbench.conformance import Finding, Outcome, check_method
from lnlbench.conformance.kit_problem import trial_spec
from lnlbench.conformance.training import TRAINING_RULES, Training
from lnlbench.spec import TrialSpec
from lnlbench.trials.problem import Problem
from lnlbench.trials.workspace import RunSettings, Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(RunSettings(data=None, cache=tmp_path_factory.mktemp("cache")))


class Plain(Method):
    """Cross-entropy, in linear probing only: the sound method that the broken ones derive from."""

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        return None if spec.tuning == "lp" else Skip("fine-tuning would take the tests longer")

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)


def judge_training(method_class: type[Method], workspace: Workspace) -> dict[str, str]:
    """Return the rules of training that a method breaks in linear probing, with the reasons."""
    subject = Training(
        method_class, trial_spec(method_class.resolve("method", "digits", {}), "lp"), workspace
    )
    findings = [rule.judge(subject, "lp") for rule in TRAINING_RULES]
    return {finding.check: finding.reason for finding in findings if finding.outcome is Outcome.FAILED}


# What is sound


class Documented(Plain):
    """A sound method with nothing to complain about."""


def test_a_sound_method_passes_and_what_it_declines_is_not_tried(workspace: Workspace) -> None:
    shown: list[Finding] = []
    report = check_method(Documented, workspace=workspace, progress=shown.append)
    assert report.passed, report
    assert report.findings == tuple(shown)
    by_outcome = {
        outcome: {(f.mode, f.check) for f in report.findings if f.outcome is outcome} for outcome in Outcome
    }
    trained = (
        "runs",
        "learns",
        "predictions",
        "ledger",
        "deterministic",
        "blind",
        "resumes",
        "devices",
        "saturation",
    )
    assert by_outcome[Outcome.PASSED] == (
        {("class", check) for check in ("documented", "parameters", "supports")}
        | {("lp", check) for check in trained}
    )
    declined = {(mode, "runs") for mode in ("fft", "lp-fft", "partial", "lora", "lp-lora")}
    assert by_outcome[Outcome.NOT_APPLICABLE] == {("class", "presets"), ("lp", "together"), *declined}


# What is broken in training


class GlobalRandomness(Plain):
    def loss(self, batch: Batch) -> torch.Tensor:
        return random.uniform(0.9, 1.1) * super().loss(batch)


class RandomSetUp(Plain):
    def setup(self, task: Task) -> None:
        super().setup(task)
        self.weight = torch.from_numpy(1.0 + 0.1 * np.random.rand(task.samples))

    def loss(self, batch: Batch) -> torch.Tensor:
        losses = functional.cross_entropy(self.network(batch.inputs), batch.labels, reduction="none")
        return (self.weight[batch.index] * losses).mean()


@pytest.mark.parametrize("method_class", [GlobalRandomness, RandomSetUp])
def test_randomness_of_its_own(method_class: type[Method], workspace: Workspace) -> None:
    broken = judge_training(method_class, workspace)
    assert broken["deterministic"].startswith("in a second run, loss of epoch 1 of the lp phase is ")
    assert "blind" not in broken  # nothing can be said about it


class LayersOfItsOwn(Plain):
    def setup(self, task: Task) -> None:
        super().setup(task)
        self.scale = torch.nn.Linear(1, 1)

    def begin_phase(self, phase: Phase) -> None:
        super().begin_phase(phase)
        self.shift = torch.rand(())

    def loss(self, batch: Batch) -> torch.Tensor:
        return super().loss(batch) * (self.scale.weight.detach().abs().squeeze() + self.shift)


def test_what_torch_draws_before_training_is_the_same_every_time(workspace: Workspace) -> None:
    assert "deterministic" not in judge_training(LayersOfItsOwn, workspace)


class Together(Plain):
    @staticmethod
    def head_losses(heads: Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return -heads.log_probabilities(logits, batch.labels).mean(1)


class OtherwiseTogether(Plain):
    @staticmethod
    def head_losses(heads: Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return -0.5 * heads.log_probabilities(logits, batch.labels).mean(1)


def test_heads_that_learn_otherwise_together_than_alone(workspace: Workspace) -> None:
    assert judge_training(Together, workspace) == {}
    broken = judge_training(OtherwiseTogether, workspace)
    assert broken.keys() == {"together"}
    assert broken["together"].startswith("the loss of epoch 1 is ")


class ForgetsItsSteps(Plain):
    unsaved = ("steps",)

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.steps = 0

    def loss(self, batch: Batch) -> torch.Tensor:
        self.steps += 1
        return super().loss(batch) / (1.0 + 0.1 * self.steps)


def test_a_state_that_lacks_something(workspace: Workspace) -> None:
    broken = judge_training(ForgetsItsSteps, workspace)
    assert broken.keys() == {"resumes"}
    assert broken["resumes"].startswith("after loading, loss of epoch 4 of the lp phase is ")


class SavesAnArray(Plain):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "more": np.zeros(3)}


class SavesCode(Plain):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "more": lambda: None}


def test_a_state_of_plain_data(workspace: Workspace) -> None:
    assert not judge_training(SavesAnArray, workspace)


def test_a_state_that_is_not_plain_data(workspace: Workspace) -> None:
    broken = judge_training(SavesCode, workspace)
    assert broken.keys() == {"resumes"}
    assert "state.method.more, a function" in broken["resumes"]


class InfiniteLoss(Plain):
    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.nll_loss(self.network(batch.inputs).softmax(1).log(), batch.labels)


class InfiniteGradient(Plain):
    """Generalized cross entropy as one first writes it: finite, with a gradient that is not."""

    def loss(self, batch: Batch) -> torch.Tensor:
        p = self.network(batch.inputs).softmax(1).gather(1, batch.labels[:, None])
        return ((1.0 - p**0.7) / 0.7).mean()


@pytest.mark.parametrize(
    ("method_class", "reason"),
    [
        (InfiniteLoss, "The loss is not finite in epoch 1 of the lp phase."),
        (InfiniteGradient, "The predictions are not finite."),
    ],
)
def test_overflow_at_saturation(method_class: type[Method], reason: str, workspace: Workspace) -> None:
    broken = judge_training(method_class, workspace)
    assert broken.keys() == {"saturation"}
    assert broken["saturation"] == f"{reason} A gradient of head.weight is not finite."


class OneLogitTooMany(Plain):
    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.pad(self.network(inputs), (0, 1), value=-1e4)


class WholeNumbers(Plain):
    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        return (1000 * self.network(inputs)).long()


class ChangesItsMind(Plain):
    calls = 0

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        # Constants change no accuracy.
        type(self).calls += 1
        return self.network(inputs) + self.calls % 2


@pytest.mark.parametrize(
    ("method_class", "reason"),
    [
        (OneLogitTooMany, "the shape for 1 inputs is [1, 11] instead of [1, 10]"),
        (WholeNumbers, "the type is torch.int64"),
        (ChangesItsMind, "two calls on the same inputs differ"),
    ],
)
def test_predictions_that_are_no_logits(
    method_class: type[Method], reason: str, workspace: Workspace
) -> None:
    assert judge_training(method_class, workspace)["predictions"] == reason


class LearnsNothing(Plain):
    def loss(self, batch: Batch) -> torch.Tensor:
        return 0.0 * super().loss(batch)


def test_learning_nothing(workspace: Workspace) -> None:
    broken = judge_training(LearnsNothing, workspace)
    assert broken.keys() == {"learns"}
    # 200 test images of 10 classes: 10 % and five standard deviations of sqrt(0.1 · 0.9 / 200).
    assert "where 21 % is little" in broken["learns"]


def problem_behind(task: Task) -> Problem:
    """Return the problem with the clean labels: nothing that a method is given leads to it."""
    return next(
        found for found in gc.get_objects() if type(found) is Problem and found.train_labels is task.labels
    )


class ReadsTheTruth(Plain):
    """Finds the clean labels in the memory of the process."""

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.truth = torch.from_numpy(problem_behind(task).true_labels)

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch.inputs), self.truth[batch.index])


class ReadsTheDataset(ReadsTheTruth):
    """Finds them in the data set."""

    def setup(self, task: Task) -> None:
        super().setup(task)
        problem = problem_behind(task)
        self.truth = torch.from_numpy(problem.dataset.train.labels)[problem.train_rows]


class ReadsTheNoise(Plain):
    """Chooses its loss by the rate of the noise."""

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.rate = problem_behind(task).noise.realised_rate

    def loss(self, batch: Batch) -> torch.Tensor:
        return (1.0 - self.rate / 2) * super().loss(batch)


@pytest.mark.parametrize("method_class", [ReadsTheTruth, ReadsTheDataset, ReadsTheNoise])
def test_asking_for_what_nobody_knows(method_class: type[Method], workspace: Workspace) -> None:
    broken = judge_training(method_class, workspace)
    assert broken["blind"].startswith("with another truth, loss of epoch 1 of the lp phase is ")
    assert "deterministic" not in broken


class TrainsBesideTheLedger(Plain):
    """Has a classifier of its own, which nothing counts."""

    def setup(self, task: Task) -> None:
        super().setup(task)
        self.own = torch.nn.Linear(self.network.feature_dim, task.classes)
        torch.nn.init.zeros_(self.own.weight)
        torch.nn.init.zeros_(self.own.bias)

    def begin_phase(self, phase: Phase) -> None:
        self.optimizer = phase.optimizer(self.own)

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.predict(batch.inputs), batch.labels)

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.own(self.network.features(inputs))

    def state_dict(self) -> dict[str, Any]:
        return {"own": self.own.state_dict(), **super().state_dict()}

    def load_state_dict(self, state: Any) -> None:
        self.own.load_state_dict(state["own"])
        super().load_state_dict(state)


class ThawsTheBackbone(Plain):
    """Lets gradients into a backbone that is to stay as it is."""

    def epoch(self, phase: Phase) -> None:
        self.network.build().requires_grad_(True)
        super().epoch(phase)


@pytest.mark.parametrize(
    ("method_class", "reason"),
    [
        (TrainsBesideTheLedger, "steps in lp pass nothing back through the head of a task.network()"),
        (ThawsTheBackbone, "passes with gradient through the frozen backbone"),
    ],
)
def test_work_that_the_ledger_should_not_see(
    method_class: type[Method], reason: str, workspace: Workspace
) -> None:
    assert reason in judge_training(method_class, workspace)["ledger"]


class NeedsWhatItDoesNotSay(Plain):
    """Looks at a weak view, which a data set of features has none of, and accepts it all the same."""

    views = Views(weak=1)

    def loss(self, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(self.network(batch.weak[0]), batch.labels)


class FailsLive(Plain):
    def loss(self, batch: Batch) -> torch.Tensor:
        samples, features = batch.inputs.shape
        return super().loss(batch) + 0.0 * samples / features


@pytest.mark.parametrize(
    ("method_class", "reason"),
    [(NeedsWhatItDoesNotSay, "on a data set of features: "), (FailsLive, "on live images: ValueError: ")],
)
def test_accepting_what_cannot_be_run(method_class: type[Method], reason: str, workspace: Workspace) -> None:
    assert judge_training(method_class, workspace)["runs"].startswith(reason)


class AcceptsWhatItCannotDo(Plain):
    """Says that it fine-tunes, and does not."""

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        return None if spec.tuning == "fft" else Skip("fine-tuning only")

    def epoch(self, phase: Phase) -> None:
        raise NotImplementedError("one day")


def test_nothing_more_is_asked_of_a_trial_that_does_not_run(workspace: Workspace) -> None:
    report = check_method(AcceptsWhatItCannotDo, workspace=workspace)
    (failure,) = report.failures
    assert (failure.mode, failure.check) == ("fft", "runs")
    assert failure.reason.startswith(f"NotImplementedError: one day ({__file__}:")
    assert [finding.check for finding in report.findings if finding.mode == "fft"] == ["runs"]
