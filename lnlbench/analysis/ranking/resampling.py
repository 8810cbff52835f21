"""A bootstrap that resamples settings, then seeds, and compares entrants in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lnlbench.analysis.ranking.contest import Contest, Numbers
from lnlbench.analysis.stats import CONFIDENCE

RESAMPLES = 2000
POWER = 0.8
# Of the generator that draws: the same results give the same intervals.
_SEED = 20240607


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each setting, and each seed in it, was drawn.

    Attributes
    ----------
    settings : array [resamples, settings]
    seeds : array [resamples, settings, seeds]
        Sums over seeds are the settings' counts times the number of seeds.
    """

    settings: NDArray[np.int64]
    seeds: NDArray[np.int64]


def draw(settings: int, seeds: int, resamples: int = RESAMPLES, seed: int = _SEED) -> Draws:
    """Draw settings with replacement, and for each one drawn its seeds with replacement."""
    generator = np.random.default_rng(seed)
    chosen = generator.multinomial(settings, np.full(settings, 1 / settings), size=resamples)
    inner = [
        generator.multinomial(chosen[:, at] * seeds, np.full(seeds, 1 / seeds)) for at in range(settings)
    ]
    return Draws(chosen, np.stack(inner, axis=1))


def pairs_of(entrants: int) -> list[tuple[int, int]]:
    """Return all pairs of entrants, the first one earlier in order."""
    return list(combinations(range(entrants), 2))


def paired_differences(contest: Contest) -> Numbers:
    """Return what the first of each pair is ahead, [settings, pairs, seeds].

    Where the seeds of a setting do not share their noise, or a pair has no seed in common, the
    difference of the means stands alone.
    """
    first, second = (list(side) for side in zip(*pairs_of(len(contest.entrants)), strict=True))
    differences = contest.values[:, first] - contest.values[:, second]
    means = contest.means[:, first] - contest.means[:, second]
    lonely = np.isnan(differences).all(axis=2) | ~np.array(contest.shared)[:, None]
    differences[lonely] = np.nan
    differences[lonely, 0] = means[lonely]
    return differences


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its interval, of each of several numbers.

    Attributes
    ----------
    mean, low, high : array [n]
        NaN for the ends where nothing can be said.
    smallest : array [n]
        The smallest difference from zero that would be found with probability ``POWER``.
    """

    mean: Numbers
    low: Numbers
    high: Numbers
    smallest: Numbers


def nested_interval(
    values: Numbers, draws: Draws, over: str = "settings", tests: int = 1, confidence: float = CONFIDENCE
) -> Interval:
    """Return intervals of means over settings by a nested bootstrap.

    A plain bootstrap of settings and seeds counts the seeds' noise twice (it is in the spread of
    the settings as well) and takes few settings for more than they are. So the resampled effects
    of settings and the deviations of seeds are scaled to the variances that are estimated without
    bias before they are added: the "reflated" bootstrap of J. R. Carpenter, H. Goldstein and
    J. Rasbash (Applied Statistics 52, 2003), with moments instead of likelihoods. The interval is the mean
    plus and minus Student's quantile times the standard deviation of the resampled means.

    Parameters
    ----------
    values : array [settings, n, seeds]
        NaN where a seed is missing.
    draws : Draws
    over : {"settings", "seeds"}
        What the interval is about: further settings (one degree of freedom less than there are
        settings), or new seeds of these settings (one less per setting than it has seeds). It is the
        latter for a single setting.
    tests : int, default 1
        Among how many differences one is sought, for ``smallest`` (Bonferroni's level).
    confidence : float, default 0.95
    """
    settings, _, seeds = values.shape
    counts = (~np.isnan(values)).sum(axis=2)
    by_setting = np.nanmean(values, axis=2)
    mean = by_setting.mean(axis=0)
    effects = by_setting - mean
    deviations = np.where(np.isnan(values), 0.0, values - by_setting[:, :, None])
    squares = (deviations**2).sum(axis=2)
    # Variances of the mean: of the seeds alone as estimated and as resampled, and of all.
    several = (counts > 1).all(axis=0)
    within = (
        np.where(several, (squares / np.maximum((counts - 1) * counts, 1)).sum(axis=0), 0.0) / settings**2
    )
    if over == "settings" and settings > 1:
        total = effects.var(axis=0, ddof=1) / settings
        freedom = np.full(len(mean), settings - 1)
    else:
        total, freedom = within, np.where(several, (counts - 1).sum(axis=0), 0)
    seeds_part = np.minimum(within, total)
    outer = _scale(total - seeds_part, (effects**2).sum(axis=0) / settings**2)
    inner = _scale(seeds_part, squares.sum(axis=0) / (seeds * settings) ** 2)
    moved = outer * ((draws.settings / settings) @ effects)
    flat = deviations.transpose(0, 2, 1).reshape(settings * seeds, -1)
    moved += inner * (draws.seeds.reshape(len(draws.seeds), -1) @ flat) / (settings * seeds)
    error = np.where(freedom > 0, moved.std(axis=0), np.nan)
    freedom = np.maximum(freedom, 1)
    margin = stdtrit(freedom, 0.5 + confidence / 2) * error
    level = 1 - (1 - confidence) / 2 / tests
    smallest = (stdtrit(freedom, level) + stdtrit(freedom, POWER)) * error
    return Interval(mean, mean - margin, mean + margin, smallest)


def _scale(wanted: Numbers, resampled: Numbers) -> Numbers:
    """Return factors that give resampled deviations their wanted variance."""
    positive = resampled > 0
    return np.sqrt(np.where(positive, np.maximum(wanted, 0.0) / np.where(positive, resampled, 1.0), 0.0))


def resampled_means(contest: Contest, draws: Draws) -> Numbers:
    """Return the entrants' means over settings in every resample, [resamples, entrants]."""
    means = contest.means
    deviations = np.nan_to_num(contest.values - means[:, :, None])
    settings, seeds = len(contest.settings), contest.values.shape[2]
    flat = deviations.transpose(0, 2, 1).reshape(settings * seeds, -1)
    inner = draws.seeds.reshape(len(draws.seeds), -1) @ flat / (settings * seeds)
    return np.asarray((draws.settings / settings) @ means + inner, dtype=np.float64)
