"""Predictions of training samples, as networks see them: against what a method itself sees."""

from __future__ import annotations

import copy

import pytest
import torch
from small_problem import CPU, SmallProblem

from lnlbench.api import Batch, Method, Phase, functional
from lnlbench.api.training_predictions import TrainingPredictions
from lnlbench.components.mixing import Mixup


class Remembering(Method):
    """Cross-entropy that remembers its own predictions."""

    def setup(self, task):
        super().setup(task)
        self.seen = torch.full((task.samples,), -1)

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.network(batch.inputs)
        self.seen[batch.index] = logits.argmax(1)
        return functional.cross_entropy(logits, batch.labels)


def watched(problem: SmallProblem) -> tuple[Phase, TrainingPredictions]:
    predictions = TrainingPredictions(len(problem.labels), problem.classes, CPU)
    phase = problem.phase("fft", 3)
    phase._predictions = predictions
    for network in problem.networks:
        predictions.watch(network)
    return phase, predictions


def test_changes_are_those_of_the_methods_own_predictions() -> None:
    problem = SmallProblem()
    method = Remembering(None)
    method.setup(problem.task())
    phase, predictions = watched(problem)
    problem.begin(method, phase)
    before, found, expected = None, [], []
    for epoch in range(3):
        phase.start_epoch(epoch)
        method.epoch(phase)
        now = method.seen.clone()
        expected.append(None if before is None else 100 * float((now != before).double().mean()))
        found.append(predictions.end_epoch())
        before = now
    assert found[0] is None
    assert found[1:] == pytest.approx(expected[1:], rel=1e-5)
    assert any(change for change in found[1:])


def test_mixed_inputs_belong_to_no_sample_and_a_pass_over_all_is_seen() -> None:
    problem = SmallProblem()
    network = problem.task().network()
    phase, predictions = watched(problem)
    network.freeze(False)
    for _ in range(2):
        phase.start_epoch(0)
        for batch in phase.batches():
            mix = Mixup.draw(len(batch), 4.0, phase.generator)
            network(mix(batch.inputs))
        assert predictions.end_epoch() is None
    phase.losses(network)
    assert predictions.end_epoch() is None  # the epoch before has none
    phase.losses(network)
    assert predictions.end_epoch() == 0.0
    phase.features(network)  # no logits, whatever their number
    assert predictions.end_epoch() is None


def test_copies_of_a_network_are_watched_and_views_are_samples() -> None:
    problem = SmallProblem()
    network = problem.task().network()
    phase, predictions = watched(problem)
    average = copy.deepcopy(network).eval()
    for _ in range(2):
        phase.start_epoch(0)
        with torch.no_grad():
            for batch in phase.batches(plain=False, weak=1):
                average(batch.weak[0])
        changed = predictions.end_epoch()
    assert changed == 0.0  # the same generator draws the same views


def test_only_samples_of_both_epochs_are_compared() -> None:
    predictions = TrainingPredictions(5, 2, CPU)
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    predictions.put(torch.tensor([0, 1, 2]), first.repeat(3, 1))
    predictions.end_epoch()
    predictions.put(torch.tensor([1, 2, 3]), torch.cat([first, second, second]))
    saved = predictions.state()
    assert predictions.end_epoch() == 50.0
    again = TrainingPredictions(5, 2, CPU)
    again.load(saved)
    again.put(torch.tensor([1, 2, 3]), torch.cat([first, second, second]))
    assert again.end_epoch() == 50.0
