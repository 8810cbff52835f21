"""What the author of a metric implements, and what a metric is given: the predictions of one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What a method says of one split after an epoch, N samples of C classes, in stored order.

    Probabilities are the softmax of the logits that :meth:`lnlbench.api.Method.predict` returns, as they
    are: a method that returns the sum of two networks' logits is the more confident for it.

    Attributes
    ----------
    labels : ndarray of int64, ``[N]``
        Of test samples the true ones, of validation samples the given ones.
    predicted : ndarray of int64, ``[N]``
        The class of the largest logit.
    confidence : ndarray of float64, ``[N]``
        Probability of the predicted class.
    probability : ndarray of float64, ``[N]``
        Probability of the label.
    rank : ndarray of int64, ``[N]``
        How many classes have a larger logit than the label; below k where it is among the first k.
    classes : int
        C.
    """

    labels: Integers
    predicted: Integers
    confidence: Floats
    probability: Floats
    rank: Integers
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def accuracy(self) -> float:
        """Share of right predictions, in percent."""
        return 100.0 * int((self.predicted == self.labels).sum()) / len(self)

    @cached_property
    def confusion(self) -> Integers:
        """How often each class (row) was taken for each (column), int64 ``[C, C]``."""
        pairs = self.labels * self.classes + self.predicted
        return np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    @cached_property
    def recalls(self) -> Floats:
        """Share of right predictions among the samples of each class that has any, in order."""
        sizes = self.confusion.sum(1)
        present = sizes > 0
        shares: Floats = self.confusion.diagonal()[present] / sizes[present]
        return shares


class Metric(ABC):
    """A number that says how good predictions are; an entry point of ``lnlbench.metrics`` names a subclass.

    The attributes are read from the source, so write them as literals.

    Attributes
    ----------
    title : str
        In headings, as in "balanced accuracy". Default: the registered name.
    unit : str
        In brackets behind the title; "" for a pure number. Default "%".
    better : {"higher", "lower", ""}
        Which of two values tables mark as the better one; "" marks none. Default "higher".
    decimals : int
        In tables. Default 2.
    meaning : str
        For captions, as in "mean of the recalls of all classes".
    bounds : (float or None, float or None)
        Between which all values lie; None is an open end. Default (None, None): any finite number.
    """

    title: ClassVar[str] = ""
    unit: ClassVar[str] = "%"
    better: ClassVar[str] = "higher"
    decimals: ClassVar[int] = 2
    meaning: ClassVar[str] = ""
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)

    @abstractmethod
    def measure(self, predictions: Predictions) -> float | None:
        """Return the value, a finite number; None where it is not defined."""
