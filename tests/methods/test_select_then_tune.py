"""Selection by a detector, and training on what it leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lnlbench.methods.select_then_tune import SelectThenTune
from small_problem import SmallProblem, resumed, start

from lnlbench.basics.facts import units_of
from lnlbench.components.losses import generalized_cross_entropy
from lnlbench.detectors.detect import BY_TEXTS, DETECTORS, detect
from lnlbench.detectors.evidence import Evidence
from lnlbench.errors import UsageError

COVERS = ("select_then_tune",)


def selected_by(phase):
    return phase.selection.selected


@pytest.mark.parametrize("detector", [name for name in DETECTORS if name not in BY_TEXTS])
def test_probing_trains_on_what_the_detector_leaves(detector):
    problem = SmallProblem(samples=120)
    phase = problem.phase("lp", 2)
    method = start(SelectThenTune, problem, phase, detector=detector)
    phase.start_epoch(0)
    seed = phase.seed("detector")
    problem.train(method, phase, range(1))
    evidence = Evidence(problem.labels.numpy(), 3, features=problem.features(), seed=seed)
    found = detect(detector, evidence)
    assert selected_by(phase).tolist() == (~found.flags).tolist()
    assert 0 < found.flags.sum() < 120
    np.testing.assert_array_equal(phase.selection.score.numpy(), found.score)
    drawn = sorted(i for batch in phase.drawn for i in batch.index.tolist())
    assert drawn == np.flatnonzero(~found.flags).tolist()
    # The second epoch trains on the same samples, and publishes nothing anew.
    phase.drawn.clear()
    problem.train(method, phase, range(1, 2))
    assert sorted(i for batch in phase.drawn for i in batch.index.tolist()) == drawn
    assert phase.selection is None


def test_after_probing_the_head_gives_the_probabilities():
    problem = SmallProblem(samples=90)
    lp = problem.phase("lp", 3)
    method = start(SelectThenTune, problem, lp, detector="confident")
    problem.train(method, lp)
    head = method.network.head
    with torch.no_grad():
        probabilities = head(problem.features()).softmax(1).numpy()
    fft = problem.phase("fft", 1, index=1)
    problem.begin(method, fft)
    problem.train(method, fft)
    found = detect("confident", Evidence(problem.labels.numpy(), 3, probabilities=probabilities))
    assert selected_by(fft).tolist() == (~found.flags).tolist()
    out_of_fold = detect("confident", Evidence(problem.labels.numpy(), 3, features=problem.features()))
    assert found.flags.tolist() != out_of_fold.flags.tolist()
    # Features of probing are at hand: only training passes images.
    assert units_of(problem.ledger.to_dict()["training"]) == 3 * int(selected_by(fft).sum())


def test_fine_tuning_alone_selects_once_on_features_of_the_pre_trained_backbone():
    problem = SmallProblem(samples=90)
    phase = problem.phase("fft", 2)
    method = start(SelectThenTune, problem, phase, detector="knn")
    problem.train(method, phase, range(1))
    kept = int(selected_by(phase).sum())
    found = detect("knn", Evidence(problem.labels.numpy(), 3, features=problem.features()))
    assert selected_by(phase).tolist() == (~found.flags).tolist()
    problem.train(method, phase, range(1, 2))
    assert units_of(problem.ledger.to_dict()["training"]) == 90 + 2 * 3 * kept


@pytest.mark.parametrize("loss", ["ce", "gce"])
def test_the_loss_is_the_one_that_was_asked_for(loss):
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(SelectThenTune, problem, phase, loss=loss, q=0.5)
    (batch,) = phase.batches(torch.arange(9), batch_size=64)
    logits = method.network(batch.inputs)
    p_y = logits.softmax(1).gather(1, batch.labels[:, None])
    expected = -p_y.log().mean() if loss == "ce" else generalized_cross_entropy(logits, batch.labels, 0.5)
    torch.testing.assert_close(method.loss(batch), expected)


def kept(labels, clean, score, classes=3, **params):
    problem = SmallProblem(samples=len(labels), classes=classes)
    problem.labels = torch.tensor(labels)
    phase = problem.phase("lp", 1)
    method = start(SelectThenTune, problem, phase, **params)
    phase.start_epoch(0)
    selected = method.kept(torch.tensor(clean), torch.tensor(score), phase)
    return selected.nonzero().flatten().tolist(), phase.events


def test_a_class_of_which_nothing_is_left_keeps_its_best_scores():
    labels, clean = [0, 0, 0, 1, 1, 1, 1], [True, True, False, False, False, False, False]
    chosen, events = kept(labels, clean, [0.9, 0.8, 0.1, 0.1, 0.4, 0.3, 0.2])
    assert chosen == [0, 1, 4, 5]  # and class 2 has no samples at all
    assert events == {"class_without_kept_samples": 1}


def test_nothing_left_at_all_keeps_everything():
    chosen, events = kept([0, 1, 2], [False] * 3, [0.1, 0.2, 0.3])
    assert chosen == [0, 1, 2]
    assert events == {"nothing_kept": 1}


def test_balanced_classes_keep_as_many_as_the_smallest():
    labels, clean = [0] * 5 + [1] * 3 + [2] * 4, [True] * 5 + [True, True, False] + [True] * 4
    chosen, events = kept(labels, clean, [0.5] * 12, balanced=True)
    assert [sum(labels[i] == label for i in chosen) for label in range(3)] == [2, 2, 2]
    assert all(clean[i] for i in chosen)
    assert events == {}


@pytest.mark.parametrize("kind", ["lp", "fft"])
def test_a_resumed_run_equals_an_uninterrupted_one(kind):
    straight, continued = resumed(SelectThenTune, kind, 3, 1, balanced=True)
    assert torch.equal(straight, continued)


@pytest.mark.parametrize("values", [{"detector": "oracle"}, {"loss": "mae"}, {"q": 0.0}])
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        SelectThenTune.Params(**values)
