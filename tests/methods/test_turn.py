"""TURN: its two steps, its selection rule, its switches, events and state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lnlbench.methods.turn import TURN, balanced_subset
from sklearn.mixture import GaussianMixture
from small_problem import SmallProblem, bare_trial, resumed, start

from lnlbench.components.losses import generalized_cross_entropy
from lnlbench.errors import UsageError

COVERS = ("turn",)


def probed(**params):
    """TURN after its first step, at the start of the second."""
    problem = SmallProblem(samples=90)
    lp = problem.phase("lp", 5)
    method = start(TURN, problem, lp, **params)
    problem.train(method, lp)
    fft = problem.phase("fft", 3, index=1)
    problem.begin(method, fft)
    return problem, method, fft


def test_step_one_is_generalized_cross_entropy_on_all_samples():
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(TURN, problem, phase)
    (batch,) = problem.phase("lp", 1).batches(batch_size=64)
    expected = generalized_cross_entropy(method.network(batch.inputs), batch.labels, 0.7)
    assert torch.equal(method.loss(batch), expected)
    problem.train(method, phase)
    assert sorted(i for b in phase.drawn for i in b.index.tolist()) == list(range(48))
    assert phase.selection is None


def test_step_two_trains_on_equally_many_of_each_class_with_high_posterior():
    problem, method, phase = probed(monotone=False)
    problem.train(method, phase, range(1))
    # The posterior by hand, from the probed head: nothing has been fine-tuned yet.
    fresh, again, second = probed(monotone=False)
    with torch.no_grad():
        logits = again.network(fresh.features())
    losses = -logits.log_softmax(1)[torch.arange(90), fresh.labels]
    losses = ((losses - losses.min()) / (losses.max() - losses.min())).numpy()
    sizes = []
    second.start_epoch(0)
    for label in range(3):
        members = np.flatnonzero(fresh.labels.numpy() == label)
        mixture = GaussianMixture(
            2,
            max_iter=10,
            tol=1e-2,
            reg_covar=5e-4,
            random_state=second.seed(f"mixture of class {label}"),
        ).fit(losses[members, None])
        posterior = mixture.predict_proba(losses[members, None])[:, mixture.means_.argmin()]
        sizes.append(int((posterior > 0.6).sum()))
        chosen = phase.selection.selected.numpy()[members]
        assert (posterior[chosen] > 0.6).all()
        np.testing.assert_allclose(phase.selection.score.numpy()[members], posterior, atol=1e-9)
    kept = torch.bincount(problem.labels[phase.selection.selected], minlength=3).tolist()
    assert kept == [min(sizes)] * 3
    assert min(sizes) > 0
    trained = [i for b in phase.drawn for i in b.index.tolist()]
    assert sorted(trained) == phase.selection.selected.nonzero().flatten().tolist()


def test_step_two_uses_cross_entropy():
    problem, method, phase = probed()
    (batch,) = phase.batches(torch.arange(9), batch_size=64)
    p_y = method.network(batch.inputs).softmax(1).gather(1, batch.labels[:, None])
    torch.testing.assert_close(method.loss(batch), -p_y.log().mean())
    assert problem.networks[0].frozen is False


@pytest.mark.parametrize(("cleansing", "published"), [("multiple", 3), ("once", 1), ("none", 0)])
def test_cleansing_switch(cleansing, published):
    problem, method, phase = probed(cleansing=cleansing)
    times = 0
    for epoch in range(3):
        problem.train(method, phase, range(epoch, epoch + 1))
        times += phase.selection is not None
    assert times == published


def balanced(posterior, losses, labels, classes, **params):
    """Select by given posteriors; return the chosen samples and the events."""
    problem = SmallProblem(samples=len(labels), classes=classes)
    phase = problem.phase("fft", 1)
    phase.start_epoch(0)
    arrays = (np.asarray(values, dtype=float) for values in (posterior, losses))
    chosen = balanced_subset(*arrays, np.asarray(labels), TURN.Params(**params), phase)
    return chosen, phase.events


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=8, max_size=60))
def test_balanced_subset_has_equal_counts_no_duplicates_and_only_clean_samples(samples):
    labels = np.array([label for label, _ in samples] + [0, 0, 1, 1, 2, 2, 3, 3])
    posterior = np.array([value for _, value in samples] + [0.9] * 8)
    chosen, events = balanced(posterior, 1 - posterior, labels, 4)
    clean = np.bincount(labels[posterior > 0.6], minlength=4)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [clean.min()] * 4
    assert len(set(chosen.tolist())) == len(chosen)
    assert (posterior[chosen] > 0.6).all()
    assert events == {}


def test_unbalanced_selection_keeps_all_clean_samples():
    chosen, _ = balanced([0.9, 0.8, 0.7, 0.9, 0.1], [0] * 5, [0, 0, 0, 1, 1], 2, balanced=False)
    assert chosen.tolist() == [0, 1, 2, 3]


def test_a_class_without_clean_samples_keeps_its_lowest_losses():
    posterior = [0.9, 0.9, 0.9, 0.1, 0.1, 0.1]
    losses = [0.0, 0.0, 0.0, 3.0, 1.0, 2.0]
    labels = [0, 0, 1, 2, 2, 2]
    # Class 1 has one sample and is left out of the minimum as well.
    chosen, events = balanced(posterior, losses, labels, 3)
    assert chosen.tolist() == [0, 1, 2, 4, 5]
    assert events == {"class_without_clean_samples": 2}


def test_no_clean_samples_at_all_trains_on_everything():
    chosen, events = balanced([0.1] * 4, [0] * 4, [0, 0, 1, 1], 2)
    assert chosen.tolist() == [0, 1, 2, 3]
    assert events == {"no_clean_samples": 1}


def test_an_absent_class_is_left_out():
    chosen, events = balanced([0.9] * 4, [0] * 4, [0, 0, 2, 2], 3)
    assert len(chosen) == 4
    assert events == {}


def test_constant_losses_collapse_every_mixture():
    problem = SmallProblem()
    phase = problem.phase("fft", 1)
    method = start(TURN, problem, phase)
    for parameter in method.network.head.parameters():
        torch.nn.init.zeros_(parameter)
    (loss,) = problem.train(method, phase)
    assert phase.events["mixture_collapsed"] == 3
    assert phase.events["no_clean_samples"] == 1
    assert math.isfinite(loss)


@pytest.mark.parametrize("params", [{}, {"cleansing": "once"}, {"mixture": "tight", "monotone": False}])
def test_a_resumed_run_equals_an_uninterrupted_one(params):
    straight, continued = resumed(TURN, "fft", 4, 2, **params)
    assert torch.equal(straight, continued)


def test_probing_alone_is_declined():
    assert "gce" in TURN.supports(bare_trial("turn", "lp")).reason
    assert TURN.supports(bare_trial("turn", "lp-fft")) is None
    assert TURN.supports(bare_trial("turn", "fft")) is None


@pytest.mark.parametrize(
    "values", [{"cleansing": "twice"}, {"mixture": "loose"}, {"q": 0.0}, {"tau": 1.0}, {"tau": -0.1}]
)
def test_impossible_parameters_are_usage_errors(values):
    with pytest.raises(UsageError):
        TURN.Params(**values)
