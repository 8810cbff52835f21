"""The clean posterior against two Gaussians evaluated by hand, and its degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from lnlbench.components.mixture import DIVIDEMIX, TIGHT, clean_posterior, scale_to_unit

COVERS = ("components",)


def two_groups(seed=0, low=0.1, high=0.7, spread=(0.05, 0.1)):
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(low, spread[0], 120), generator.normal(high, spread[1], 80)])


@pytest.mark.parametrize("settings", [DIVIDEMIX, TIGHT], ids=["dividemix", "tight"])
def test_posterior_is_that_of_the_lower_gaussian(settings):
    losses = two_groups()
    mixture = GaussianMixture(
        2, max_iter=settings.max_iter, tol=settings.tol, reg_covar=settings.reg_covar, random_state=3
    ).fit(losses.reshape(-1, 1))
    density = np.stack(
        [
            weight * norm.pdf(losses, mean, variance**0.5)
            for weight, mean, variance in zip(
                mixture.weights_, mixture.means_.ravel(), mixture.covariances_.ravel(), strict=True
            )
        ]
    )
    expected = density[mixture.means_.argmin()] / density.sum(0)
    fit = clean_posterior(losses, settings, seed=3)
    np.testing.assert_allclose(fit.probability, expected, atol=1e-12)
    assert not fit.collapsed


def test_dividemix_settings_are_the_published_ones():
    assert (DIVIDEMIX.max_iter, DIVIDEMIX.tol, DIVIDEMIX.reg_covar) == (10, 1e-2, 5e-4)


def test_the_groups_are_told_apart():
    probability = clean_posterior(two_groups(), DIVIDEMIX, seed=0).probability
    assert (probability[:120] > 0.5).mean() > 0.97
    assert (probability[120:] < 0.5).mean() > 0.97


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("narrow", "wide"), [(0.3, 0.6), (0.7, 0.4)], ids=["narrow-low", "wide-low"])
def test_a_posterior_that_turns_is_made_monotone_on_request(narrow, wide, seed):
    generator = np.random.default_rng(seed)
    losses = np.concatenate([generator.normal(narrow, 0.02, 150), generator.normal(wide, 0.3, 300)])
    order = np.argsort(losses)
    fitted = clean_posterior(losses, TIGHT, seed=0)
    assert not fitted.monotone
    assert (np.diff(fitted.probability[order]) > 1e-3).any()
    mended = clean_posterior(losses, TIGHT, seed=0, make_monotone=True)
    assert not mended.monotone  # says how the fit was
    assert (np.diff(mended.probability[order]) <= 0.0).all()
    raised = mended.probability > fitted.probability
    lowered = mended.probability < fitted.probability
    if narrow < wide:
        assert raised[losses < 0.2].all()
        assert not lowered.any()
    else:
        assert lowered[losses > 0.8].all()
        assert not raised.any()


@pytest.mark.parametrize("losses", [[], [0.3], [0.2] * 10], ids=["none", "one", "constant"])
def test_losses_without_two_groups_collapse(losses):
    fit = clean_posterior(np.array(losses, dtype=float), DIVIDEMIX, seed=0)
    assert fit.collapsed
    assert fit.probability.tolist() == [0.5] * len(losses)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_scaling_fills_the_unit_interval(values):
    losses = np.array(values)
    scaled = scale_to_unit(losses)
    assert scaled.min() == 0.0
    assert scaled.max() == (1.0 if losses.max() > losses.min() else 0.0)
    assert (np.argsort(scaled, kind="stable") == np.argsort(losses, kind="stable")).all() or (
        np.diff(np.sort(losses)).min() < 1e-9 * np.ptp(losses)
    )


def test_the_same_seed_gives_the_same_posterior():
    losses = two_groups(seed=1)
    first, second = (clean_posterior(losses, DIVIDEMIX, seed=9).probability for _ in range(2))
    assert (first == second).all()
