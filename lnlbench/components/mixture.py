"""Two-component Gaussian mixtures on losses: which samples look clean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

FloatArray = NDArray[np.float64]


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
    monotone = bool(np.all(np.diff(ordered) <= 1e-9))
    if make_monotone and not monotone:
        sorted_losses = losses[order]
        below = int(np.searchsorted(sorted_losses, means[low], side="right"))
        above = int(np.searchsorted(sorted_losses, means[1 - low], side="left"))
        # Between the means the posterior falls already; both parts reach across it, because the
        # turning point can lie between a mean and the sample next to it.
        ordered[:above] = np.maximum.accumulate(ordered[:above][::-1])[::-1]
        ordered[below:] = np.minimum.accumulate(ordered[below:])
        probability = np.empty_like(ordered)
        probability[order] = ordered
    return CleanPosterior(probability, collapsed=False, monotone=monotone)
