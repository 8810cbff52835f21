"""What a detector looks at, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lnlbench.detectors.neighbours import Neighbours, nearest_neighbours
from lnlbench.detectors.out_of_fold import out_of_fold
from lnlbench.errors import UsageError
from lnlbench.models.text.class_texts import ClassTexts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MOST_NEIGHBOURS = 49  # WANN looks furthest
ROWS = 65536  # that are copied at a time


@dataclass(frozen=True)
class Evidence:
    """What is known of N samples, for all detectors.

    Parameters
    ----------
    labels : ndarray, int64 ``[N]``
        As given, in [0, C).
    classes : int
        C, at least 2.
    features : torch.Tensor, float32 ``[N, d]``, optional
        Of a frozen backbone, on any device; they may be memory-mapped.
    probabilities : ndarray, float ``[N, C]``, optional
        Of each class, by a model that has not learnt from the sample's own label. Default: those of a
        linear head on ``features``, out of fold; see :mod:`lnlbench.detectors.out_of_fold`.
    texts : ClassTexts, optional
        Texts of the classes, embedded by the model whose ``features`` these are.
    seed : int
        Of the folds, and of the mixtures' initialisation. Default 0.

    Raises
    ------
    UsageError
        If shapes or values do not fit, or neither features nor probabilities are given.
    """

    labels: IntArray
    classes: int
    features: torch.Tensor | None = None
    probabilities: npt.NDArray[Any] | None = None
    seed: int = 0
    texts: ClassTexts | None = None

    def __post_init__(self) -> None:
        samples = len(self.labels)
        if self.classes < 2 or samples < 3:
            raise UsageError(
                f"There are {samples} samples of {self.classes} classes.",
                "Detectors need at least 3 samples and 2 classes.",
            )
        if self.labels.min() < 0 or self.labels.max() >= self.classes:
            raise UsageError(
                f"Labels reach from {self.labels.min()} to {self.labels.max()}.",
                f"With {self.classes} classes they lie in 0 … {self.classes - 1}.",
            )
        if self.features is None and self.probabilities is None:
            raise UsageError("Detectors need features or probabilities.", "Give one of them, or both.")
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != samples):
            raise UsageError(f"Features have shape {list(self.features.shape)}; it must be [{samples}, d].")
        if self.probabilities is not None:
            if self.probabilities.shape != (samples, self.classes):
                raise UsageError(
                    f"Probabilities have shape {list(self.probabilities.shape)}; "
                    f"it must be [{samples}, {self.classes}]."
                )
            low, high = float(self.probabilities.min()), float(self.probabilities.max())
            if not (low >= 0.0 and high <= 1.0 + 1e-5):  # so that NaN is refused, too
                raise UsageError(f"Probabilities reach from {low:g} to {high:g}.")

    @cached_property
    def neighbours(self) -> Neighbours:
        """The nearest others of each sample, at most 49."""
        if self.features is None:
            raise UsageError("This detector asks neighbours, and there are no features.", "Give features.")
        return nearest_neighbours(self.features, MOST_NEIGHBOURS)

    @cached_property
    def predicted(self) -> npt.NDArray[Any]:
        """The probabilities as given, or those of a head, out of fold."""
        if self.probabilities is not None:
            return self.probabilities
        assert self.features is not None  # else there are probabilities
        return out_of_fold(self.features, self.labels, self.classes, seed=self.seed)

    def of_given(self, values: npt.NDArray[Any]) -> FloatArray:
        """Return what ``values``, ``[N, C]``, say of each sample's given label."""
        given: FloatArray = values[np.arange(len(self.labels)), self.labels].astype(np.float64)
        return given


@dataclass(frozen=True, slots=True)
class Detection:
    """What a detector says of N samples.

    Attributes
    ----------
    score : ndarray, float64 ``[N]``
        In [0, 1]: 1 where the given label is surely right. Scores of two detectors do not compare.
    flags : ndarray, bool ``[N]``
        Who is suspected to be wrong.
    suggested : ndarray, int64 ``[N]``
        The most likely other class where a sample is flagged, else its given label.
    rate : float or None
        Share of wrong labels as the detector estimates it, which need not be that of its flags; None
        where it estimates none.
    """

    score: FloatArray
    flags: BoolArray
    suggested: IntArray
    rate: float | None = None


def best_other(values: npt.NDArray[Any], labels: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the class besides the given one that ``values``, ``[N, C]``, say most of, and its value."""
    best, value = np.empty_like(labels), np.empty(len(labels))
    for start in range(0, len(labels), ROWS):
        part = slice(start, start + ROWS)
        some = values[part].copy()
        rows = np.arange(len(some))
        some[rows, labels[part]] = -np.inf
        best[part] = some.argmax(axis=1)
        value[part] = some[rows, best[part]]
    return best, value
