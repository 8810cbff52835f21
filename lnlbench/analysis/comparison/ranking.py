"""Whether methods come in the same order as in the paper, and whether the same one leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.stats import kendalltau

from lnlbench.analysis.comparison.published import Key, Quantity
from lnlbench.analysis.comparison.tolerance import fixed_part
from lnlbench.analysis.stats import Summary, separable


@dataclass(frozen=True, slots=True)
class Entry:
    """What is ranked: an entrant with both of its numbers."""

    entrant: Key
    published: float
    measured: Summary


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the measured order of one setting agrees with the published one.

    Attributes
    ----------
    quantity : Quantity
    tau : float or None
        Kendall's τ-b, from -1 (the reverse order) to 1 (the same order); None if it is undefined:
        fewer than two entrants, or all equal on one side.
    entrants : int
        How many are measured and published, and so are ranked.
    """

    quantity: Quantity
    tau: float | None
    entrants: int


class Standing(StrEnum):
    """What became of a lead that the paper claims."""

    LEADS = "leads"
    TOLERATED = "within tolerance"
    BEHIND = "behind"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Lead:
    """Whether who leads in the paper does so here.

    Attributes
    ----------
    quantity : Quantity
    standing : Standing
        ``LEADS``: no other mean is higher. ``TOLERATED``: one is, but by no more than the fixed
        tolerance, or not separably (Welch's interval, if both have several seeds). ``BEHIND``: one
        is higher by more. ``UNKNOWN``: it or all of its rivals are not measured.
    rival : tuple of str or None
        The highest of the others here.
    gap : float or None
        By how much the rival is higher; negative if the claim holds.
    """

    quantity: Quantity
    standing: Standing
    rival: Key | None = None
    gap: float | None = None


def rank(quantity: Quantity, entries: Sequence[Entry]) -> Ranking:
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


def find_lead(quantity: Quantity, claimed: Entry, rivals: Sequence[Entry], fixed: float | None) -> Lead:
    """Say whether an entrant leads that leads in the paper.

    Parameters
    ----------
    quantity : Quantity
    claimed : Entry
    rivals : sequence of Entry
        All others that are measured.
    fixed : float, optional
        See :func:`lnlbench.analysis.comparison.tolerance.fixed_part`.
    """
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
