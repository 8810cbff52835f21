from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from lnlbench.analysis.stats import Summary, separable, summarise, welch_interval

accuracies = st.floats(0.0, 100.0).map(lambda value: round(value, 2))
samples = st.lists(accuracies, min_size=2, max_size=8)


def test_a_sample_by_hand() -> None:
    summary = summarise([1.0, 2.0, 3.0, 4.0])
    assert summary.mean == 2.5
    assert summary.sd == pytest.approx(math.sqrt(5.0 / 3.0))
    assert summary.n == 4


def test_a_single_value_has_no_deviation() -> None:
    assert summarise([60.3]) == Summary(60.3, None, 1)


@given(samples)
def test_summary_agrees_with_the_standard_library(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.mean == pytest.approx(statistics.fmean(values))
    assert summary.sd == pytest.approx(statistics.stdev(values), abs=1e-9)


@pytest.mark.filterwarnings("ignore:Precision loss")
@given(samples, samples)
def test_interval_agrees_with_scipys_t_test(first: list[float], second: list[float]) -> None:
    assume(len(set(first)) > 1 or len(set(second)) > 1)
    expected = scipy_stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    found = welch_interval(summarise(first), summarise(second))
    assert found == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)


@given(samples, samples)
def test_separability_does_not_depend_on_the_order(first: list[float], second: list[float]) -> None:
    a, b = summarise(first), summarise(second)
    assert separable(a, b) == separable(b, a)
    assert separable(a, a) is False


def test_two_seeds_by_hand() -> None:
    # Equal sizes and deviations: 2 degrees of freedom, t = 4.30265, margin t * sqrt(0.5) = 3.0424.
    low, high = welch_interval(Summary(93.0, math.sqrt(0.5), 2), Summary(90.0, math.sqrt(0.5), 2))
    assert (low, high) == pytest.approx((3.0 - 3.042435, 3.0 + 3.042435), abs=1e-5)
    assert separable(Summary(93.0, math.sqrt(0.5), 2), Summary(90.0, math.sqrt(0.5), 2)) is False
    assert separable(Summary(93.1, math.sqrt(0.5), 2), Summary(90.0, math.sqrt(0.5), 2)) is True


def test_without_spread_every_difference_counts() -> None:
    assert separable(Summary(90.0, 0.0, 3), Summary(90.01, 0.0, 3)) is True
    assert separable(Summary(90.0, 0.0, 3), Summary(90.0, 0.0, 3)) is False


def test_nothing_is_said_about_single_seeds() -> None:
    assert separable(Summary(99.0, None, 1), Summary(1.0, 0.1, 5)) is None
    with pytest.raises(ValueError, match="two values"):
        welch_interval(Summary(99.0, None, 1), Summary(1.0, 0.1, 5))
