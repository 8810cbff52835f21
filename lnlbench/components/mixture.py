"""Two-component Gaussian mixtures on losses: which samples look clean, of one class or of many at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

# With more classes than this, methods fit them together. Below it one fit after the other costs little, and
# its results are those of all earlier versions.
MANY_CLASSES = 200

# What scikit-learn adds to the size of a component.
_TINY = 10 * np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True)
class MixtureSettings:
    """How a mixture is fitted (the arguments of scikit-learn's ``GaussianMixture``)."""

    max_iter: int
    tol: float
    reg_covar: float


# DIVIDEMIX is the setting of Li et al. (2020), for losses scaled to [0, 1]. TIGHT is for raw
# losses, where clean samples can lie within thousandths of each other.
DIVIDEMIX = MixtureSettings(max_iter=10, tol=1e-2, reg_covar=5e-4)
TIGHT = MixtureSettings(max_iter=100, tol=1e-6, reg_covar=1e-6)


@dataclass(frozen=True, slots=True)
class CleanPosterior:
    """Posterior of the lower-mean component, and how the fit went.

    Attributes
    ----------
    probability : ndarray, float64 ``[n]``
    collapsed : bool
        The losses do not fall into two components; the probability is 0.5 throughout, which
        says nothing.
    monotone : bool
        Whether the posterior, as fitted, never rises with the loss.
    """

    probability: FloatArray
    collapsed: bool
    monotone: bool


def scale_to_unit(losses: FloatArray) -> FloatArray:
    """Return losses min–max scaled to [0, 1]; constant losses become 0."""
    low, high = losses.min(), losses.max()
    scaled: FloatArray = (losses - low) / (high - low) if high > low else np.zeros_like(losses)
    return scaled


def clean_posterior(
    losses: FloatArray, settings: MixtureSettings, seed: int, *, make_monotone: bool = False
) -> CleanPosterior:
    """Fit two Gaussians to losses and return the posterior of the one with the lower mean.

    Parameters
    ----------
    losses : ndarray, float64 ``[n]``, finite
    settings : MixtureSettings
    seed : int
        Of the mixture's initialisation.
    make_monotone : bool
        Where the variances differ, the posterior can fall again at very low losses (a narrow
        low component) or rise again at very high ones (a wide low component). True carries the
        value at the component's mean outwards instead.
    """
    if len(losses) < 2 or np.ptp(losses) == 0.0:
        return CleanPosterior(np.full(len(losses), 0.5), collapsed=True, monotone=True)
    mixture = GaussianMixture(
        n_components=2,
        max_iter=settings.max_iter,
        tol=settings.tol,
        reg_covar=settings.reg_covar,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Ten iterations are the published setting, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(losses[:, None])
    means = mixture.means_[:, 0]
    if means[0] == means[1]:
        return CleanPosterior(np.full(len(losses), 0.5), collapsed=True, monotone=True)
    low = int(means.argmin())
    probability: FloatArray = mixture.predict_proba(losses[:, None])[:, low]
    order = np.argsort(losses, kind="stable")
    ordered = probability[order]
    monotone = falls(ordered)
    if make_monotone and not monotone:
        probability = np.empty_like(ordered)
        probability[order] = carried_outwards(ordered, losses[order], means[low], means[1 - low])
    return CleanPosterior(probability, collapsed=False, monotone=monotone)


def falls(ordered: FloatArray) -> bool:
    """Whether posteriors, in the order of the losses, never rise."""
    return bool(np.all(np.diff(ordered) <= 1e-9))


def carried_outwards(ordered: FloatArray, losses: FloatArray, low: float, high: float) -> FloatArray:
    """Return posteriors of the lower component that never rise with the loss.

    Parameters
    ----------
    ordered, losses : ndarray, float64 ``[n]``
        Posteriors, and the losses in ascending order.
    low, high : float
        Means of the components.
    """
    below = int(np.searchsorted(losses, low, side="right"))
    above = int(np.searchsorted(losses, high, side="left"))
    # Between the means the posterior falls already; both parts reach across it, because the
    # turning point can lie between a mean and the sample next to it.
    carried = ordered.copy()
    carried[:above] = np.maximum.accumulate(carried[:above][::-1])[::-1]
    carried[below:] = np.minimum.accumulate(carried[below:])
    return carried


@dataclass(frozen=True, slots=True)
class ClassPosteriors:
    """Posteriors of the lower-mean components of all classes, and how the fits went.

    Attributes
    ----------
    probability : ndarray, float64 ``[N]``
        0.5 in classes that collapsed.
    collapsed, monotone : ndarray, bool ``[C]``
        As in :class:`CleanPosterior`; an empty class has collapsed.
    """

    probability: FloatArray
    collapsed: BoolArray
    monotone: BoolArray


def class_posteriors(
    losses: FloatArray,
    labels: IntArray,
    classes: int,
    settings: MixtureSettings,
    *,
    make_monotone: bool = False,
) -> ClassPosteriors:
    """Fit two Gaussians to the losses of each class and return the posteriors of the lower ones.

    What :func:`clean_posterior` does for one class, for all of them in the same
    array operations. From the same start, the results are those of scikit-learn's ``GaussianMixture`` up to
    rounding. The start is another one: the best split of the sorted losses in two (which k-means approaches
    from a random start), so that no seed is needed.

    Parameters
    ----------
    losses : ndarray, float64 ``[N]``, finite
    labels : ndarray, int64 ``[N]``
        Class of each sample, below ``classes``.
    classes : int
    settings : MixtureSettings
    make_monotone : bool
        See :func:`clean_posterior`.
    """
    order = np.lexsort((losses, labels))
    ordered = losses[order]
    sizes = np.bincount(labels, minlength=classes)
    starts = _starts(sizes)
    spread = np.zeros(classes)
    filled = sizes > 0
    spread[filled] = ordered[starts[filled] + sizes[filled] - 1] - ordered[starts[filled]]
    fitted = np.flatnonzero(spread > 0.0)

    probability = np.full(len(losses), 0.5)
    collapsed, monotone = np.ones(classes, dtype=bool), np.ones(classes, dtype=bool)
    if len(fitted):
        chosen = np.repeat(spread > 0.0, sizes)
        values = ordered[chosen]
        mixtures = _fit(values, sizes[fitted], settings)
        probability[chosen] = mixtures.lower_posterior(values, sizes[fitted])
        for number, label in enumerate(fitted):
            members = slice(starts[label], starts[label] + sizes[label])
            low, high = sorted(mixtures.means[:, number])
            collapsed[label] = low == high
            if collapsed[label]:
                probability[members] = 0.5
                continue
            monotone[label] = falls(probability[members])
            if make_monotone and not monotone[label]:
                probability[members] = carried_outwards(probability[members], ordered[members], low, high)
    result = np.empty_like(probability)
    result[order] = probability
    return ClassPosteriors(result, collapsed, monotone)


@dataclass(slots=True)
class _Mixtures:
    """Weights, means and variances ``[2, classes]``."""

    weights: FloatArray
    means: FloatArray
    variances: FloatArray

    @classmethod
    def of(
        cls, values: FloatArray, high: FloatArray, low: FloatArray, sizes: IntArray, floor: float
    ) -> _Mixtures:
        """Return the mixtures of samples that belong to components with some responsibility."""
        starts = _starts(sizes)
        counts, means, variances = [], [], []
        for share in (low, high):
            count = np.add.reduceat(share, starts) + _TINY
            mean = np.add.reduceat(share * values, starts) / count
            away = values - np.repeat(mean, sizes)
            counts.append(count)
            means.append(mean)
            variances.append(np.add.reduceat(share * away * away, starts) / count + floor)
        weights = np.stack(counts) / sizes
        return cls(weights / weights.sum(0), np.stack(means), np.stack(variances))

    def log_odds(self, values: FloatArray, sizes: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return ln(high / low) of each sample, and the log density of the low component with its weight."""
        scale = np.sqrt(self.variances)
        constant = np.log(self.weights) - np.log(scale) - 0.5 * np.log(2 * np.pi)
        parts = []
        for component in (0, 1):
            away = (values - np.repeat(self.means[component], sizes)) / np.repeat(scale[component], sizes)
            parts.append(np.repeat(constant[component], sizes) - 0.5 * away * away)
        return parts[1] - parts[0], parts[0]

    def lower_posterior(self, values: FloatArray, sizes: IntArray) -> FloatArray:
        """Return each sample's posterior of the component with the lower mean."""
        odds, _ = self.log_odds(values, sizes)
        high, low = _shares(odds)
        lower: FloatArray = np.where(np.repeat(self.means[0] <= self.means[1], sizes), low, high)
        return lower


def _fit(values: FloatArray, sizes: IntArray, settings: MixtureSettings) -> _Mixtures:
    """Run EM on all classes, each until its own likelihood stands still.

    Values ``[n]`` stand class by class, in ascending order within each; sizes ``[c]`` are theirs.
    """
    high = _upper_part(values, sizes)
    result = _Mixtures.of(values, high, 1.0 - high, sizes, settings.reg_covar)
    current, running = result, np.ones(len(sizes), dtype=bool)
    bound = np.full(len(sizes), -np.inf)
    for _ in range(settings.max_iter):
        odds, log_low = current.log_odds(values, sizes)
        likelihood = log_low + np.maximum(odds, 0.0) + np.log1p(np.exp(-np.abs(odds)))
        current = _Mixtures.of(values, *_shares(odds), sizes, settings.reg_covar)
        result.weights[:, running] = current.weights
        result.means[:, running] = current.means
        result.variances[:, running] = current.variances
        before, bound = bound, np.add.reduceat(likelihood, _starts(sizes)) / sizes
        still = np.abs(bound - before) >= settings.tol
        if not still.any():
            break
        if not still.all():
            values = values[np.repeat(still, sizes)]
            current = _Mixtures(
                current.weights[:, still], current.means[:, still], current.variances[:, still]
            )
            sizes, bound = sizes[still], bound[still]
            running[np.flatnonzero(running)[~still]] = False
    return result


def _shares(odds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the responsibilities of high and low component, both exact where they are small."""
    small = np.exp(-np.abs(odds))
    large = 1.0 / (1.0 + small)
    small *= large
    return np.where(odds >= 0.0, large, small), np.where(odds >= 0.0, small, large)


def _upper_part(values: FloatArray, sizes: IntArray) -> FloatArray:
    """Return 1 for the samples above the split of each class that leaves the least variance, 0 below."""
    starts = _starts(sizes)
    rank = np.arange(len(values)) - np.repeat(starts, sizes)  # samples below
    total = np.repeat(sizes, sizes)
    centred = values - np.repeat(np.add.reduceat(values, starts) / sizes, sizes)
    summed = np.concatenate(([0.0], centred.cumsum()))[:-1]
    below = summed - np.repeat(summed[starts], sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(rank > 0, below * below * (1.0 / rank + 1.0 / (total - rank)), -1.0)
    best = gain == np.repeat(np.maximum.reduceat(gain, starts), sizes)
    # The first of equally good splits.
    first = np.minimum.reduceat(np.where(best, rank, total), starts)
    upper: FloatArray = (rank >= np.repeat(first, sizes)).astype(np.float64)
    return upper


def _starts(sizes: IntArray) -> IntArray:
    starts: IntArray = np.concatenate(([0], sizes.cumsum()[:-1]))
    return starts
