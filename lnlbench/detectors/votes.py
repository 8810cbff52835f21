"""Detectors by vote: what the given labels of a sample's neighbours say of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from lnlbench.detectors.consensus import fit_consensus
from lnlbench.detectors.evidence import Detection, Evidence, FloatArray, IntArray, best_other

CELLS = 2 * 10**7  # numbers of a table of votes at a time
SMALLEST = 11  # of WANN's neighbourhoods


def knn_vote(evidence: Evidence, *, k: int = 10) -> Detection:
    """Flag a sample whose neighbours vote for another label; its score is the share of its own.

    The k nearest, of which the sample is the first, vote q(c) = Σ_j s_j·[label_j = c] with cosine
    similarities s_j, the sample's own being extrapolated as 2·s₁ − s₂; q is scaled to ‖q‖ = 1. Flagged
    is a sample whose label is not the largest of q; a tie keeps it.

    Deviations from the authors' code: one round on features as they are, not 21 on random crops;
    negative similarities count as none.

    Source: Zhu, Dong & Liu, Detecting Corrupted Labels Without Training a Model to Predict (ICML,
    2022), section 4.1 (SimiFeat-V).

    Parameters
    ----------
    evidence : Evidence
        With features.
    k : int
        Default 10.
    """
    given, other, top = _soft_votes(evidence, k)
    return Detection(given, flags := top > given, np.where(flags, other, evidence.labels))


def simifeat(evidence: Evidence, *, k: int = 10) -> Detection:
    """Flag, in each class, as many samples as HOC says are wrong: those with the fewest votes.

    Of class j the share r_j = 1 − P(true = j | given = j) is flagged (0.95 where it is at least 1, 0.05 where
    it is at most 0), in the order of :func:`knn_vote`'s score. The score here is that order within
    the class, stretched so that exactly the flagged ones lie below 0.5: unlike votes, it compares
    between classes. ``rate`` is HOC's.

    Deviations from the authors' code: as for :func:`knn_vote`; the random ±0.05 on P is left out.

    Source: Zhu, Dong & Liu (ICML, 2022), section 4.2 (SimiFeat-R).

    Parameters
    ----------
    evidence : Evidence
        With features.
    k : int
        Default 10.
    """
    labels, classes = evidence.labels, evidence.classes
    given, other, _ = _soft_votes(evidence, k)
    consensus = fit_consensus(labels, evidence.neighbours, classes, seed=evidence.seed)
    sizes = np.bincount(labels, minlength=classes)
    right = np.diag(consensus.transition) * consensus.prior / np.maximum(sizes / len(labels), 1e-12)
    wrong = 1.0 - np.minimum(right, 1.0)
    wrong = np.where(wrong <= 0.0, 0.05, np.where(wrong >= 1.0, 0.95, wrong))
    score, flags = np.empty(len(labels)), np.zeros(len(labels), dtype=np.bool_)
    for label in np.flatnonzero(sizes):
        members = np.flatnonzero(labels == label)
        count = round(float(wrong[label]) * len(members))
        place = rankdata(given[members]) - 0.5  # equals share theirs
        below = 0.5 * place / max(count, 1)
        above = 0.5 + 0.5 * (place - count) / max(len(members) - count, 1)
        flags[members] = place < count
        score[members] = np.where(place < count, below, above)
    return Detection(score, flags, np.where(flags, other, labels), consensus.rate)


def wann(evidence: Evidence) -> Detection:
    """Score a sample by how near a neighbourhood must be looked at to find its label in the majority.

    k* is the smallest odd k in 11 … 49 for which no label is more frequent among the k nearest others
    than the sample's own, else 51; its reliability is η = 1/k*, and the score is η stretched to [0, 1].
    Flagged are samples with k* = 51. The suggestion is WANN's prediction, Σ η_n·[label_n = c] over the k*
    nearest of the sample, with k* of its nearest neighbour.

    Deviations from the authors' code: neighbours by cosine similarity, as for the other detectors;
    the flags are ours, because the paper weighs samples and drops none. Fewer than 50 samples have
    smaller neighbourhoods.

    Source: Di Salvo, Doerrich, Rieger & Ledig, An Embedding is Worth a Thousand Noisy Labels (TMLR,
    2025), section 3.

    Parameters
    ----------
    evidence : Evidence
        With features.
    """
    labels, near = evidence.labels, evidence.neighbours
    nearest, beyond = neighbourhood_sizes(evidence)
    furthest = near.index.shape[1]
    weight = 1.0 / nearest
    flags = nearest == beyond
    other = np.empty_like(labels)
    reach = nearest[near.index[:, 0]]
    for part in _parts(len(labels), evidence.classes):
        inside = np.arange(furthest) < reach[part, None]
        votes = _tally(labels[near.index[part]], weight[near.index[part]] * inside, evidence.classes)
        other[part] = best_other(votes, labels[part])[0]
    score = (weight - 1.0 / beyond) / (1.0 / min(SMALLEST, furthest) - 1.0 / beyond)
    return Detection(score, flags, np.where(flags, other, labels))


def neighbourhood_sizes(evidence: Evidence) -> tuple[IntArray, int]:
    """Return WANN's k* of each sample, int64 ``[N]``, and the k* of those that no neighbourhood agrees with.

    See :func:`wann`.
    """
    labels, near = evidence.labels, evidence.neighbours
    furthest = near.index.shape[1]
    sizes = [k for k in range(SMALLEST, 50, 2) if k <= furthest] or [furthest]
    beyond = sizes[-1] + 2
    nearest = np.full(len(labels), beyond)
    for part in _parts(len(labels), evidence.classes):
        voters, own = labels[near.index[part]], labels[part]
        rows = np.arange(len(own))
        counts = np.zeros((len(own), evidence.classes), dtype=np.int16)
        counted = 0
        for k in sizes:
            for column in range(counted, k):
                counts[rows, voters[:, column]] += 1
            counted = k
            agrees = counts[rows, own] == counts.max(axis=1)
            nearest[part] = np.where(agrees & (nearest[part] == beyond), k, nearest[part])
    return nearest, beyond


def neighbour_shares(evidence: Evidence) -> npt.NDArray[np.float32]:
    """Return the shares of the votes of all neighbours by class, with half a vote more for each class.

    Returns
    -------
    ndarray, float32 ``[N, C]``
        Positive; rows sum to 1.
    """
    near, labels = evidence.neighbours, evidence.labels
    shares = np.empty((len(labels), evidence.classes), dtype=np.float32)
    for part in _parts(len(labels), evidence.classes):
        shares[part] = 0.5 + _tally(
            labels[near.index[part]], near.similarity[part].clip(0.0), evidence.classes
        )
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _soft_votes(evidence: Evidence, k: int) -> tuple[FloatArray, IntArray, FloatArray]:
    """Return the vote for each given label, the strongest other label, and the vote for that."""
    labels, near = evidence.labels, evidence.neighbours
    given, top = np.empty(len(labels)), np.empty(len(labels))
    other = np.empty_like(labels)
    for part in _parts(len(labels), evidence.classes):
        similar = near.similarity[part, : k - 1].astype(np.float64)
        second = similar[:, min(1, similar.shape[1] - 1)]
        weights = np.column_stack([2.0 * similar[:, 0] - second, similar]).clip(min=0.0)
        voters = np.column_stack([labels[part], labels[near.index[part, : k - 1]]])
        votes = _tally(voters, weights, evidence.classes)
        votes /= np.maximum(np.linalg.norm(votes, axis=1, keepdims=True), 1e-12)
        given[part] = votes[np.arange(len(votes)), labels[part]]
        other[part], top[part] = best_other(votes, labels[part])
    return given, other, top


def _parts(samples: int, classes: int) -> Iterator[slice]:
    size = max(CELLS // classes, 1)
    yield from (slice(start, start + size) for start in range(0, samples, size))


def _tally(voters: npt.NDArray[Any], weights: npt.NDArray[Any], classes: int) -> FloatArray:
    """Sum the weights of voters, ``[n, k]``, by their label: ``[n, C]``."""
    cells = np.arange(len(voters))[:, None] * classes + voters
    votes = np.zeros(len(voters) * classes)
    np.add.at(votes, cells.ravel(), weights.ravel())
    return votes.reshape(len(voters), classes)
