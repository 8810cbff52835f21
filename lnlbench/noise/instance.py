"""Instance-dependent noise (Xia et al. 2020; Cheng et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lnlbench.data.source import Index, Labels
from lnlbench.noise.instance_inputs import Floats, Inputs, chunks, standardised

# Returns the projection, of shape [L, C], for a class; None asks for the shared one.
Projection = Callable[[int | None, int], Floats]


def flip_rates(rate: float, std: float, samples: int, stream: np.random.Generator) -> Floats:
    """Draw one flip rate per sample from Normal(rate, std) truncated to [0, 1].

    The truncation moves the mean: by symmetry up at a rate near 0 (0.08 at rate 0 with std 0.1)
    and down at a rate near 1.
    """
    rates = stream.normal(rate, std, samples)
    outside = np.flatnonzero((rates < 0.0) | (rates > 1.0))
    while len(outside):  # at most half of the draws are rejected while std is small
        rates[outside] = stream.normal(rate, std, len(outside))
        outside = outside[(rates[outside] < 0.0) | (rates[outside] > 1.0)]
    return rates


def target_probabilities(scores: Floats, true: Labels) -> Floats:
    """Return the softmax of scores over the classes other than the true one.

    Parameters
    ----------
    scores : float64 array of shape [B, C]
    true : int64 array of shape [B]

    Returns
    -------
    float64 array of shape [B, C]
        Rows sum to 1; the true class has probability 0.
    """
    others = scores.copy()
    others[np.arange(len(true)), true] = -np.inf
    weights: Floats = np.exp(others - others.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def instance(
    clean: Labels,
    classes: int,
    rate: float,
    *,
    shared: bool,
    standardise: bool,
    std: float,
    inputs: Inputs,
    projection: Projection,
    stream: np.random.Generator,
) -> Labels:
    """Flip each sample with a probability of its own, to a class that depends on its input.

    Sample i flips with probability q_i (:func:`flip_rates`), to a class drawn from the softmax
    of x_i · W over the classes other than its own.

    No deviations known.

    Source: Cheng et al., Learning with Instance-Dependent Label Noise: A Sample Sieve Approach,
    ICLR 2021; Xia et al., Part-dependent Label Noise, NeurIPS 2020; Ahn et al., TURN (arXiv,
    2023), appendix A.2.

    Options
    -------
    W : {"shared", "per_class"}
        One projection for all samples, or one for each clean class. Default "shared". Source:
        Cheng et al.; "per_class" is Xia et al.
    input : {"uint8", "standardised"}
        Raw pixels, or each dimension standardised over the samples. Default "uint8". Source:
        Cheng et al.; "standardised" is ours, against flips that all go to a few classes.
    std : float
        Standard deviation of the flip rates before truncation. Default 0.1. Source: Cheng et al.

    Parameters
    ----------
    clean : int64 array of shape [N]
    classes : int
    rate : float
        Mean of the flip rates before truncation.
    shared : bool
        One W for all samples (Cheng et al.), or one for each clean class (Xia et al.); of the
        latter only one is in memory at a time.
    standardise : bool
        Standardise each input dimension over the samples, or take inputs as they are. With raw
        uint8 pixels the scores are in the thousands and share the sign of W's column sums,
        so most flips go to a few classes.
    std : float
        Standard deviation of the flip rates before truncation.
    inputs : callable
        From indices to inputs of shape [B, L].
    projection : callable
        From (class or None, L) to W of shape [L, C].
    stream : numpy.random.Generator
        Its draws do not depend on the inputs.

    Returns
    -------
    int64 array of shape [N]
    """
    samples = len(clean)
    rates = flip_rates(rate, std, samples, stream)
    flips = stream.random(samples) < rates
    # In (0, 1], so that a class of probability 0 is never reached below.
    position = 1.0 - stream.random(samples)
    source = standardised(inputs, samples) if standardise else inputs
    noisy = clean.copy()
    for owner, members in _groups(clean, classes, flips, shared):
        matrix: Floats | None = None
        for part, values in chunks(source, members):
            if matrix is None:
                matrix = projection(owner, values.shape[1])
            cumulative = target_probabilities(values @ matrix, clean[part]).cumsum(axis=1)
            threshold = position[part, None] * cumulative[:, -1:]
            noisy[part] = (cumulative < threshold).sum(axis=1)
    return noisy


def _groups(
    clean: Labels, classes: int, flips: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], shared: bool
) -> Iterator[tuple[int | None, Index]]:
    """Yield the samples that flip, by the projection that they use."""
    if shared:
        yield None, np.flatnonzero(flips)
        return
    for number in range(classes):
        yield number, np.flatnonzero(flips & (clean == number))
