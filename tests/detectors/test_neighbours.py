"""Neighbours and out-of-fold heads against scikit-learn; HOC against brute force and known noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from lnlbench.detectors import neighbours
from lnlbench.detectors.consensus import _Distance, fit_consensus
from lnlbench.detectors.neighbours import Neighbours, nearest_neighbours
from lnlbench.detectors.out_of_fold import out_of_fold, stratified_folds

COVERS = ("detectors",)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 90), st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))
def test_neighbours_are_exact_whatever_the_blocks(seed, samples, k, queries, candidates):
    features = np.random.default_rng(seed).normal(size=(samples, 4)).astype(np.float32)
    near = nearest_neighbours(torch.from_numpy(features), k, queries=queries, candidates=candidates)
    k = min(k, samples - 1)
    oracle = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(features)
    distance, index = oracle.kneighbors()  # of each sample, without itself
    np.testing.assert_allclose(near.similarity, 1 - distance, atol=1e-5)
    apart = np.abs(np.diff(distance, axis=1)).min(initial=1.0) > 1e-5
    if apart:
        assert np.array_equal(near.index[:, : k - 1], index[:, : k - 1])
    assert (near.index != np.arange(samples)[:, None]).all()


def test_the_same_features_are_searched_once_and_others_are_not_taken_for_them(monkeypatch):
    searched = []
    search = neighbours._nearest
    monkeypatch.setattr(neighbours, "_nearest", lambda *asked: searched.append(1) or search(*asked))
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    first = nearest_neighbours(features, 3)
    again = nearest_neighbours(features.clone(), 3)
    assert np.array_equal(first.index, again.index)
    assert len(searched) == 1
    with pytest.raises(ValueError, match="read-only"):
        again.similarity[0] = 0.0
    features[7] += 0.5  # in place: the same tensor, with other values
    changed = nearest_neighbours(features, 3)
    assert len(searched) == 2
    assert not np.array_equal(changed.similarity, first.similarity)
    assert nearest_neighbours(features, 4).index.shape == (30, 4)


def test_twins_are_neighbours_and_a_zero_vector_has_no_direction():
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    near = nearest_neighbours(features, 2)
    assert near.index[:2, 0].tolist() == [1, 0]
    assert near.similarity[:2, 0].tolist() == [1.0, 1.0]
    assert near.similarity[3].tolist() == [0.0, 0.0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.integers(2, 5), st.integers(0, 99))
def test_folds_are_even_in_every_class(labels, folds, seed):
    labels = np.array(labels)
    fold = stratified_folds(labels, folds, seed)
    for counts in [np.bincount(fold, minlength=folds)] + [
        np.bincount(fold[labels == label], minlength=folds) for label in range(5)
    ]:
        assert counts.max() - counts.min() <= 1


def test_heads_are_logistic_regressions_without_their_fold():
    generator = np.random.default_rng(0)
    features = generator.normal(3.0, 2.0, size=(150, 6)).astype(np.float32)
    features[:, 5] = 7.0  # says nothing
    labels = (features[:, 0] + generator.normal(size=150) > 3).astype(int) + (features[:, 1] > 4)
    found = out_of_fold(torch.from_numpy(features), labels, 3, folds=3, decay=2 / 150, iterations=500, seed=4)
    scaled = (features - features.mean(0)) / np.maximum(features.std(0), 1e-9) / 6**0.5
    scaled[:, 5] = 0.0
    fold = stratified_folds(labels, 3, 4)
    for number in range(3):
        rest = fold != number
        oracle = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(scaled[rest], labels[rest])
        np.testing.assert_allclose(found[~rest], oracle.predict_proba(scaled[~rest]), atol=6e-3)
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-5)


def test_a_head_has_not_seen_the_label_of_its_sample():
    generator = np.random.default_rng(1)
    features = torch.from_numpy(generator.normal(size=(60, 40))).float()
    labels = generator.integers(0, 3, 60)
    first = out_of_fold(features, labels, 3)
    # With the fold kept, another label of one sample must leave its own row as it is.
    fold = stratified_folds(labels, 5, 0)
    twin = next(i for i in range(1, 60) if labels[i] != labels[0] and fold[i] == fold[0])
    swapped = labels.copy()
    swapped[[0, twin]] = labels[[twin, 0]]
    if np.array_equal(fold, stratified_folds(swapped, 5, 0)):
        np.testing.assert_allclose(out_of_fold(features, swapped, 3)[0], first[0], atol=1e-4)
    # And labels that are drawn are not known better than by chance.
    assert (first.argmax(1) == labels).mean() < 0.55


def test_distance_is_that_of_all_cells():
    generator = np.random.default_rng(2)
    triples = generator.integers(0, 3, size=(50, 3))
    transition = torch.from_numpy(generator.dirichlet(np.ones(3), 3))
    prior = torch.from_numpy(generator.dirichlet(np.ones(3)))
    counts = np.zeros((3, 3, 3))
    for a, b, c in triples:
        counts[a, b, c] += 1 / 50
    model = torch.einsum("y,ya,yb,yc->abc", prior, transition, transition, transition).numpy()
    expected = (
        np.linalg.norm(counts.sum((1, 2)) - model.sum((1, 2)))
        + np.linalg.norm(counts.sum(2) - model.sum(2))
        + np.linalg.norm(counts - model)
    )
    assert float(_Distance(triples, 3)(transition, prior)) == pytest.approx(expected, abs=1e-9)


def test_hoc_recovers_the_noise_of_clusters():
    generator = np.random.default_rng(3)
    prior = np.array([0.5, 0.3, 0.2])
    transition = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])
    true = generator.choice(3, 30_000, p=prior)
    labels = np.array([generator.choice(3, p=transition[label]) for label in true])
    # The two neighbours are any two samples of the same class.
    by_class = [np.flatnonzero(true == label) for label in range(3)]
    index = np.array([generator.choice(by_class[label], 2) for label in true])
    found = fit_consensus(
        labels, Neighbours(index.astype(np.int32), np.ones_like(index, dtype=np.float32)), 3
    )
    np.testing.assert_allclose(found.transition, transition, atol=0.03)
    np.testing.assert_allclose(found.prior, prior, atol=0.03)
    assert found.rate == pytest.approx((labels != true).mean(), abs=0.01)


def test_hoc_counts_a_seeded_sample_of_many(monkeypatch):
    monkeypatch.setattr("lnlbench.detectors.consensus.CELLS", 3 * 500)
    generator = np.random.default_rng(4)
    true = np.repeat([0, 1, 2], 1000)
    labels = np.where(generator.random(3000) < 0.2, (true + 1) % 3, true)
    index = (np.arange(3000)[:, None] // 1000) * 1000 + generator.integers(0, 1000, (3000, 2))
    near = Neighbours(index.astype(np.int32), np.ones((3000, 2), dtype=np.float32))
    one, same, other = (fit_consensus(labels, near, 3, seed=seed).rate for seed in (0, 0, 1))
    assert one == same != other
    assert one == pytest.approx(0.2, abs=0.06)
