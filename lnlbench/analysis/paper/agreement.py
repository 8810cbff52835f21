"""When measured numbers agree with published ones: in value, in their order, and in who leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import stdtrit
from scipy.stats import kendalltau

from lnlbench.analysis.paper.published import Place, PublishedQuantity
from lnlbench.analysis.stats import CONFIDENCE, Summary, separable

# Numbers of two decimals whose difference is exactly the tolerance must not fail by rounding.
_ROUNDING = 1e-9


class Verdict(StrEnum):
    """What a comparison of one number says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    MISSING = "missing"


class Standing(StrEnum):
    """What became of a lead that the paper claims."""

    LEADS = "leads"
    TOLERATED = "within tolerance"
    BEHIND = "behind"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ranked:
    """What is ranked: an entrant with both of its numbers."""

    entrant: Place
    published: float
    measured: Summary


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the measured order of one setting agrees with the published one.

    Attributes
    ----------
    quantity : PublishedQuantity
    tau : float or None
        Kendall's τ-b, from -1 (the reverse order) to 1 (the same order); None if it is undefined:
        fewer than two entrants, or all equal on one side.
    entrants : int
        How many are measured and published, and so are ranked.
    """

    quantity: PublishedQuantity
    tau: float | None
    entrants: int


@dataclass(frozen=True, slots=True)
class Lead:
    """Whether who leads in the paper does so here.

    Attributes
    ----------
    quantity : PublishedQuantity
    standing : Standing
        ``LEADS``: no other mean is higher. ``TOLERATED``: one is, but by no more than the fixed
        tolerance, or not separably (Welch's interval, if both have several seeds). ``BEHIND``: one
        is higher by more. ``UNKNOWN``: it or all of its rivals are not measured.
    rival : tuple of str or None
        The highest of the others here.
    gap : float or None
        By how much the rival is higher; negative if the claim holds.
    """

    quantity: PublishedQuantity
    standing: Standing
    rival: Place | None = None
    gap: float | None = None


def fixed_part(quantity: PublishedQuantity, published: float, fixed: float | None = None) -> float:
    """Return the fixed part of the tolerance, in the units of the number.

    ``fixed`` stands instead of the quantity's own: percentage points, or percent of the published
    number where the quantity is relative.
    """
    percent = quantity.fixed if fixed is None else fixed
    return percent / 100.0 * abs(published) if quantity.relative else percent


def tolerance(
    quantity: PublishedQuantity, published: float, measured: Summary, fixed: float | None = None
) -> float:
    """Return by how much a measured mean may miss a published number.

    The published number is a single run whose spread nobody knows. If it is one more draw from
    what was measured over n seeds (normal, mean and spread unknown), then with probability 95 %
    it lies within t · s · sqrt(1 + 1/n) of the measured mean, where s is the sample standard
    deviation and t the 97.5 % quantile of Student's t with n - 1 degrees of freedom: the
    prediction interval for one further observation (Hahn & Meeker, Statistical Intervals, Wiley, 1991).
    The tolerance is this, or the fixed part (:func:`fixed_part`) if that is larger; for a single seed,
    the fixed part alone.

    The default of the fixed part is ours. For accuracies it is 1 point: where the paper prints
    one configuration twice (TURN, ViT-B/16, τ = 0.6, in its Tables 2 and 9), its own two numbers
    are up to 0.47 apart.
    """
    least = fixed_part(quantity, published, fixed)
    if measured.sd is None:
        return least
    quantile = float(stdtrit(measured.n - 1, 0.5 + CONFIDENCE / 2))
    return max(least, quantile * measured.sd * math.sqrt(1.0 + 1.0 / measured.n))


def judge(difference: float, allowed: float) -> Verdict:
    """Say whether a difference is within its tolerance, which includes its end."""
    return Verdict.AGREES if abs(difference) <= allowed + _ROUNDING else Verdict.DIFFERS


def rank(quantity: PublishedQuantity, entries: Sequence[Ranked]) -> Ranking:
    """Compare the order of published numbers with that of measured means.

    Ties are as in Kendall's τ-b (M. G. Kendall, Biometrika 33, 1945): pairs that are tied on either
    side count for neither, and the result is scaled by the pairs that are not.
    """
    if len(entries) < 2:
        return Ranking(quantity, None, len(entries))
    published = [entry.published for entry in entries]
    measured = [entry.measured.mean for entry in entries]
    tau = float(kendalltau(published, measured).statistic)
    return Ranking(quantity, None if math.isnan(tau) else tau, len(entries))


def find_lead(
    quantity: PublishedQuantity, claimed: Ranked, rivals: Sequence[Ranked], fixed: float | None
) -> Lead:
    """Say whether an entrant leads that leads in the paper, before all others that are measured."""
    if not rivals:
        return Lead(quantity, Standing.UNKNOWN)
    rival = max(rivals, key=lambda entry: entry.measured.mean)
    gap = rival.measured.mean - claimed.measured.mean
    tolerated = gap <= fixed_part(quantity, claimed.measured.mean, fixed)
    if gap <= 0.0:
        standing = Standing.LEADS
    elif tolerated or separable(rival.measured, claimed.measured) is False:
        standing = Standing.TOLERATED
    else:
        standing = Standing.BEHIND
    return Lead(quantity, standing, rival.entrant, gap)


def mean_tau(rankings: Sequence[Ranking]) -> float | None:
    """Return the mean of the τ that are defined; None if there is none."""
    defined = [ranking.tau for ranking in rankings if ranking.tau is not None]
    return sum(defined) / len(defined) if defined else None
