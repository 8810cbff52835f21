"""Wins and losses in single settings, the price of a wrong choice, and what is worth its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lnlbench.analysis.ranking.contest import Contest, Numbers
from lnlbench.analysis.ranking.resampling import pairs_of
from lnlbench.analysis.stats import CONFIDENCE, Summary, separable, summarise


@dataclass(frozen=True, slots=True)
class Tally:
    """Comparisons of one entrant in single settings.

    Attributes
    ----------
    wins, ties, losses : int
        A win is a difference whose 95 % interval lies above 0; no correction for many comparisons.
    unknown : int
        Comparisons with fewer than two seeds, of which nothing can be said.
    """

    wins: int
    ties: int
    losses: int
    unknown: int


def verdicts(contest: Contest, differences: Numbers) -> Numbers:
    """Return who wins, [settings, pairs]: 1 the first, -1 the second, 0 nobody, NaN not known.

    Seeds that share their noise are compared in pairs (Student's interval of the differences), others
    by Welch's interval.

    Parameters
    ----------
    contest : Contest
    differences : array [settings, pairs, seeds]
        See :func:`lnlbench.analysis.ranking.resampling.paired_differences`.
    """
    n = (~np.isnan(differences)).sum(axis=2)
    mean = np.nanmean(differences, axis=2)
    squares = np.nansum((differences - mean[:, :, None]) ** 2, axis=2)
    freedom = np.maximum(n - 1, 1)
    margin = stdtrit(freedom, 0.5 + CONFIDENCE / 2) * np.sqrt(squares / freedom / n)
    won = np.where(np.abs(mean) > margin, np.sign(mean), 0.0)
    won[n < 2] = np.nan
    for at, shared in enumerate(contest.shared):
        if not shared:
            won[at] = [_welch(contest.values[at, i], contest.values[at, j]) for i, j in _pairs(contest)]
    return np.asarray(won, dtype=np.float64)


def _pairs(contest: Contest) -> list[tuple[int, int]]:
    return pairs_of(len(contest.entrants))


def _welch(first: Numbers, second: Numbers) -> float:
    a, b = _summary(first), _summary(second)
    apart = separable(a, b)
    return float("nan") if apart is None else float(np.sign(a.mean - b.mean)) if apart else 0.0


def _summary(values: Numbers) -> Summary:
    return summarise([float(value) for value in values[~np.isnan(values)]])


def tallies(contest: Contest, won: Numbers) -> list[Tally]:
    """Count the comparisons of each entrant with all others in all settings."""
    pairs = _pairs(contest)
    found = []
    for entrant in range(len(contest.entrants)):
        # From the entrant's side: turned round where it is the second of a pair.
        mine = np.concatenate(
            [
                won[:, at] if pair[0] == entrant else -won[:, at]
                for at, pair in enumerate(pairs)
                if entrant in pair
            ]
        )
        wins, ties, losses = (int((mine == value).sum()) for value in (1.0, 0.0, -1.0))
        found.append(Tally(wins, ties, losses, int(np.isnan(mine).sum())))
    return found


def regrets(means: Numbers) -> tuple[Numbers, Numbers]:
    """Return what always choosing one entrant costs: mean and largest distance to each setting's best.

    The best of each setting is found on the same numbers, and so is a little too good.

    Parameters
    ----------
    means : array [settings, entrants]
    """
    behind = means.max(axis=1, keepdims=True) - means
    return behind.mean(axis=0), behind.max(axis=0)


def pareto(scores: Sequence[float], costs: Sequence[float]) -> NDArray[np.bool_]:
    """Tell which entrants are on the Pareto front: none is as good and as cheap, and better in one.

    An entrant whose cost is NaN is not on it.
    """
    score, cost = np.asarray(scores), np.asarray(costs)
    as_good = (score[None, :] >= score[:, None]) & (cost[None, :] <= cost[:, None])
    better = (score[None, :] > score[:, None]) | (cost[None, :] < cost[:, None])
    return np.asarray(~(as_good & better).any(axis=1) & ~np.isnan(cost), dtype=np.bool_)
