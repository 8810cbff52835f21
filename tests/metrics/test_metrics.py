"""The built-in metrics against scikit-learn and against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

from lnlbench.api import Predictions
from lnlbench.metrics.calibration_error import ExpectedCalibrationError
from lnlbench.metrics.f1 import MacroF1
from lnlbench.metrics.recalls import BalancedAccuracy, DeadClasses, WorstClassRecall


def predictions(
    labels: list[int], predicted: list[int], confidence: list[float] | None = None, classes: int = 4
) -> Predictions:
    sure = np.full(len(labels), 0.5) if confidence is None else np.array(confidence)
    rank = (np.array(labels) != np.array(predicted)).astype(np.int64)
    return Predictions(np.array(labels), np.array(predicted), sure, sure, rank, classes)


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(PAIRS)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label")
def test_they_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = map(list, zip(*pairs, strict=True))
    seen = predictions(labels, predicted)
    recalls = recall_score(labels, predicted, average=None, labels=sorted(set(labels)), zero_division=0)
    assert BalancedAccuracy().measure(seen) == pytest.approx(100 * balanced_accuracy_score(labels, predicted))
    assert WorstClassRecall().measure(seen) == pytest.approx(100 * min(recalls))
    assert MacroF1().measure(seen) == pytest.approx(100 * f1_score(labels, predicted, average="macro"))
    assert seen.accuracy == pytest.approx(100 * np.mean(np.equal(labels, predicted)))


def test_accuracy_hides_a_dead_class_and_the_others_show_it() -> None:
    labels = [0] * 90 + [1] * 10
    seen = predictions(labels, [0] * 100, classes=2)
    assert seen.accuracy == 90.0
    assert BalancedAccuracy().measure(seen) == 50.0
    assert WorstClassRecall().measure(seen) == 0.0
    assert DeadClasses().measure(seen) == 1.0


def test_a_class_is_dead_below_a_tenth_of_chance() -> None:
    # Of two classes the limit is 1/20: 1 of 20 right is alive, 1 of 21 dead.
    alive = predictions([0] * 20 + [1], [0] + [1] * 19 + [1], classes=2)
    dead = predictions([0] * 21 + [1], [0] + [1] * 20 + [1], classes=2)
    assert (DeadClasses().measure(alive), DeadClasses().measure(dead)) == (0.0, 1.0)


def test_classes_that_a_split_lacks_do_not_count() -> None:
    seen = predictions([0, 0, 1], [0, 0, 1], classes=100)
    assert BalancedAccuracy().measure(seen) == 100.0
    assert MacroF1().measure(seen) == 100.0
    assert DeadClasses().measure(seen) == 0.0


def test_calibration_error_by_hand() -> None:
    # Of 15 bins, 0.95 and 0.96 (one right) lie in the last, 0.5 (right) and 0.52 (wrong) in the 8th.
    seen = predictions([0, 0, 0, 0], [0, 1, 0, 1], [0.95, 0.96, 0.5, 0.52])
    expected = 0.5 * abs(0.955 - 0.5) + 0.5 * abs(0.51 - 0.5)
    assert ExpectedCalibrationError().measure(seen) == pytest.approx(100 * expected)


@given(PAIRS)
def test_certain_predictions_are_off_by_the_share_of_wrong_ones(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = map(list, zip(*pairs, strict=True))
    seen = predictions(labels, predicted, [1.0] * len(pairs))
    assert ExpectedCalibrationError().measure(seen) == pytest.approx(100 - seen.accuracy)
