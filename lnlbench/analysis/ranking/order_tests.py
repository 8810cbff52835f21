"""Tests of whether methods differ at all, and which of them do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, wilcoxon

from lnlbench.analysis.ranking.contest import Contest, Numbers
from lnlbench.analysis.stats import CONFIDENCE

UNITS = ("settings", "seeds")
# Samples up to this size have an exact p-value; scipy has one if there are neither ties nor zeros.
_EXACT = 50


def ranks(means: Numbers) -> Numbers:
    """Return ranks within each row, 1 for the highest; ties share their mean rank."""
    return np.asarray(rankdata(-means, axis=1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Friedman:
    """Friedman's test of equal ranks (J. Am. Stat. Assoc. 32, 1937).

    Attributes
    ----------
    statistic, p : float
        Chi-squared, and its p-value.
    agreement : float
        Kendall's W, from 0 (settings rank at random) to 1 (all alike).
    """

    statistic: float
    p: float
    agreement: float


def friedman(means: Numbers) -> Friedman | None:
    """Test whether entrants have the same average rank over settings.

    Returns
    -------
    Friedman or None
        None for fewer than three entrants or two settings, or if all are equal everywhere.
    """
    settings, entrants = means.shape
    if settings < 2 or entrants < 3 or np.ptp(means, axis=1).max() == 0.0:
        return None
    result = friedmanchisquare(*means.T)
    agreement = float(result.statistic) / (settings * (entrants - 1))
    return Friedman(float(result.statistic), float(result.pvalue), agreement)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for as many tests as there are (S. Holm, Scand. J. Stat. 6, 1979)."""
    adjusted = [0.0] * len(p)
    highest = 0.0
    for done, at in enumerate(sorted(range(len(p)), key=lambda at: p[at])):
        highest = max(highest, min(1.0, (len(p) - done) * p[at]))
        adjusted[at] = highest
    return adjusted


def choose_unit(contest: Contest) -> str:
    """Return what signed ranks are taken of: settings, or seeds where settings are too few for any p."""
    entrants = len(contest.entrants)
    return "settings" if enough(len(contest.settings), entrants * (entrants - 1) // 2) else "seeds"


def enough(observations: int, pairs: int) -> bool:
    """Whether so many observations can tell a pair apart at all: Holm multiplies p by the number of pairs."""
    return least_p(observations) * pairs <= 1 - CONFIDENCE


def least_p(observations: int) -> float:
    """Return the smallest p of so many observations: that all have one sign, of two patterns in 2^n."""
    return 2.0 ** (1 - observations)


def signed_rank_tests(differences: Numbers, unit: str) -> list[float]:
    """Return p-values of Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945), one per pair.

    Parameters
    ----------
    differences : array [settings, pairs, seeds]
        See :func:`lnlbench.analysis.ranking.resampling.paired_differences`.
    unit : {"settings", "seeds"}
        Whether a setting's mean over seeds is one observation, for claims about further settings, or
        each seed of each setting, for claims about these settings alone.
    """
    pairs = differences.shape[1]
    if unit == "settings":
        samples = np.nanmean(differences, axis=2).T
    else:
        samples = differences.transpose(1, 0, 2).reshape(pairs, -1)
    found = [1.0] * pairs
    alike: dict[int, list[int]] = {}
    kept = [sample[~np.isnan(sample)] for sample in samples]
    for at, sample in enumerate(kept):
        if len(sample) < 2 or not sample.any():
            continue
        if len(sample) > _EXACT or len(np.unique(np.abs(sample[sample != 0]))) == len(sample):
            alike.setdefault(len(sample), []).append(at)
        else:
            found[at] = _exact_p(sample)
    for members in alike.values():
        result = wilcoxon(np.stack([kept[at] for at in members]), axis=1)
        for at, p in zip(members, result.pvalue, strict=True):
            found[at] = float(p)
    return found


def _exact_p(sample: Numbers) -> float:
    """Return the exact p-value, of both sides, of the signed ranks of a sample with ties or zeros.

    Zeros are left out, as Wilcoxon did. Given the ranks, every pattern of signs is as likely under the
    hypothesis: the patterns with each sum of positive ranks are counted one rank after the other. SciPy
    tries all of them for up to 13 values, which takes seconds for a pair, and approximates beyond.
    """
    values = sample[sample != 0]
    # Ties share half ranks, so twice a rank is a whole number.
    doubled = np.rint(2 * rankdata(np.abs(values))).astype(int)
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    seen = doubled[values > 0].sum()
    # Exact: up to 2^50 patterns, in numbers that are exact to 2^53.
    return float(min(1.0, 2 * min(ways[: seen + 1].sum(), ways[seen:].sum()) / 2.0 ** len(values)))
