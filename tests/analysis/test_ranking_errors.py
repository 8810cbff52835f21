"""Rankings: a second implementation of the whole test, and how often claims are wrong in simulations."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lnlbench.analysis.ranking.contest import Numbers
from lnlbench.analysis.ranking.order_tests import UNITS, holm, ranks, signed_rank_tests
from lnlbench.analysis.ranking.resampling import draw, nested_interval, pairs_of
from lnlbench.analysis.stats import separable, summarise

posthocs = pytest.importorskip("scikit_posthocs")
SEED = 12


def differences_of(values: Numbers) -> Numbers:
    """From [settings, entrants, …] to [settings, pairs, …]."""
    first, second = (list(side) for side in zip(*pairs_of(values.shape[1]), strict=True))
    return values[:, first] - values[:, second]


@pytest.mark.parametrize(("settings", "entrants", "ties"), [(12, 5, False), (30, 4, False), (13, 4, True)])
def test_pairwise_tests_with_holm_are_those_of_scikit_posthocs(
    settings: int, entrants: int, ties: bool
) -> None:
    generator = np.random.default_rng(SEED)
    scores = generator.normal(size=(settings, entrants)) + np.linspace(0, 1.5, entrants)
    scores = np.round(2 * scores) / 2 if ties else scores
    found = holm(signed_rank_tests(differences_of(scores)[:, :, None], "settings"))
    table = pd.DataFrame(scores).melt(var_name="entrant", value_name="score")
    oracle = posthocs.posthoc_wilcoxon(table, val_col="score", group_col="entrant", p_adjust="holm")
    for (first, second), p in zip(pairs_of(entrants), found, strict=True):
        assert p == pytest.approx(oracle.loc[first, second])
    assert min(found) < 0.05 < max(found)


@pytest.mark.parametrize("unit", UNITS)
def test_no_false_claim_where_some_methods_do_differ(unit: str) -> None:
    """Three methods are alike, and two are far better: claims about the three are false, the others not."""
    settings, seeds, repetitions = 12, 3, 1500
    generator = np.random.default_rng(SEED)
    strength = np.array([0.0, 0.0, 0.0, 3.0, 6.0])
    # Noise of another size in every setting, as accuracies under little and much label noise have.
    scale = np.geomspace(0.2, 3.0, settings)[:, None, None, None]
    values = strength[:, None] + scale * (
        generator.normal(size=(settings, repetitions, 1, seeds))
        + generator.normal(size=(settings, repetitions, 5, seeds))
    )
    first, second = (np.array(side) for side in zip(*pairs_of(5), strict=True))
    flat = (values[:, :, first] - values[:, :, second]).reshape(settings, -1, seeds)
    p = np.array([holm(list(row)) for row in np.reshape(signed_rank_tests(flat, unit), (repetitions, -1))])
    alike = strength[first] == strength[second]
    wrong = (p[:, alike] <= 0.05).any(axis=1).mean()
    assert wrong <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
    assert (p[:, ~alike] <= 0.05).mean() > 0.5  # what there is to find is found


@pytest.mark.parametrize(("settings", "missing"), [(8, 0.2), (20, 0.4)])
def test_intervals_cover_what_they_promise_where_seeds_are_missing(settings: int, missing: float) -> None:
    seeds, repetitions = 5, 4000
    generator = np.random.default_rng(SEED)
    effects = generator.normal(size=(settings, repetitions, 1))
    values = 3.0 + effects + generator.normal(size=(settings, repetitions, seeds))
    values[:, :, 1:][generator.random((settings, repetitions, seeds - 1)) < missing] = np.nan
    found = nested_interval(values, draw(settings, seeds))
    assert 0.935 <= float(((found.low <= 3.0) & (found.high >= 3.0)).mean()) <= 0.965


@pytest.mark.parametrize("settings", [6, 10])
def test_intervals_cover_less_where_few_effects_are_skew_as_documented(settings: int) -> None:
    effects = np.random.default_rng(SEED).exponential(size=(settings, 4000, 1))
    found = nested_interval(effects, draw(settings, 1))
    assert 0.87 <= float(((found.low <= 1.0) & (found.high >= 1.0)).mean()) <= 0.93


# Ranks near the first and last place are skew, which few settings do not even out.
@pytest.mark.parametrize(("settings", "least"), [(8, 0.92), (24, 0.935)])
def test_intervals_of_average_ranks_cover_the_expected_rank(settings: int, least: float) -> None:
    repetitions = 2000
    strength = np.array([0.0, 0.3, 0.6, 1.0])
    scores = np.random.default_rng(SEED).normal(size=(repetitions * settings, 4)) + strength
    # A rank is one plus how many are ahead.
    ahead = norm.cdf((strength - strength[:, None]) / math.sqrt(2))
    expected = 1 + ahead.sum(axis=1) - 0.5
    found = nested_interval(
        ranks(scores).reshape(repetitions, settings, 4).transpose(1, 0, 2).reshape(settings, -1, 1),
        draw(settings, 1),
    )
    low, high = (ends.reshape(repetitions, 4) for ends in (found.low, found.high))
    covered = ((low <= expected) & (expected <= high)).mean()
    assert least <= covered <= 0.965


@pytest.mark.parametrize(("spread", "seeds", "most"), [(0.5, 5, 0.05), (0.5, 3, 0.05), (1.5, 4, 0.07)])
def test_cells_that_do_not_differ_are_seldom_told_apart(spread: float, seeds: int, most: float) -> None:
    """Welch's test of two cells of a table; with few seeds of unequal spread it errs a little more often."""
    repetitions = 3000
    generator = np.random.default_rng(SEED)
    told = [
        separable(
            summarise(list(generator.normal(70, 0.5, 5))),
            summarise(list(generator.normal(70, spread, seeds))),
        )
        for _ in range(repetitions)
    ]
    assert 0.02 <= np.mean(told) <= most + 2 * math.sqrt(most * (1 - most) / repetitions)
