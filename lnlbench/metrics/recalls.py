"""Metrics of the classes' recalls, which show what an accuracy hides."""

from __future__ import annotations

from lnlbench.api.metric import Metric, Predictions

# Of chance, which is 1/C: a class below this share of it is as good as never predicted.
DEAD = 0.1


class BalancedAccuracy(Metric):
    """Mean of the recalls of all classes that the split has.

    Source: Brodersen, Ong, Stephan & Buhmann, The balanced accuracy and its posterior distribution,
    ICPR 2010, for any number of classes.
    """

    title = "balanced accuracy"
    meaning = "mean of the recalls of all classes"
    bounds = (0.0, 100.0)

    def measure(self, predictions: Predictions) -> float:
        """Return it in percent."""
        return 100.0 * float(predictions.recalls.mean())


class WorstClassRecall(Metric):
    """Recall of the class that has the lowest."""

    title = "worst-class recall"
    meaning = "recall of the class with the lowest"
    bounds = (0.0, 100.0)

    def measure(self, predictions: Predictions) -> float:
        """Return it in percent."""
        return 100.0 * float(predictions.recalls.min())


class DeadClasses(Metric):
    """How many classes are dead: a recall below 1/(10 C), a tenth of chance."""

    title = "dead classes"
    unit = ""
    better = "lower"
    decimals = 1
    meaning = "classes with a recall below a tenth of chance, 1/(10 C)"
    bounds = (0.0, None)

    def measure(self, predictions: Predictions) -> float:
        """Return the count, of the classes that the split has."""
        return float((predictions.recalls < DEAD / predictions.classes).sum())
