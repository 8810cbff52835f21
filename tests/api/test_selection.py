"""Purity, recall and ROC-AUC against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_problem import SmallProblem

from lnlbench.api.selection import Selection, measure_selection
from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.errors import PluginError


def test_a_small_case_by_hand():
    given_labels = np.array([0, 0, 0, 1, 1, 1])
    clean = np.array([0, 0, 1, 1, 1, 0])
    # Selected: two right and one wrong of class 0, one right of class 1.
    selected = torch.tensor([True, True, True, True, False, False])
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    found = measure_selection(Selection(selected, score), given_labels, clean, 2)
    assert found["size"] == 4
    assert found["purity"] == 75.0
    assert found["recall"] == 75.0
    # Right: 0.9, 0.8, 0.6, 0.5; wrong: 0.7, 0.4. Two of the eight pairs are the wrong way round.
    assert found["auc"] == 6 / 8
    assert found["per_class"] == {"size": [3, 1], "purity": [200 / 3, 100.0], "recall": [100.0, 50.0]}


def test_nothing_selected_has_no_purity():
    found = measure_selection(
        Selection(torch.zeros(3, dtype=torch.bool)), np.array([0, 1, 1]), np.array([0, 1, 0]), 2
    )
    assert (found["size"], found["purity"], found["recall"], found["auc"]) == (0, None, 0.0, None)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, 1)), min_size=1, max_size=40))
def test_auc_is_the_share_of_ordered_pairs(samples):
    given_labels = np.array([s[0] for s in samples])
    clean = np.array([s[1] for s in samples])
    score = np.array([s[2] for s in samples])
    selection = Selection(torch.from_numpy(score > 0.5), torch.from_numpy(score))
    found = measure_selection(selection, given_labels, clean, 3)
    right, wrong = score[given_labels == clean], score[given_labels != clean]
    if not len(right) or not len(wrong):
        assert found["auc"] is None
    else:
        pairs = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
        assert np.isclose(found["auc"], np.mean(pairs))


def test_without_the_truth_sizes_scores_and_changes_are_kept():
    given_labels = np.array([0, 0, 1, 1, 1])
    selection = Selection(
        torch.tensor([True, False, True, True, False]),
        torch.tensor([0.0, 4.0, 1.0, 3.0, 2.0]),
        torch.tensor([0, 1, 1, 1, 0]),
    )
    found = measure_selection(selection, given_labels, None, 2)
    assert found == {
        "size": 3,
        "score": [0.0, 1.0, 2.0, 3.0, 4.0],
        "changed": 40.0,
        "per_class": {"size": [1, 2]},
    }


def test_corrected_labels_are_compared_with_the_true_ones():
    given_labels, clean = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    selection = Selection(torch.ones(4, dtype=torch.bool), None, torch.tensor([0, 1, 1, 1]))
    found = measure_selection(selection, given_labels, clean, 2)
    assert (found["changed"], found["corrected"], found["score"]) == (25.0, 75.0, None)
    assert "corrected" not in measure_selection(Selection(selection.selected), given_labels, clean, 2)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(torch.ones(3, dtype=torch.bool)), r"selected of shape \[3\]; it must be \[48\]"),
        (Selection(torch.ones(48, dtype=torch.bool), torch.zeros(48, 1)), r"score of shape \[48, 1\]"),
        (
            Selection(torch.ones(48, dtype=torch.bool), torch.full((48,), math.nan)),
            "scores that are not finite",
        ),
        (
            Selection(torch.ones(48, dtype=torch.bool), None, torch.full((48,), 3)),
            r"labels that are not in 0 … 2",
        ),
    ],
)
def test_what_is_no_selection_is_refused_where_it_is_published(selection, message):
    with pytest.raises(PluginError, match=message):
        SmallProblem().phase("lp", 1).publish(selection)


def test_finding_wrong_labels_by_hand():
    given_labels, clean = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 0])
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    found = measure_selection(Selection(torch.ones(6, dtype=torch.bool), score), given_labels, clean, 2)
    # From the lowest score: wrong at places 1 and 4, so precisions 1 and 2/4; of two flagged, one is wrong.
    assert found["ap"] == pytest.approx((1 + 2 / 4) / 2)
    assert found["fnr"] == 50.0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=2, max_size=30))
def test_missed_labels_are_the_mean_over_orders_of_equal_scores(samples):
    wrong = np.array([s[0] for s in samples])
    score = np.array([float(s[1]) for s in samples])
    found = measure_selection(
        Selection(torch.ones(len(wrong), dtype=torch.bool), torch.from_numpy(score)),
        wrong.astype(np.int64),
        np.zeros(len(wrong), dtype=np.int64),
        2,
    )
    if not wrong.any() or wrong.all():
        assert found["fnr"] is None
        assert found["ap"] is None
        return
    flagged, missed = int(wrong.sum()), 0.0
    # Each sample is flagged with the chance that it is among the first in a random order of ties.
    for s, w in zip(score, wrong, strict=True):
        below, tied = (score < s).sum(), (score == s).sum()
        missed += w * (1 - np.clip((flagged - below) / tied, 0, 1))
    assert found["fnr"] == pytest.approx(100 * missed / flagged)


def test_where_the_truth_of_some_is_unknown_the_others_count():
    """Equal to the case of the known samples alone; a label known to be wrong is wrong for every class."""
    given_labels = np.array([0, 0, 1, 1, 1, 0])
    clean = np.array([0, UNKNOWN, 1, WRONG, 0, UNKNOWN])
    selected = torch.tensor([True, True, False, True, False, True])
    score = torch.tensor([0.9, 0.8, 0.3, 0.6, 0.2, 0.1])
    labels = torch.tensor([0, 1, 1, 0, 0, 0])
    found = measure_selection(Selection(selected, score, labels), given_labels, clean, 2)
    assert found["size"] == 4
    assert found["per_class"]["size"] == [3, 1]
    assert (found["purity"], found["recall"]) == (50.0, 50.0)  # of samples 0, 2, 3 and 4
    assert found["auc"] == 0.75  # (0.9, 0.3) above (0.6, 0.2): three of four pairs
    assert found["per_class"]["purity"] == [100.0, 0.0]
    assert found["corrected"] == 75.0  # samples 0, 2 and 4
    assert found["changed"] == pytest.approx(100 * 3 / 6)
