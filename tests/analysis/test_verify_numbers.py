"""Tolerances, Kendall's τ and leads, against numbers worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.analysis.paper.agreement import (
    Ranked,
    Ranking,
    Standing,
    Verdict,
    find_lead,
    judge,
    mean_tau,
    rank,
    tolerance,
)
from lnlbench.analysis.paper.published import BEST, SELECTED, TIME
from lnlbench.analysis.stats import Summary

# 97.5 % quantiles of Student's t for 2 and 4 degrees of freedom, from printed tables.
T2, T4 = 4.302653, 2.776445


def test_a_single_seed_has_the_fixed_tolerance() -> None:
    one = Summary(80.0, None, 1)
    assert tolerance(BEST, 81.0, one) == 1.0
    assert tolerance(BEST, 81.0, one, fixed=0.25) == 0.25


def test_counts_and_times_have_a_share_of_what_is_published() -> None:
    one = Summary(3_000.0, None, 1)
    assert tolerance(SELECTED, 3_600.0, one) == pytest.approx(360.0)
    assert tolerance(TIME, 6.0, one, fixed=50.0) == pytest.approx(3.0)


@pytest.mark.parametrize(("n", "quantile"), [(3, T2), (5, T4)])
def test_the_spread_of_seeds_widens_the_tolerance(n: int, quantile: float) -> None:
    found = tolerance(BEST, 80.0, Summary(80.0, 1.0, n))
    assert found == pytest.approx(quantile * math.sqrt(1 + 1 / n), rel=1e-6)


def test_a_small_spread_leaves_the_fixed_tolerance() -> None:
    assert tolerance(BEST, 80.0, Summary(80.0, 0.1, 5)) == 1.0
    assert tolerance(BEST, 80.0, Summary(80.0, 0.0, 5), fixed=0.0) == 0.0


def test_the_end_of_the_tolerance_agrees() -> None:
    assert 2.14 - 1.14 > 1.0  # as floating-point numbers
    assert judge(2.14 - 1.14, 1.0) is Verdict.AGREES
    assert judge(-1.01, 1.0) is Verdict.DIFFERS


def entries(published: list[float], measured: list[float]) -> list[Ranked]:
    return [
        Ranked((name,), paper, Summary(mean, None, 1))
        for name, paper, mean in zip("abcdefg", published, measured, strict=False)
    ]


@pytest.mark.parametrize(
    ("published", "measured", "tau"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], (5 - 1) / 6),  # one pair of six is swapped
        ([1, 2, 3], [1, 2, 2], 2 / math.sqrt(3 * 2)),  # two pairs agree, one is tied on one side
        ([1, 1, 2, 3], [2, 1, 3, 3], 4 / math.sqrt(5 * 5)),  # ties on both sides, in different pairs
    ],
)
def test_kendalls_tau(published: list[float], measured: list[float], tau: float) -> None:
    found = rank(BEST, entries(published, measured))
    assert found.tau == pytest.approx(tau)
    assert found.entrants == len(published)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=7))
def test_tau_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    signs = [((a > c) - (a < c), (b > d) - (b < d)) for (a, b), (c, d) in combinations(pairs, 2)]
    untied = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    found = rank(BEST, entries([float(a) for a, _ in pairs], [float(b) for _, b in pairs])).tau
    if 0 in untied:
        assert found is None
    else:
        assert found == pytest.approx(sum(x * y for x, y in signs) / math.sqrt(untied[0] * untied[1]))


@pytest.mark.parametrize(("published", "measured"), [([], []), ([1], [1]), ([1, 2], [5, 5])])
def test_tau_can_be_undefined(published: list[float], measured: list[float]) -> None:
    assert rank(BEST, entries(published, measured)).tau is None


def test_an_undefined_tau_is_not_in_the_mean() -> None:
    rankings = [Ranking(BEST, tau, 9) for tau in (1.0, None, 0.5)]
    assert mean_tau(rankings) == 0.75
    assert mean_tau(rankings[1:2]) is None


@pytest.mark.parametrize(
    ("mean", "standing"),
    [(80.0, Standing.LEADS), (79.9, Standing.TOLERATED), (78.9, Standing.BEHIND)],
)
def test_a_lead_is_lost_by_more_than_the_tolerance(mean: float, standing: Standing) -> None:
    claimed = Ranked(("turn",), 90.0, Summary(mean, None, 1))
    rivals = entries([85.0, 86.0], [70.0, 80.0])
    lead = find_lead(BEST, claimed, rivals, None)
    assert (lead.standing, lead.rival) == (standing, ("b",))
    assert lead.gap == pytest.approx(80.0 - mean)


def test_a_lead_that_seeds_cannot_separate_is_not_lost() -> None:
    # Difference 3, standard error sqrt(9/3 + 9/3) = 2.45: nowhere near significant.
    claimed, rival = (Ranked((name,), 90.0, Summary(mean, 3.0, 3)) for name, mean in (("a", 80), ("b", 83)))
    assert find_lead(BEST, claimed, [rival], None).standing is Standing.TOLERATED
    exact = [Ranked(entry.entrant, 90.0, Summary(entry.measured.mean, 0.1, 3)) for entry in (claimed, rival)]
    assert find_lead(BEST, exact[0], exact[1:], None).standing is Standing.BEHIND


def test_a_lead_without_rivals_is_unknown() -> None:
    assert find_lead(BEST, entries([1], [1])[0], [], None).standing is Standing.UNKNOWN


def test_comparing_imports_no_training_code() -> None:
    code = "import lnlbench.analysis.paper.comparison_report\n"
    code += "import sys; print(sorted({'torch', 'ray', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
