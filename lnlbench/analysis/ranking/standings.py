"""Who is ahead across settings: a ranking with all that must be known to believe it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lnlbench.analysis.axes import TrialRow
from lnlbench.analysis.ranking.concordance import Concordance, agree, concordances
from lnlbench.analysis.ranking.contest import Contest, Numbers, make_contest
from lnlbench.analysis.ranking.order_tests import (
    UNITS,
    Friedman,
    choose_unit,
    enough,
    friedman,
    holm,
    ranks,
    signed_rank_tests,
)
from lnlbench.analysis.ranking.outcomes import Tally, pareto, regrets, tallies, verdicts
from lnlbench.analysis.ranking.resampling import (
    draw,
    nested_interval,
    paired_differences,
    pairs_of,
    resampled_means,
)
from lnlbench.analysis.stats import CONFIDENCE
from lnlbench.analysis.trial_rows import trials_of
from lnlbench.errors import UsageError, suggest


@dataclass(frozen=True, slots=True)
class Entrant:
    """One line of a ranking.

    Attributes
    ----------
    name : str
    rank : tuple of float
        Average rank over settings, with the ends of its 95 % interval.
    score : float
        Mean over settings of the mean over seeds.
    first : float
        Share of resamples (settings, then seeds) in which its score is ahead of all others; those in which
        several are level are divided among these.
    tally : Tally
    regret : tuple of float
        Mean and largest distance to the best of each setting, in the units of the metric.
    cost : float or None
        Mean over settings, relative to CE with FFT; None where a setting's is not known.
    front : bool
        Whether it is on the Pareto front of score and cost.
    """

    name: str
    rank: tuple[float, float, float]
    score: float
    first: float
    tally: Tally
    regret: tuple[float, float]
    cost: float | None
    front: bool


@dataclass(frozen=True, slots=True)
class Pairing:
    """A comparison of two entrants across all settings.

    Attributes
    ----------
    better, other : str
        ``better`` has the higher score; the lower one, where less is better.
    difference : tuple of float
        Of their scores, ``better`` minus ``other``, with its 95 % interval, which is about what the tests are
        about (``unit``) and not corrected for many comparisons.
    p : float
        Of Wilcoxon's signed-rank test, adjusted after Holm.
    separable : bool
        Whether ``p`` is at most 0.05.
    won : tuple of int
        Settings that ``better`` wins, that nobody wins, and that it loses.
    smallest : float
        Difference that would have been found with probability 80 % at the level of this many pairs.
    """

    better: str
    other: str
    difference: tuple[float, float, float]
    p: float
    separable: bool
    won: tuple[int, int, int]
    smallest: float


@dataclass(frozen=True, slots=True)
class Standings:
    """A ranking of methods across settings.

    Attributes
    ----------
    metric : str
    settings : tuple of str
    seeds : tuple of int
        Smallest and largest number of seeds of a cell.
    entrants : tuple of Entrant
        By average rank, the best first.
    pairs : tuple of Pairing
        By position of ``better``, then of ``other``.
    friedman : Friedman or None
    unit : str
        ``settings`` or ``seeds``; see :func:`lnlbench.analysis.ranking.order_tests.signed_rank_tests`.
    observations : int
        How many of them a pair has; of several numbers, the largest.
    shared : bool
        Whether trials of one seed have their noise in common in every setting.
    concordances : tuple of Concordance
    left_out : tuple of str
    """

    metric: str
    settings: tuple[str, ...]
    seeds: tuple[int, int]
    entrants: tuple[Entrant, ...]
    pairs: tuple[Pairing, ...]
    friedman: Friedman | None
    unit: str
    observations: int
    shared: bool
    concordances: tuple[Concordance, ...]
    left_out: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether any difference, however large, could make a pair separable."""
        return enough(self.observations, len(self.pairs))

    @property
    def smallest(self) -> float:
        """Median over the pairs of the smallest difference that could have been seen; NaN if not known."""
        if not self.enough:
            return float("nan")
        known = [pair.smallest for pair in self.pairs if not np.isnan(pair.smallest)]
        return float(np.median(known)) if known else float("nan")

    @property
    def ties(self) -> list[tuple[int, int]]:
        """Runs of entrants, first and last position, of which no two are separable; longest ones only."""
        apart = {frozenset((pair.better, pair.other)) for pair in self.pairs if pair.separable}
        names = [entrant.name for entrant in self.entrants]
        runs: list[tuple[int, int]] = []
        for start in range(len(names)):
            end = start
            while end + 1 < len(names) and not any(
                frozenset((names[at], names[end + 1])) in apart for at in range(start, end + 1)
            ):
                end += 1
            if end > start and not any(first <= start and end <= last for first, last in runs):
                runs.append((start, end))
        return runs

    def frame(self) -> pd.DataFrame:
        """Return the entrants as a frame, one row each, the best first."""
        return pd.DataFrame(
            [
                {
                    "entrant": each.name,
                    "rank": each.rank[0],
                    "rank_low": each.rank[1],
                    "rank_high": each.rank[2],
                    self.metric: each.score,
                    "first": each.first,
                    "wins": each.tally.wins,
                    "ties": each.tally.ties,
                    "losses": each.tally.losses,
                    "regret": each.regret[0],
                    "largest_regret": each.regret[1],
                    "cost": each.cost,
                    "front": each.front,
                }
                for each in self.entrants
            ]
        )


def rank(frame: pd.DataFrame, metric: str = "best", by: Iterable[str] = (), unit: str = "auto") -> Standings:
    """Rank methods across the settings of a results frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per trial; see :func:`lnlbench.records.frame.build_frame`.
    metric : str, default "best"
        Any number of the frame. Where less of it is better, the lowest is ahead, else the highest.
    by : iterable of str
        Axes that tell entrants apart. Default: tuning mode and method.
    unit : {"auto", "settings", "seeds"}
        What signed ranks are taken of; ``auto`` takes settings unless they are too few for any pair
        to be separable.

    Raises
    ------
    UsageError
        For an unknown metric, axis or unit.
    NothingSelectedError
        If no two entrants have results in the same setting.
    """
    if unit not in ("auto", *UNITS):
        raise UsageError(f"Unknown unit '{unit}'.", suggest(unit, ("auto", *UNITS)))
    by = tuple(by)
    trials = trials_of(frame)
    contest = make_contest(trials, metric, by)
    unit = choose_unit(contest) if unit == "auto" else unit
    draws = draw(len(contest.settings), contest.values.shape[2])
    means = contest.means
    by_setting = ranks(means)
    # A setting's ranks are one observation, into which its seeds have gone already.
    rank_interval = nested_interval(by_setting[:, :, None], draw(len(contest.settings), 1))
    low, high = (np.clip(ends, 1, len(contest.entrants)) for ends in (rank_interval.low, rank_interval.high))
    resampled = resampled_means(contest, draws)
    ahead = resampled == resampled.max(axis=1, keepdims=True)
    first = (ahead / ahead.sum(axis=1, keepdims=True)).mean(axis=0)
    differences = paired_differences(contest)
    won = verdicts(contest, differences)
    counted = tallies(contest, won)
    mean_regret, largest_regret = regrets(means)
    score, cost = means.mean(axis=0), contest.costs.mean(axis=0)
    front = pareto(list(score), list(cost))
    order = sorted(range(len(contest.entrants)), key=lambda at: (rank_interval.mean[at], -score[at]))
    entrants = tuple(
        Entrant(
            contest.entrants[at],
            (float(rank_interval.mean[at]), float(low[at]), float(high[at])),
            contest.sign * float(score[at]) + 0.0,  # no zero is shown as negative
            float(first[at]),
            counted[at],
            (float(mean_regret[at]), float(largest_regret[at])),
            None if np.isnan(cost[at]) else float(cost[at]),
            bool(front[at]),
        )
        for at in order
    )
    seeds = (~np.isnan(contest.values)).sum(axis=2)
    return Standings(
        contest.metric,
        contest.settings,
        (int(seeds.min()), int(seeds.max())),
        entrants,
        _pairings(contest, differences, won, unit, order),
        friedman(means),
        unit,
        _observations(differences, unit),
        all(contest.shared),
        (*_other_rule(trials, contest, by), *concordances(contest)),
        contest.left_out,
    )


def _observations(differences: Numbers, unit: str) -> int:
    known = ~np.isnan(differences)
    counted = known.any(axis=2) if unit == "settings" else known.sum(axis=2)
    return int(counted.sum(axis=0).max())


def _pairings(
    contest: Contest, differences: Numbers, won: Numbers, unit: str, order: list[int]
) -> tuple[Pairing, ...]:
    pairs = pairs_of(len(contest.entrants))
    draws = draw(len(contest.settings), contest.values.shape[2])
    interval = nested_interval(differences, draws, unit, tests=len(pairs))
    adjusted = holm(signed_rank_tests(differences, unit))
    found = []
    for at, (first, second) in enumerate(pairs):
        turn = 1.0 if interval.mean[at] >= 0 else -1.0
        better, other = (first, second) if turn > 0 else (second, first)
        shown = turn * contest.sign
        ends = sorted((shown * float(interval.low[at]), shown * float(interval.high[at])))
        mine = turn * won[:, at]
        pairing = Pairing(
            contest.entrants[better],
            contest.entrants[other],
            (shown * float(interval.mean[at]), ends[0], ends[1]),
            adjusted[at],
            adjusted[at] <= 1 - CONFIDENCE,
            (int((mine == 1).sum()), int((mine == 0).sum()), int((mine == -1).sum())),
            float(interval.smallest[at]),
        )
        found.append(((order.index(better), order.index(other)), pairing))
    return tuple(pairing for _, pairing in sorted(found, key=lambda item: item[0]))


def _other_rule(trials: list[TrialRow], contest: Contest, by: tuple[str, ...]) -> list[Concordance]:
    """Compare the rankings by best and by last accuracy."""
    others = {"best": "last", "last": "best"}
    if contest.metric not in others:
        return []
    other = make_contest(trials, others[contest.metric], by)
    if other.entrants != contest.entrants or other.settings != contest.settings:
        return []
    first, second = (contest, other) if contest.metric == "best" else (other, contest)
    return [agree(first, second, ("best", "last"), together=True)]
