"""The mean F1 of classes."""

from __future__ import annotations

from lnlbench.api.metric import Metric, Predictions


class MacroF1(Metric):
    """Mean over classes of F1, the harmonic mean of precision and recall.

    A class that is neither in the split nor predicted does not count; one that has no right prediction
    counts as 0.
    """

    title = "macro F1"
    meaning = "mean over classes of the harmonic mean of precision and recall"
    bounds = (0.0, 100.0)

    def measure(self, predictions: Predictions) -> float:
        """Return it in percent."""
        confusion = predictions.confusion
        # 2 TP / (2 TP + FP + FN), whose denominator is labels of the class and predictions of it.
        total = confusion.sum(0) + confusion.sum(1)
        seen = total > 0
        return 100.0 * float((2.0 * confusion.diagonal()[seen] / total[seen]).mean())
