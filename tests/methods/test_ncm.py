"""The nearest class mean, by hand."""

from __future__ import annotations

import pytest
import torch
from lnlbench.methods.controls.ncm import NCM
from small_problem import SmallProblem, bare_trial, resumed, start
from torch.nn import functional

from lnlbench.basics.facts import units_of

COVERS = ("ncm",)


@pytest.mark.parametrize("normalised", [True, False])
def test_predictions_are_the_nearest_means_by_distance(normalised):
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    method = start(NCM, problem, phase, normalised=normalised)
    assert problem.train(method, phase) == [None]
    features = problem.features()
    if normalised:
        features = features / features.norm(dim=1, keepdim=True)
    means = torch.stack([features[problem.labels == label].mean(0) for label in range(3)])
    logits = method.predict(problem.features())
    assert torch.equal(logits.argmax(1), torch.cdist(features, means).argmin(1))
    # Up to what all classes share, they are the squared distances themselves.
    expected = -torch.cdist(features, means).square()
    torch.testing.assert_close(
        logits - logits.mean(1, keepdim=True), expected - expected.mean(1, keepdim=True), atol=1e-10, rtol=0
    )


def test_a_class_without_samples_is_counted_and_never_predicted():
    problem = SmallProblem()
    problem.labels = torch.where(problem.labels == 1, 2, problem.labels)
    phase = problem.phase("lp", 2)
    method = start(NCM, problem, phase)
    problem.train(method, phase)
    assert phase.events == {"class_without_samples": 1}
    logits = method.predict(problem.features())
    assert logits.isfinite().all()
    assert set(logits.argmax(1).tolist()) == {0, 2}


def test_means_over_pieces_are_means_over_all(monkeypatch):
    problem = SmallProblem()
    phase = problem.phase("lp", 1)
    monkeypatch.setattr("lnlbench.methods.controls.ncm.ROWS", 7)
    method = start(NCM, problem, phase)
    problem.train(method, phase)
    features = functional.normalize(problem.features())
    torch.testing.assert_close(method.means[2], features[problem.labels == 2].mean(0))


def test_it_costs_one_pass_on_live_images_and_none_on_cached_features():
    for cached, units in ((True, 0), (False, 48)):
        problem = SmallProblem()
        phase = problem.phase("lp", 3, cached=cached)
        problem.train(start(NCM, problem, phase), phase)
        assert units_of(problem.ledger.to_dict()["training"]) == units


def test_a_resumed_run_equals_an_uninterrupted_one():
    straight, continued = resumed(NCM, "lp", 2, 1)
    assert torch.equal(straight, continued)


def test_fine_tuning_is_declined():
    assert NCM.supports(bare_trial("ncm", "lp")) is None
    assert "run ncm in lp" in NCM.supports(bare_trial("ncm", "fft")).reason
    assert NCM.supports(bare_trial("ncm", "lp-fft")) is not None
