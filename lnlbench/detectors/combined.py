"""The agreement of neighbours and head: one opinion of each sample from both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lnlbench.detectors.evidence import ROWS, Detection, Evidence, best_other
from lnlbench.detectors.probabilities import ConfidentJoint
from lnlbench.detectors.votes import neighbour_shares

HOPELESS = 0.15  # a score below which a sample is flagged, whatever is counted


def agreement(evidence: Evidence, *, share: float = 0.5) -> Detection:
    """Pool what the head and the neighbours say, adjust it by class, and flag as many as it counts as wrong.

    The opinion of class c is o(c) ∝ p(c)·v(c)^``share``: p by the head, out of fold, and v the shares of
    votes of the 49 nearest others, with half a vote more for each class, so that no class is
    impossible. It is divided by class c's threshold, the mean opinion of c where c is given, as in
    confident learning; the score is that of the given label after scaling to ‖o‖ = 1, as SimiFeat
    scales its votes: it is low where *one* other class is likely, less so where many are.

    As many samples are flagged as confident learning counts off the diagonal from o, lowest scores first,
    and all with a score below 0.15: few samples, or easy ones, leave many without a confident class,
    which it does not count. None is flagged whose given label is on top. ``rate`` is the share of the
    count, without scaling it up.

    Why these: head and votes err differently, because one is linear in all features and the
    others are local. Detectors whose scores are made from one of the two with a mixture, a rank or
    a neighbourhood's size on top add no evidence, and their mean is worse than the better of them.
    Votes weigh half because those of near samples share what makes them wrong.

    Source: ours; see :func:`~lnlbench.detectors.probabilities.confident_learning` and
    :func:`~lnlbench.detectors.votes.knn_vote` for the parts.

    Parameters
    ----------
    evidence : Evidence
        With features.
    share : float
        Weight of the votes, 0 … 1. Default 0.5.
    """
    labels = evidence.labels
    opinion = pooled(evidence, share)
    sizes = np.bincount(labels, minlength=evidence.classes)
    own = np.bincount(labels, evidence.of_given(opinion), minlength=evidence.classes)
    joint = ConfidentJoint.of(opinion, labels, evidence.classes)
    count = np.count_nonzero((joint.confident >= 0) & (joint.confident != labels))
    # Nobody is given a class without samples; a threshold of 1 keeps its opinion as it is.
    threshold = np.where(sizes > 0, np.maximum(own, 1e-12) / np.maximum(sizes, 1), 1.0)
    opinion /= threshold.astype(np.float32)
    opinion /= np.sqrt(np.einsum("nc,nc->n", opinion, opinion))[:, None]
    score = evidence.of_given(opinion)
    count = max(count, np.count_nonzero(score < HOPELESS))
    other, top = best_other(opinion, labels)
    flags = np.zeros(len(labels), dtype=np.bool_)
    flags[np.argsort(score, kind="stable")[:count]] = True
    flags &= top > score
    return Detection(score.clip(0.0, 1.0), flags, np.where(flags, other, labels), count / len(labels))


def pooled(evidence: Evidence, share: float) -> npt.NDArray[np.float32]:
    """Return the normalised product of head and votes, float32 ``[N, C]``."""
    opinion = neighbour_shares(evidence)
    np.log(opinion, out=opinion)
    opinion *= share
    for start in range(0, len(opinion), ROWS):
        opinion[start : start + ROWS] += np.log(evidence.predicted[start : start + ROWS].clip(min=1e-12))
    opinion -= opinion.max(axis=1, keepdims=True)
    np.exp(opinion, out=opinion)
    opinion /= opinion.sum(axis=1, keepdims=True)
    return opinion
