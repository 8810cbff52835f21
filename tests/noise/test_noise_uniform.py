"""Symmetric and asymmetric noise: exact counts, and what they may never do."""

import hashlib
from fractions import Fraction
from math import ceil, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlbench.basics.seeding import numpy_stream
from lnlbench.data.known.cifar import CIFAR10, cifar10_map
from lnlbench.noise import corrupt
from lnlbench.noise.uniform import asymmetric, corrupted_count, draw_samples, symmetric
from lnlbench.spec import NoiseSpec

COVERS = ("noise:symmetric", "noise:asymmetric")


def run(spec, clean, classes, seed=0, dataset="d", **kwargs):
    return corrupt(spec, clean, classes, dataset=dataset, seed=seed, **kwargs)


def balanced(classes, per_class):
    return np.tile(np.arange(classes), per_class)


@given(hundredths=st.integers(0, 100), samples=st.integers(1, 100_000))
def test_count_is_the_exact_ceiling(hundredths, samples):
    assert corrupted_count(hundredths / 100, samples) == -(-hundredths * samples // 100)


def test_count_has_no_floating_point_error():
    assert ceil(0.07 * 100) == 8  # what the guard is for
    assert corrupted_count(0.07, 100) == 7
    assert corrupted_count(0.6, 50_000) == 30_000
    assert corrupted_count(1e-5, 50_000) == 1


@given(hundredths=st.integers(0, 100), samples=st.integers(1, 500), seed=st.integers(0, 3))
def test_drawn_samples_are_different(hundredths, samples, seed):
    drawn = draw_samples(hundredths / 100, samples, np.random.default_rng(seed))
    assert len(np.unique(drawn)) == len(drawn) == ceil(Fraction(hundredths, 100) * samples)


@pytest.mark.parametrize(
    ("classes", "rate", "expected"),
    [(10, 0.6, 0.54), (10, 0.9, 0.81), (100, 0.6, 0.594), (100, 0.9, 0.891)],
)
def test_inclusive_realises_the_rate_less_the_lucky_draws(classes, rate, expected):
    clean = balanced(classes, 50_000 // classes)
    report = run(NoiseSpec("symmetric", rate), clean, classes).report
    drawn = round(rate * 50_000)
    spread = sqrt(drawn * (1 / classes) * (1 - 1 / classes)) / 50_000
    assert abs(report.realised_rate - expected) < 4 * spread
    assert report.realised_rate <= rate


@given(
    classes=st.integers(2, 6),
    hundredths=st.integers(0, 100),
    samples=st.integers(6, 200),
    seed=st.integers(0, 3),
)
def test_exclusive_changes_exactly_the_count(classes, hundredths, samples, seed):
    clean = np.arange(samples) % classes
    noisy = symmetric(clean, classes, hundredths / 100, "exclusive", np.random.default_rng(seed))
    assert (noisy != clean).sum() == -(-hundredths * samples // 100)
    assert noisy.min() >= 0
    assert noisy.max() < classes


@pytest.mark.parametrize(("variant", "targets"), [("inclusive", 5), ("exclusive", 4)])
def test_symmetric_labels_are_uniform(variant, targets):
    clean = balanced(5, 8_000)
    counts = np.array(run(NoiseSpec("symmetric", 1.0, (("variant", variant),)), clean, 5).report.transitions)
    diagonal = np.eye(5, dtype=bool)
    expected = 8_000 / targets
    assert (np.abs(counts[~diagonal] - expected) < 5 * sqrt(expected)).all()
    if variant == "exclusive":
        assert (counts[diagonal] == 0).all()
    else:
        assert (np.abs(counts[diagonal] - expected) < 5 * sqrt(expected)).all()


def test_symmetric_against_a_straight_line_reference():
    clean = balanced(4, 5)
    stream = np.random.default_rng(7)
    order = list(stream.permutation(20))[:8]
    drawn = list(stream.integers(4, size=8))
    expected = clean.tolist()
    for index, label in zip(order, drawn, strict=True):
        expected[index] = int(label)
    assert symmetric(clean, 4, 0.4, "inclusive", np.random.default_rng(7)).tolist() == expected


def test_asymmetric_decides_on_clean_labels():
    clean = balanced(10, 1_000)
    noisy = asymmetric(clean, np.array(cifar10_map()), 1.0, np.random.default_rng(0))
    airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck = range(10)
    for old, new in {truck: automobile, bird: airplane, deer: horse, cat: dog, dog: cat}.items():
        assert (noisy[clean == old] == new).all()  # cat and dog are exchanged, not chained
    for kept in (airplane, automobile, frog, horse, ship):
        assert (noisy[clean == kept] == kept).all()


def test_asymmetric_can_draw_each_sample_for_itself():
    clean = np.arange(50_000) % 10
    options = (("count", "independent"),)
    first, second = (run(NoiseSpec("asymmetric", 0.4, options), clean, 10, seed=seed) for seed in (0, 1))
    assert set(np.unique(first.labels - clean)) == {-9, 0, 1}  # the next class, circular
    # Binomial(50,000, 0.4): a standard deviation of 0.0022, and never the same number twice.
    for noisy in (first, second):
        assert abs(noisy.report.realised_rate - 0.4) < 5 * 0.0022
    assert first.report.realised_rate != second.report.realised_rate
    assert run(NoiseSpec("asymmetric", 0.4), clean, 10).report.realised_rate == 0.4


def test_asymmetric_draws_what_it_drew_before_count_was_an_option():
    clean = np.arange(20) % 4
    settings = {"map": "next"}  # all that seeded the draws
    chosen = numpy_stream("corruption", "d", "asymmetric", 0.25, settings, 7, "train").permutation(20)[:5]
    expected = clean.copy()
    expected[chosen] = (clean[chosen] + 1) % 4
    for options in ((), (("count", "exact"),)):
        noisy = run(NoiseSpec("asymmetric", 0.25, options), clean, 4, seed=7)
        assert np.array_equal(noisy.labels, expected)


def test_asymmetric_realises_half_the_rate_on_cifar10_and_all_of_it_on_a_cycle():
    clean = balanced(10, 5_000)
    half = run(NoiseSpec("asymmetric", 0.4), clean, 10, maps=CIFAR10.maps).report
    # 20,000 samples are drawn without replacement, of which half are of classes that change.
    spread = sqrt(20_000 * 0.5 * 0.5 * (30_000 / 49_999)) / 50_000
    assert abs(half.realised_rate - 0.2) < 4 * spread
    assert [rate > 0 for rate in half.per_class] == [new != old for old, new in enumerate(cifar10_map())]
    assert run(NoiseSpec("asymmetric", 0.4), clean, 10).report.realised_rate == 0.4


def test_a_map_written_in_three_ways_is_the_same_noise():
    clean = balanced(3, 50)
    ways = ((1, 1, 2), ((0, 1),), {"0": 1})
    labels = [run(NoiseSpec("asymmetric", 0.5, (("map", way),)), clean, 3).labels for way in ways]
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], labels[2])
    assert set(labels[0][clean == 0]) == {0, 1}
    assert np.array_equal(labels[0][clean != 0], clean[clean != 0])


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_corruption_depends_on_data_set_noise_and_seed_only(kind):
    clean = balanced(10, 100)
    base = run(NoiseSpec(kind, 0.4), clean, 10).labels
    assert np.array_equal(base, run(NoiseSpec(kind, 0.4), clean, 10).labels)
    others = [
        run(NoiseSpec(kind, 0.4), clean, 10, seed=1),
        run(NoiseSpec(kind, 0.4), clean, 10, dataset="e"),
        run(NoiseSpec(kind, 0.41), clean, 10),
        run(NoiseSpec(kind, 0.4), clean, 10, part="validation"),
    ]
    assert all(not np.array_equal(base, other.labels) for other in others)


def test_a_default_written_out_is_the_same_noise():
    clean = balanced(10, 100)
    written = run(NoiseSpec("symmetric", 0.4, (("variant", "inclusive"),)), clean, 10)
    assert np.array_equal(run(NoiseSpec("symmetric", 0.4), clean, 10).labels, written.labels)


def test_the_flips_of_two_seeds_are_independent():
    clean = balanced(10, 2_000)
    flips = [run(NoiseSpec("symmetric", 0.5), clean, 10, seed=seed).labels != clean for seed in (0, 1)]
    assert abs(np.corrcoef(*flips)[0, 1]) < 4 / sqrt(20_000)


def test_clean_labels_are_left_alone():
    clean = balanced(10, 10)
    before = clean.copy()
    for kind in ("symmetric", "asymmetric", "none", "real"):
        noisy = run(NoiseSpec(kind, 0.5 if kind.endswith("symmetric") else 0.0), clean, 10)
        noisy.labels[:] = 0
        assert np.array_equal(clean, before)


def test_none_and_real_keep_the_labels():
    clean = np.array([0, 0, 0, 1])
    none = run(NoiseSpec("none"), clean, 2)
    assert np.array_equal(none.labels, clean)
    assert none.report.to_dict() == {
        "realised_rate": 0.0,
        "per_class": [0.0, 0.0],
        "transitions": [[3, 0], [0, 1]],
        "entropy": pytest.approx(-0.75 * log(0.75) - 0.25 * log(0.25)),
        "largest_class_share": 0.75,
        "labels_sha256": hashlib.sha256(clean.astype("<i8").tobytes()).hexdigest(),
    }
    real = run(NoiseSpec("real"), clean, 2)
    assert np.array_equal(real.labels, clean)
    assert (real.report.realised_rate, real.report.transitions) == (None, [])
    assert real.report.largest_class_share == 0.75


def test_report_of_a_known_corruption():
    clean = np.array([0, 0, 0, 0, 1, 1, 2])
    target = np.array([1, 1, 0])
    noisy = asymmetric(clean, target, 1.0, np.random.default_rng(0))
    report = run(NoiseSpec("asymmetric", 1.0, (("map", (1, 1, 0)),)), clean, 3).report
    assert noisy.tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert report.transitions == [[0, 4, 0], [0, 2, 0], [1, 0, 0]]
    assert report.per_class == [1.0, 0.0, 1.0]
    assert report.realised_rate == pytest.approx(5 / 7)
    assert report.largest_class_share == pytest.approx(6 / 7)
