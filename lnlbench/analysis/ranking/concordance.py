"""Do rankings agree: of other numbers, noises, data sets, backbones?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lnlbench.analysis.names import display
from lnlbench.analysis.ranking.contest import Contest, Numbers
from lnlbench.analysis.ranking.resampling import draw, pairs_of, resampled_means
from lnlbench.analysis.stats import CONFIDENCE
from lnlbench.spec import RATED_NOISE

_RESAMPLES = 500
# Of more values than these, not every pair is compared.
_VALUES = 6


@dataclass(frozen=True, slots=True)
class Concordance:
    """How two rankings of the same entrants agree.

    Attributes
    ----------
    first, second : str
        What they are rankings of.
    tau : float
        Kendall's τ-b (Biometrika 33, 1945) of the means, from -1 (reversed) to 1 (the same);
        NaN if all are equal on one side.
    low, high : float
        Percentile interval over resampled settings and seeds.
    entrants : int
    """

    first: str
    second: str
    tau: float
    low: float
    high: float
    entrants: int


def kendall(first: Numbers, second: Numbers) -> Numbers:
    """Return Kendall's τ-b of each row with the same row of another array, [n]."""
    i, j = (list(side) for side in zip(*pairs_of(first.shape[1]), strict=True))
    a, b = np.sign(first[:, i] - first[:, j]), np.sign(second[:, i] - second[:, j])
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(np.where(scale > 0, (a * b).sum(axis=1) / np.where(scale > 0, scale, 1), np.nan))


def agree(first: Contest, second: Contest, names: tuple[str, str], together: bool) -> Concordance:
    """Compare two rankings of the same entrants.

    Parameters
    ----------
    first, second : Contest
        Of the same entrants, in the same order.
    names : tuple of str
    together : bool
        Whether both are of the same trials, so that settings and seeds are resampled together.
    """
    draws = [
        draw(len(contest.settings), contest.values.shape[2], _RESAMPLES, seed=1 if together else number)
        for number, contest in enumerate((first, second), start=1)
    ]
    resampled = [resampled_means(*side) for side in zip((first, second), draws, strict=True)]
    taus = kendall(*resampled)
    taus = taus[~np.isnan(taus)]
    ends = np.quantile(taus, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]) if len(taus) else (np.nan,) * 2
    tau = kendall(first.means.mean(axis=0)[None], second.means.mean(axis=0)[None])[0]
    return Concordance(*names, float(tau), float(ends[0]), float(ends[1]), len(first.entrants))


def concordances(contest: Contest) -> list[Concordance]:
    """Compare rankings of the parts of a contest: synthetic and other noise, noises, data, backbones."""
    views: list[Callable[[dict[str, str]], str]] = [
        lambda key: _origin(key["noise"]),
        *(_title_of(axis) for axis in ("noise_label", "dataset", "backbone")),
    ]
    found: dict[tuple[str, str], Concordance] = {}
    for view in views:
        parts: dict[str, list[int]] = {}
        for number, key in enumerate(contest.keys):
            if name := view(key):
                parts.setdefault(name, []).append(number)
        for names in combinations(parts, 2) if len(parts) <= _VALUES else ():
            first, second = (contest.pick(parts[name]) for name in names)
            found.setdefault(names, agree(first, second, names, together=False))
    return list(found.values())


def _title_of(axis: str) -> Callable[[dict[str, str]], str]:
    return lambda key: display(axis, key[axis])


def _origin(noise: str) -> str:
    return "" if noise == "none" else "synthetic noise" if noise in RATED_NOISE else f"{noise} noise"
