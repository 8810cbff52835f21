"""Detectors by probabilities: what a head says of labels that it has not learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lnlbench.basics.seeding import derive_seed
from lnlbench.components.mixture import DIVIDEMIX, clean_posterior, scale_to_unit
from lnlbench.detectors.evidence import Detection, Evidence, IntArray, best_other

LOWEST_THRESHOLD = 2e-6
TOLERANCE = 1e-6  # below its threshold that a probability may lie, and below the largest of its sample


@dataclass(frozen=True, slots=True)
class ConfidentJoint:
    """Which classes the samples belong to with confidence.

    Attributes
    ----------
    counts : ndarray, int64 ``[C, C]``
        Of samples by given class (row) and confident class (column); no diagonal cell is below 1.
    confident : ndarray, int64 ``[N]``
        Confident class of each sample, −1 where there is none.
    """

    counts: IntArray
    confident: IntArray

    @classmethod
    def of(cls, probabilities: npt.NDArray[Any], labels: IntArray, classes: int) -> ConfidentJoint:
        """Count; see :func:`confident_learning`."""
        sizes = np.bincount(labels, minlength=classes)
        own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        mean = np.bincount(labels, own, minlength=classes) / np.maximum(sizes, 1)
        # A class that nobody is labelled with has no threshold, and nobody reaches it.
        threshold = np.where(sizes > 0, mean.clip(min=LOWEST_THRESHOLD), np.inf)
        inside = probabilities >= threshold - TOLERANCE
        bins = inside.sum(axis=1)
        confident = np.where(bins > 1, probabilities.argmax(axis=1), inside.argmax(axis=1))
        confident[bins == 0] = -1
        known = bins > 0
        cells = labels[known] * classes + confident[known]
        counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        np.fill_diagonal(counts, np.diag(counts).clip(min=1))
        return cls(counts, confident)

    def rate(self, labels: IntArray) -> float:
        """Return the share of wrong labels, if those that count for nothing go wrong like the others."""
        right = np.diag(self.counts) / self.counts.sum(axis=1)
        sizes = np.bincount(labels, minlength=len(right))
        return float(1.0 - right @ sizes / len(labels))


def confident_learning(evidence: Evidence) -> Detection:
    """Flag a sample that belongs to another class than its label's with confidence.

    The threshold of class c is the mean probability of c over samples that bear label c. A sample
    belongs to a class whose threshold its probability reaches, of several to its most probable one.
    The score is the probability of the given label; ``rate`` is that of the confident joint, with
    rows scaled to the sizes of the given classes.

    Flags are those of ``cleanlab.filter.find_label_issues(filter_by="confident_learning")``, scores those of
    ``cleanlab.rank.get_label_quality_scores``, which says of a label that is the most probable one
    that it is no issue whatever the thresholds.

    Source: Northcutt, Jiang & Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels (JAIR,
    2021), equations 1 to 3.

    Parameters
    ----------
    evidence : Evidence
    """
    probabilities, labels = evidence.predicted, evidence.labels
    joint = ConfidentJoint.of(probabilities, labels, evidence.classes)
    given = evidence.of_given(probabilities)
    flags = (
        (joint.confident >= 0) & (joint.confident != labels) & (given < probabilities.max(axis=1) - TOLERANCE)
    )
    suggested = np.where(flags, joint.confident, labels)
    return Detection(given.clip(0.0, 1.0), flags, suggested, joint.rate(labels))


def small_loss(evidence: Evidence, *, tau: float = 0.6) -> Detection:
    """Flag a sample whose loss belongs to the high one of its class's two Gaussians.

    The losses −log p(given label) are scaled to [0, 1] over all samples; the score is the
    posterior of the lower component, made monotone, and flagged is who does not exceed ``tau``.
    A class whose losses do not fall into two components is not judged: 1, and no flag. ``rate`` is the
    mean posterior of the higher component.

    Deviations from TURN: the probabilities are out of fold, where TURN takes those of the head that
    has learnt from the labels.

    Source: Ahn, Kim, Ko & Yun, Fine-tuning Pre-trained Models for Robustness Under Noisy Labels (arXiv,
    2023), Algorithm 1; the mixture is that of Li, Socher & Hoi, DivideMix (ICLR, 2020).

    Parameters
    ----------
    evidence : Evidence
    tau : float
        Default 0.6.
    """
    labels = evidence.labels
    losses = scale_to_unit(-np.log(evidence.of_given(evidence.predicted).clip(min=1e-12)))
    score = np.ones(len(labels))
    for label in range(evidence.classes):
        members = np.flatnonzero(labels == label)
        seed = derive_seed("small loss", evidence.seed, label) % 2**32
        fit = clean_posterior(losses[members], DIVIDEMIX, seed, make_monotone=True)
        if not fit.collapsed:
            score[members] = fit.probability
    flags = score <= tau
    other, _ = best_other(evidence.predicted, labels)
    return Detection(score, flags, np.where(flags, other, labels), float(1.0 - score.mean()))
