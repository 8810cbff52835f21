"""Instance-dependent noise against formulas and a straight-line reference."""

from math import erf, exp, pi, sqrt

import numpy as np
import pytest
import torch

from lnlbench.data.arrays import ArrayImages
from lnlbench.data.known.digits import Digits
from lnlbench.data.source import Images, Split
from lnlbench.errors import NoiseError
from lnlbench.noise import corrupt, raw_inputs
from lnlbench.noise import instance_inputs as inputs_module
from lnlbench.noise.instance import flip_rates, instance, target_probabilities
from lnlbench.noise.instance_inputs import chunks, standardised
from lnlbench.spec import DatasetSpec, NoiseSpec

COVERS = ("noise:instance",)
DIGITS = Digits().load(DatasetSpec("digits"), None).train


def truncated_mean(rate, std):
    """Mean of Normal(rate, std) truncated to [0, 1], in closed form."""
    low, high = (0 - rate) / std, (1 - rate) / std
    mass = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2
    return rate + std * (exp(-(low**2) / 2) - exp(-(high**2) / 2)) / sqrt(2 * pi) / mass


def noise(rate=0.4, seed=0, labels=DIGITS.labels, classes=10, inputs=None, part="train", **options):
    return corrupt(
        NoiseSpec("instance", rate, tuple(options.items())),
        labels,
        classes,
        dataset="digits",
        seed=seed,
        inputs=inputs or raw_inputs(DIGITS),
        part=part,
    )


@pytest.mark.parametrize(("rate", "std"), [(0.4, 0.1), (0.9, 0.1), (0.0, 0.1), (1.0, 0.1), (0.5, 1.0)])
def test_flip_rates_are_truncated_normal(rate, std):
    rates = flip_rates(rate, std, 40_000, np.random.default_rng(0))
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert abs(rates.mean() - truncated_mean(rate, std)) < 4 * min(std, 0.3) / sqrt(40_000)


def test_flip_rates_without_spread_are_the_rate():
    assert flip_rates(0.3, 0.0, 5, np.random.default_rng(0)).tolist() == [0.3] * 5


def test_target_probabilities_against_a_loop():
    scores = np.random.default_rng(0).normal(scale=3, size=(50, 6))
    true = np.arange(50) % 6
    for row, label, got in zip(scores, true, target_probabilities(scores, true), strict=True):
        weights = [0.0 if j == label else exp(row[j]) for j in range(6)]
        assert got == pytest.approx([weight / sum(weights) for weight in weights], abs=1e-12)
        assert got[label] == 0.0


def test_target_probabilities_stay_finite_at_the_scores_of_raw_pixels():
    got = target_probabilities(np.array([[9e4, -9e4, 1e4], [0.0, 1e5, 1e5]]), np.array([0, 0]))
    assert got.tolist() == [[0.0, 0.0, 1.0], [0.0, 0.5, 0.5]]


@pytest.mark.parametrize("shared", [True, False])
def test_targets_follow_the_published_distribution(shared):
    """For three inputs, many times each, label frequencies are those of the published procedure."""
    kinds, repeats, classes = 3, 20_000, 4
    rng = np.random.default_rng(3)
    values = rng.normal(size=(kinds, 5))
    matrices = {None: rng.normal(size=(5, classes))} | {
        number: rng.normal(size=(5, classes)) for number in range(classes)
    }
    kind = np.tile(np.arange(kinds), repeats)
    clean = kind.copy()  # input k is of class k
    noisy = instance(
        clean,
        classes,
        0.4,
        shared=shared,
        standardise=False,
        std=0.1,
        inputs=lambda index: values[kind[index]],
        projection=lambda owner, length: matrices[owner],
        stream=np.random.default_rng(0),
    )
    for k in range(kinds):
        # Xia et al., Cheng et al.: q · softmax(x W with the true class at −∞), and 1 − q for the true class.
        scores = [
            sum(values[k, d] * matrices[None if shared else k][d, j] for d in range(5)) for j in range(4)
        ]
        weights = [0.0 if j == k else exp(scores[j]) for j in range(4)]
        flip = truncated_mean(0.4, 0.1)
        expected = np.array([flip * weight / sum(weights) for weight in weights])
        expected[k] = 1 - flip
        seen = np.bincount(noisy[clean == k], minlength=4) / repeats
        assert (np.abs(seen - expected) < 4 * np.sqrt(expected * (1 - expected) / repeats) + 1e-9).all()


@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_realised_rate_is_the_mean_flip_rate(rate):
    expected = truncated_mean(rate, 0.1)
    spread = sqrt(expected * (1 - expected) / len(DIGITS))
    assert abs(noise(rate).report.realised_rate - expected) < 4 * spread


def test_a_flip_never_returns_the_true_class():
    assert noise(1.0, std=0.0).report.realised_rate == 1.0
    assert noise(1.0, std=0.0, W="per_class").report.realised_rate == 1.0


def test_raw_pixels_concentrate_the_flips_and_standardised_ones_do_not():
    share = {}
    for kind in ("uint8", "standardised"):
        noisy = noise(0.6, input=kind)
        flipped = np.bincount(noisy.labels[noisy.labels != DIGITS.labels], minlength=10)
        share[kind] = np.sort(flipped)[-3:].sum() / flipped.sum()
    assert share["uint8"] > 0.85
    assert share["standardised"] < 0.6
    assert noise(0.6).report.entropy < noise(0.6, input="standardised").report.entropy


def test_options_change_the_noise_and_seeds_too():
    base = noise().labels
    assert np.array_equal(base, noise().labels)
    assert np.array_equal(base, noise(W="shared", input="uint8", std=0.1).labels)
    for other in (noise(seed=1), noise(W="per_class"), noise(input="standardised"), noise(std=0.2)):
        assert not np.array_equal(base, other.labels)


@pytest.mark.parametrize("options", [{}, {"W": "per_class"}, {"input": "standardised"}])
def test_the_size_of_pieces_does_not_matter(monkeypatch, options):
    whole = noise(**options).labels
    monkeypatch.setattr(inputs_module, "_CHUNK_VALUES", 192 * 100)
    assert np.array_equal(whole, noise(**options).labels)


def test_a_validation_split_uses_the_same_projection_with_its_own_draws():
    """With raw pixels the target of a flip is nearly fixed by the input, so both parts agree on it."""
    train, validation = noise(0.9).labels, noise(0.9, part="validation").labels
    flipped = (train != DIGITS.labels) & (validation != DIGITS.labels)
    assert (train != validation).any()
    assert (train[flipped] == validation[flipped]).mean() > 0.95


def test_standardised_inputs_have_mean_0_and_deviation_1(monkeypatch):
    monkeypatch.setattr(inputs_module, "_CHUNK_VALUES", 40)
    values = np.random.default_rng(0).normal(1e6, 3.0, (101, 4))
    values[:, 2] = 7.0
    got = standardised(lambda index: values[index], 101)(np.arange(101))
    expected = (values - values.mean(axis=0)) / values.std(axis=0).clip(1e-300)
    assert got[:, [0, 1, 3]] == pytest.approx(expected[:, [0, 1, 3]], abs=1e-7)
    assert (got[:, 2] == 0).all()


def test_pieces_cover_the_index_once(monkeypatch):
    monkeypatch.setattr(inputs_module, "_CHUNK_VALUES", 10)
    values = np.arange(33).reshape(11, 3)
    index = np.array([4, 1, 9, 10, 0, 3, 7])
    parts = list(chunks(lambda i: values[i], index))
    assert [len(part) for part, _ in parts] == [3, 3, 1]
    assert np.array_equal(np.concatenate([rows for _, rows in parts]), values[index])
    assert list(chunks(lambda i: values[i], np.array([], dtype=int))) == []


def test_raw_inputs_are_pixels_or_features():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
    split = Split(ArrayImages(pixels), None, np.arange(4))
    assert raw_inputs(split)(np.array([2, 0])).tolist() == [
        pixels[i].transpose(2, 0, 1).reshape(-1).tolist() for i in (2, 0)
    ]
    features = torch.arange(8.0).reshape(4, 2)
    assert raw_inputs(Split(None, features, np.arange(4)))(np.array([3])).tolist() == [[6.0, 7.0]]


def test_images_of_different_sizes_are_refused():
    class Mixed(Images):
        size = None

        def __len__(self):
            return 2

        def take(self, index):
            return [torch.zeros(3, 2 + int(i), 2, dtype=torch.uint8) for i in index]

    with pytest.raises(NoiseError, match="images of one size"):
        raw_inputs(Split(Mixed(), None, np.array([0, 1])))


def test_inputs_must_be_given():
    with pytest.raises(NoiseError, match="needs the inputs"):
        corrupt(NoiseSpec("instance", 0.4), np.arange(3), 3, dataset="d", seed=0)
