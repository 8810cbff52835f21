"""What noise did, with all, some or none of the truth known."""

import numpy as np
import pytest

from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.noise import NoiseReport, real_labels

GIVEN = np.array([0, 0, 1, 1, 2, 2, 2, 0])


def test_real_labels_with_their_truth():
    clean = np.array([0, 1, 1, 1, 2, 0, 0, 2])
    found = real_labels(GIVEN, clean, 3)
    assert np.array_equal(found.labels, GIVEN)
    assert found.report.realised_rate == 0.5
    assert found.report.transitions == [[1, 0, 2], [1, 2, 0], [1, 0, 1]]
    assert found.report.per_class == pytest.approx([2 / 3, 1 / 3, 1 / 2])
    assert found.report.flows(2) == [(0, 2, 2), (1, 0, 1)]


def test_with_the_truth_of_a_part_the_rates_are_those_of_the_part():
    clean = np.array([0, UNKNOWN, 1, UNKNOWN, 2, 0, UNKNOWN, 2])
    part = clean != UNKNOWN
    found, of_part = real_labels(GIVEN, clean, 3).report, NoiseReport.of(clean[part], GIVEN[part], 3)
    assert (found.realised_rate, found.transitions) == (0.4, of_part.transitions)
    assert found.entropy == NoiseReport.of(None, GIVEN, 3).entropy  # the prior is that of all
    assert found.labels_sha256 == NoiseReport.of(None, GIVEN, 3).labels_sha256


def test_labels_that_are_only_said_to_be_wrong_have_a_rate_and_no_flow():
    clean = np.where(np.arange(8) < 2, WRONG, GIVEN)
    report = real_labels(GIVEN, clean, 3).report
    assert (report.realised_rate, report.transitions, report.per_class) == (0.25, [], [])


def test_without_truth_there_is_no_rate():
    for clean in (None, np.full(8, UNKNOWN)):
        report = real_labels(GIVEN, clean, 3).report
        assert report.realised_rate is None
        assert report.transitions == []
