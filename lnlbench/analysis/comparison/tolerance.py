"""When a measured number agrees with a published one."""

from __future__ import annotations

import math
from enum import StrEnum

from scipy.special import stdtrit

from lnlbench.analysis.comparison.published import Quantity
from lnlbench.analysis.stats import CONFIDENCE, Summary

# Numbers of two decimals whose difference is exactly the tolerance must not fail by rounding.
_ROUNDING = 1e-9


class Verdict(StrEnum):
    """What a comparison of one number says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    MISSING = "missing"
    UNPUBLISHED = "unpublished"


def fixed_part(quantity: Quantity, published: float, fixed: float | None = None) -> float:
    """Return the fixed part of the tolerance, in the units of the number.

    Parameters
    ----------
    quantity : Quantity
    published : float
    fixed : float, optional
        Instead of the quantity's own: percentage points, or percent of the published number
        where the quantity is relative.
    """
    percent = quantity.fixed if fixed is None else fixed
    return percent / 100.0 * abs(published) if quantity.relative else percent


def tolerance(quantity: Quantity, published: float, measured: Summary, fixed: float | None = None) -> float:
    """Return by how much a measured mean may miss a published number.

    The published number is a single run whose spread nobody knows. If it is one more draw from
    what was measured over n seeds (normal, mean and spread unknown), then with probability 95 %
    it lies within t · s · sqrt(1 + 1/n) of the measured mean, where s is the sample standard
    deviation and t the 97.5 % quantile of Student's t with n - 1 degrees of freedom: the
    prediction interval for one further observation (Hahn & Meeker, Statistical Intervals, Wiley, 1991).
    The tolerance is this, or the fixed part if that is larger; for a single seed,
    the fixed part alone.

    The default of the fixed part is ours. For accuracies it is 1 point: where the paper prints
    one configuration twice (TURN, ViT-B/16, τ = 0.6, in its Tables 2 and 9), its own two numbers
    are up to 0.47 apart.

    Parameters
    ----------
    quantity : Quantity
    published : float
    measured : Summary
    fixed : float, optional
        See :func:`fixed_part`.
    """
    least = fixed_part(quantity, published, fixed)
    if measured.sd is None:
        return least
    quantile = float(stdtrit(measured.n - 1, 0.5 + CONFIDENCE / 2))
    return max(least, quantile * measured.sd * math.sqrt(1.0 + 1.0 / measured.n))


def judge(difference: float, allowed: float) -> Verdict:
    """Say whether a difference is within its tolerance, which includes its end."""
    return Verdict.AGREES if abs(difference) <= allowed + _ROUNDING else Verdict.DIFFERS
