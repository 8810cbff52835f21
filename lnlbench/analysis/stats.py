"""Mean and spread over seeds, and when a difference is larger than the spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """A sample of one number per seed.

    Attributes
    ----------
    mean : float
    sd : float or None
        Sample standard deviation (divisor n - 1); None for a single value.
    n : int
    """

    mean: float
    sd: float | None
    n: int


def summarise(values: Sequence[float]) -> Summary:
    """Return mean, sample standard deviation and size of a non-empty sample."""
    sample = np.asarray(values, dtype=np.float64)
    spread = float(sample.std(ddof=1)) if len(sample) > 1 else None
    return Summary(float(sample.mean()), spread, len(sample))


def welch_interval(first: Summary, second: Summary, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Welch's confidence interval of the difference of two means.

    Variances are not assumed equal; the degrees of freedom are those of Welch and
    Satterthwaite (B. L. Welch, Biometrika 34, 1947).

    Raises
    ------
    ValueError
        If a sample has fewer than two values.
    """
    if first.sd is None or second.sd is None:
        raise ValueError("Welch's interval needs at least two values in each sample.")
    difference = first.mean - second.mean
    a, b = first.sd**2 / first.n, second.sd**2 / second.n
    if a + b == 0.0:
        return difference, difference
    # As shares of their sum, because the squares of small variances can underflow.
    share = a / (a + b)
    freedom = 1.0 / (share**2 / (first.n - 1) + (1.0 - share) ** 2 / (second.n - 1))
    margin = float(stdtrit(freedom, 0.5 + confidence / 2)) * math.sqrt(a + b)
    return difference - margin, difference + margin


def separable(first: Summary, second: Summary) -> bool | None:
    """Tell whether two means differ by more than their seeds' spread explains.

    Returns
    -------
    bool or None
        Whether zero lies outside Welch's 95 % interval of the difference; None (nothing can
        be said) if either mean is of a single seed. No correction for many comparisons.
    """
    if first.sd is None or second.sd is None:
        return None
    low, high = welch_interval(first, second)
    return not low <= 0.0 <= high
