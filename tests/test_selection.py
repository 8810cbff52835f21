"""Purity, recall and ROC-AUC against their definitions."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.selection import Selection, measure_selection


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
