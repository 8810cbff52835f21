"""The stratified validation split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.data.holdout import split_validation
from lnlbench.errors import DataError


def test_cifar_proportions_are_exact():
    labels = np.tile(np.arange(100), 500)
    train, validation = split_validation(labels, 0.05, dataset="cifar100", seed=0)
    assert len(train) == 47_500
    assert np.bincount(labels[validation]).tolist() == [25] * 100


def test_largest_remainders_decide():
    # 10 % of 7 + 8 + 15 is 3; quotas 0.7, 0.8, 1.5; floors 0, 0, 1; the largest remainders are 0.8 and 0.7.
    labels = np.repeat([0, 1, 2], [7, 8, 15])
    _, validation = split_validation(labels, 0.1, dataset="d", seed=0)
    assert np.bincount(labels[validation]).tolist() == [1, 1, 1]


def test_a_class_keeps_its_only_sample_while_another_can_give():
    # Quotas 0.9 and 17.1: the single sample has the largest remainder, but would be lost for training.
    labels = np.repeat([0, 1], [1, 19])
    train, _ = split_validation(labels, 0.9, dataset="d", seed=0)
    assert labels[train].tolist() == [0, 1]


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    percent=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_split_is_a_partition_of_the_exact_size(sizes, percent, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    expected = max(1, round(percent * len(labels) / 100))
    if expected >= len(labels):
        return
    train, validation = split_validation(labels, percent / 100, dataset="d", seed=seed)
    assert len(validation) == expected
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    shares = np.bincount(labels[validation], minlength=len(sizes)) - np.array(sizes) * expected / len(labels)
    # A class that keeps its only sample has another one give one more.
    assert (np.abs(shares) < 1 + sizes.count(1)).all()


def test_split_depends_on_data_set_and_seed_only():
    labels = np.repeat(np.arange(5), 40)
    first = split_validation(labels, 0.1, dataset="a", seed=0)[1]
    assert np.array_equal(first, split_validation(labels, 0.1, dataset="a", seed=0)[1])
    assert not np.array_equal(first, split_validation(labels, 0.1, dataset="a", seed=1)[1])
    assert not np.array_equal(first, split_validation(labels, 0.1, dataset="b", seed=0)[1])


def test_a_fraction_that_leaves_nothing_is_refused():
    with pytest.raises(DataError, match="leaves none of 3"):
        split_validation(np.array([0, 1, 1]), 0.9, dataset="d", seed=0)
