"""Mixtures of many classes against scikit-learn's, fitted one by one from the same start."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lnlbench.methods.turn import TURN
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from lnlbench.components.mixture import DIVIDEMIX, MANY_CLASSES, TIGHT, class_posteriors, clean_posterior

COVERS = ("components", "turn")


def best_split(losses):
    """Try every split of the sorted losses, and return where the squared error is least."""
    errors = [
        sum(part.var() * len(part) for part in (losses[:at], losses[at:])) for at in range(1, len(losses))
    ]
    return 1 + int(np.argmin(errors))


def reference(losses, fitted):
    """Fit by scikit-learn, from the components of the best split."""
    ordered = np.sort(losses)
    at = best_split(ordered)
    parts = (ordered[:at], ordered[at:])
    mixture = GaussianMixture(
        2,
        max_iter=fitted.max_iter,
        tol=fitted.tol,
        reg_covar=fitted.reg_covar,
        weights_init=[len(part) / len(losses) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / (part.var() + fitted.reg_covar)]] for part in parts],
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(losses[:, None])
    return mixture.predict_proba(losses[:, None])[:, int(mixture.means_.argmin())]


def problem(classes, seed=0, low=20, high=60):
    """Losses of classes of unlike size whose clean and noisy samples lie apart, in no order."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(low, high, classes)
    labels = draw.permutation(np.repeat(np.arange(classes), sizes))
    clean = draw.random(len(labels)) < draw.uniform(0.2, 0.9, classes)[labels]
    losses = np.where(clean, draw.gamma(1.0, 0.3, len(labels)), draw.normal(4.0, 1.2, len(labels)))
    return np.abs(losses), labels


@pytest.mark.parametrize("fitted", [DIVIDEMIX, TIGHT], ids=["dividemix", "tight"])
def test_from_one_start_the_posteriors_are_those_of_scikit_learn(fitted):
    losses, labels = problem(60)
    scaled = losses / losses.max() if fitted is DIVIDEMIX else losses
    together = class_posteriors(scaled, labels, 60, fitted)
    for label in range(60):
        mine = labels == label
        expected = reference(scaled[mine], fitted)
        np.testing.assert_allclose(together.probability[mine], expected, rtol=0, atol=1e-6)
    assert not together.collapsed.any()


@settings(max_examples=50, deadline=None)
@given(
    classes=st.lists(
        st.lists(st.integers(0, 50), min_size=2, max_size=15).filter(lambda group: len(set(group)) > 1),
        min_size=1,
        max_size=5,
    )
)
def test_few_samples_and_ties_make_no_difference(classes):
    # A small slope keeps two splits from being equally good, and scikit-learn from another start.
    groups = [np.array(group) / 10 + np.linspace(0, 1e-3, len(group)) ** 2 for group in classes]
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    together = class_posteriors(np.concatenate(groups), labels, len(groups), DIVIDEMIX)
    for label, group in enumerate(groups):
        alone = class_posteriors(group, np.zeros(len(group), dtype=int), 1, DIVIDEMIX)
        np.testing.assert_allclose(together.probability[labels == label], alone.probability, atol=1e-12)
        assert ((alone.probability >= 0) & (alone.probability <= 1)).all()


def test_monotone_is_said_and_made():
    draw = np.random.default_rng(1)
    turning = np.concatenate([draw.normal(0.3, 0.02, 150), draw.normal(0.6, 0.3, 300)])
    falling = np.concatenate([draw.normal(0.2, 0.05, 150), draw.normal(3.0, 0.05, 300)])
    losses, labels = np.concatenate([turning, falling]), np.repeat([0, 1], 450)
    fitted = class_posteriors(losses, labels, 2, TIGHT)
    mended = class_posteriors(losses, labels, 2, TIGHT, make_monotone=True)
    assert fitted.monotone.tolist() == mended.monotone.tolist() == [False, True]
    assert (np.diff(mended.probability[:450][np.argsort(turning)]) <= 0).all()
    assert (mended.probability[450:] == fitted.probability[450:]).all()
    # k-means finds the same components here, so the single fit says the same.
    alone = clean_posterior(turning, TIGHT, seed=0, make_monotone=True)
    np.testing.assert_allclose(mended.probability[:450], alone.probability, atol=1e-2)


def test_classes_without_two_groups_collapse():
    losses = np.array([0.3, 0.2, 0.2, 0.2, 0.0, 0.1, 5.0, 5.1])
    labels = np.array([0, 2, 2, 2, 3, 3, 3, 3])
    fits = class_posteriors(losses, labels, 5, DIVIDEMIX)
    assert fits.collapsed.tolist() == [True, True, True, False, True]
    assert fits.probability[:4].tolist() == [0.5] * 4
    assert (fits.probability[4:6] > 0.99).all()
    assert (fits.probability[6:] < 0.01).all()
    assert class_posteriors(np.zeros(0), np.zeros(0, dtype=int), 2, DIVIDEMIX).collapsed.all()


class Counts:
    def __init__(self, classes):
        self.classes = classes
        self.events = {}

    def count(self, event, times=1):
        self.events[event] = self.events.get(event, 0) + times

    def seed(self, stream):
        return 0


@pytest.mark.parametrize("mixture", ["dividemix", "tight"])
def test_turn_fits_many_classes_together(monkeypatch, mixture):
    losses, labels = problem(12)
    labels[labels == 11] = 10
    losses, labels = np.append(losses, 1.0), np.append(labels, 11)  # a class of one
    method = TURN(TURN.Params(mixture=mixture))
    one_by_one, together = Counts(12), Counts(12)
    expected = method.posterior(losses, labels, one_by_one)
    monkeypatch.setattr("lnlbench.methods.turn.MANY_CLASSES", 11)
    found = method.posterior(losses, labels, together)
    assert found[-1] == expected[-1] == 0.0
    assert together.events == one_by_one.events
    assert np.abs(found - expected).mean() < 0.01
    assert MANY_CLASSES >= 200  # packaged grids have fewer, and keep their numbers
