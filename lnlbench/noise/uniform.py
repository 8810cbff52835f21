"""Symmetric and asymmetric noise: a fixed number of samples, drawn uniformly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from lnlbench.data.source import Index, Labels


def corrupted_count(rate: float, samples: int) -> int:
    """Return ⌈rate · samples⌉, taking the rate as it is written.

    In floating point 0.07 · 100 is 7.000000000000001, whose ceiling is one too many.
    """
    return math.ceil(Fraction(str(rate)) * samples)


def draw_samples(rate: float, samples: int, stream: np.random.Generator) -> Index:
    """Return the indices of exactly ⌈rate · samples⌉ different samples, drawn uniformly."""
    return stream.permutation(samples)[: corrupted_count(rate, samples)]


def symmetric(clean: Labels, classes: int, rate: float, variant: str, stream: np.random.Generator) -> Labels:
    """Give exactly ⌈rN⌉ random samples a uniformly random label.

    Deviations from the published code: that of DivideMix and UNICON rounds rN down, which is one sample
    fewer where rN is no whole number; that of ELR rounds up, as here.

    Source: the published code of DivideMix, ELR and UNICON; Ahn et al., TURN (arXiv, 2023),
    appendix A.2.

    Options
    -------
    variant : {"inclusive", "exclusive"}
        Whether a draw may return the true class. Default "inclusive". Source: DivideMix, ELR and
        UNICON; "exclusive" is the other convention of the field.

    Parameters
    ----------
    clean : int64 array of shape [N]
    classes : int
    rate : float
        Nominal rate r.
    variant : {"inclusive", "exclusive"}
        Whether a draw may return the true class, as in DivideMix, ELR and UNICON (then the
        expected realised rate is r (C − 1) / C), or not.
    stream : numpy.random.Generator

    Returns
    -------
    int64 array of shape [N]
    """
    chosen = draw_samples(rate, len(clean), stream)
    noisy = clean.copy()
    if variant == "inclusive":
        noisy[chosen] = stream.integers(classes, size=len(chosen))
    else:
        drawn = stream.integers(classes - 1, size=len(chosen))
        noisy[chosen] = drawn + (drawn >= clean[chosen])  # steps over the true class
    return noisy


def asymmetric(
    clean: Labels, target: Labels, rate: float, stream: np.random.Generator, count: str = "exact"
) -> Labels:
    """Give random samples, of all classes, the label that their class is mapped to: exactly ⌈rN⌉ of them.

    As in the published code, samples are drawn from the whole set and looked up by clean label,
    so no label changes twice, and a class that maps to itself keeps its labels: CIFAR-10, where
    5 of 10 classes change, realises about r / 2.

    Deviations from the published code: on CIFAR-100 the commonly used code (that of ELR and UNICON)
    shifts labels inside blocks of five consecutive class numbers, of which only 6 in 100 pairs share a
    superclass (``block5``), and flips each sample independently with probability r, so that its
    realised rate varies (0.3975 with its seed 0 for r = 0.4, where here it is 0.4000); ``map =
    "block5"`` and ``count = "independent"`` are these, the defaults what the papers describe. On
    CIFAR-10 that of DivideMix and UNICON rounds rN down, and that of ELR goes through the classes
    and looks labels up that it has changed already, so that some change twice (0.1839 realised for
    r = 0.4).

    Source: Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017; Ahn et
    al., TURN (arXiv, 2023), appendix A.2.

    Options
    -------
    map : str, sequence or mapping
        The class that each class is mistaken for. Default None: ``cifar10`` on CIFAR-10,
        ``superclass`` on CIFAR-100 and ``next`` elsewhere. Source: Patrini et al. for CIFAR, as
        DivideMix, ELR, UNICON and TURN describe it; ``next`` and maps of the user's are ours.
    count : {"exact", "independent"}
        Whether exactly ⌈rN⌉ samples are drawn, or each one with probability r. Default "exact". Source:
        DivideMix and UNICON on CIFAR-10; "independent" is that of ELR and UNICON on CIFAR-100.

    Parameters
    ----------
    clean : int64 array of shape [N]
    target : int64 array of shape [C]
        The class that each class is mistaken for.
    rate : float
    stream : numpy.random.Generator
    count : {"exact", "independent"}
        How many samples are drawn.

    Returns
    -------
    int64 array of shape [N]
    """
    if count == "exact":
        chosen = draw_samples(rate, len(clean), stream)
    else:
        chosen = np.flatnonzero(stream.random(len(clean)) < rate)
    noisy = clean.copy()
    noisy[chosen] = target[clean[chosen]]
    return noisy
