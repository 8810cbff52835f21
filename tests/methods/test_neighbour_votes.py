"""kNN and WANN against votes that are counted by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from lnlbench.methods.controls.knn import KNN
from lnlbench.methods.controls.wann import WANN
from small_problem import SmallProblem, bare_trial, resumed, start
from torch.nn import functional

from lnlbench.basics.facts import units_of
from lnlbench.detectors.neighbours import nearest_of
from lnlbench.errors import UsageError

COVERS = ("knn", "wann")
BOTH = [KNN, WANN]


def voted(method_class, problem, **params):
    phase = problem.phase("lp", 2)
    method = start(method_class, problem, phase, **params)
    assert problem.train(method, phase) == [None, None]
    return method, phase


def unit(features):
    return (features / features.norm(dim=1, keepdim=True)).numpy()


def queries_and_bank(problem):
    """Other images than the training ones, and those, as features of length one."""
    others = SmallProblem(samples=40, seed=5)
    return others.features(), unit(others.features()), unit(problem.features())


@pytest.mark.parametrize("k", [1, 10])
def test_knn_sums_the_similarities_of_the_k_nearest_by_label(k):
    problem = SmallProblem(samples=90)
    method, phase = voted(KNN, problem, k=k)
    features, asking, bank = queries_and_bank(problem)
    expected = np.zeros((40, 3))
    for row, query in enumerate(asking):
        similar = bank @ query
        for neighbour in np.argsort(-similar)[:k]:
            expected[row, int(problem.labels[neighbour])] += max(similar[neighbour], 0.0)
    np.testing.assert_allclose(method.predict(features).numpy(), expected, atol=1e-10)
    assert phase.selection is None


def test_knn_asks_all_there_are_where_k_is_larger():
    problem = SmallProblem(samples=12)
    method, _ = voted(KNN, problem, k=50)
    votes = method.predict(problem.features())
    similar = torch.from_numpy(unit(problem.features()) @ unit(problem.features()).T).clamp(min=0)
    torch.testing.assert_close(votes, similar @ functional.one_hot(problem.labels, 3).double())


def sizes_by_hand(bank, labels):
    """k* of each sample: the smallest odd k whose majority is its label."""
    sizes = []
    for row in range(len(bank)):
        distances = np.linalg.norm(bank - bank[row], axis=1)
        distances[row] = np.inf
        order = np.argsort(distances)
        for k in range(11, 50, 2):
            counts = Counter(int(labels[other]) for other in order[:k])
            if counts[int(labels[row])] == max(counts.values()):
                sizes.append(k)
                break
        else:
            sizes.append(51)
    return np.array(sizes)


def test_wann_by_hand():
    problem = SmallProblem(samples=120, flipped=0.5)
    method, phase = voted(WANN, problem)
    features, asking, bank = queries_and_bank(problem)
    sizes = sizes_by_hand(bank, problem.labels)
    assert method.sizes.tolist() == sizes.tolist()
    assert 11 in sizes
    assert 51 in sizes
    expected = np.zeros((40, 3))
    for row, query in enumerate(asking):
        order = np.argsort(np.linalg.norm(bank - query, axis=1))
        for neighbour in order[: sizes[order[0]]]:
            expected[row, int(problem.labels[neighbour])] += 1.0 / sizes[neighbour]
    np.testing.assert_allclose(method.predict(features).numpy(), expected, atol=1e-10)
    assert phase.selection.selected.tolist() == (sizes < 51).tolist()
    np.testing.assert_allclose(phase.selection.score.numpy(), 1.0 / sizes)


def test_wann_on_few_samples_has_smaller_neighbourhoods():
    problem = SmallProblem(samples=24)
    method, phase = voted(WANN, problem)
    assert method.beyond == 25
    assert int(method.sizes.max()) <= 25
    assert phase.selection.selected.tolist() == (method.sizes < 25).tolist()
    assert method.predict(problem.features()).shape == (24, 3)


def test_blocks_of_candidates_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    bank = functional.normalize(torch.randn(50, 6, generator=generator, dtype=torch.float64))
    asking = functional.normalize(torch.randn(7, 6, generator=generator, dtype=torch.float64))
    similar = asking @ bank.T
    for candidates in (1, 8, 50, 1000):
        values, index = nearest_of(asking, bank, 5, candidates=candidates)
        torch.testing.assert_close(values, similar.sort(1, descending=True).values[:, :5])
        torch.testing.assert_close(similar.gather(1, index), values)


@pytest.mark.parametrize("method_class", BOTH)
def test_they_cost_one_pass_on_live_images_and_none_on_cached_features(method_class):
    for cached, units in ((True, 0), (False, 60)):
        problem = SmallProblem(samples=60)
        phase = problem.phase("lp", 3, cached=cached)
        problem.train(start(method_class, problem, phase), phase)
        assert units_of(problem.ledger.to_dict()["training"]) == units


@pytest.mark.parametrize("method_class", BOTH)
def test_a_resumed_run_equals_an_uninterrupted_one(method_class):
    straight, continued = resumed(method_class, "lp", 2, 1)
    assert torch.equal(straight, continued)
    method = start(method_class, problem := SmallProblem(), problem.phase("lp", 1))
    assert "bank" not in method.state_dict()["attributes"]


@pytest.mark.parametrize("method_class", BOTH)
def test_fine_tuning_is_declined(method_class):
    assert method_class.supports(bare_trial("knn", "lp")) is None
    assert "in lp" in method_class.supports(bare_trial("knn", "fft")).reason
    assert method_class.supports(bare_trial("knn", "lp-fft")) is not None


def test_nobody_to_vote_is_a_usage_error():
    with pytest.raises(UsageError):
        KNN.Params(k=0)
