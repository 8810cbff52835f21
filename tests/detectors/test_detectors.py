"""Detectors against cleanlab, scikit-learn and formulas written out, and what holds of all of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from toy_texts import toy_contexts

from lnlbench.basics.seeding import derive_seed
from lnlbench.components.mixture import DIVIDEMIX, clean_posterior
from lnlbench.detectors.consensus import fit_consensus
from lnlbench.detectors.detect import BY_TEXTS, DETECTORS, detect
from lnlbench.detectors.evidence import Evidence
from lnlbench.detectors.probabilities import ConfidentJoint
from lnlbench.errors import UsageError
from lnlbench.models.text.class_texts import ClassTexts

COVERS = ("detectors",)


def clusters(samples=400, classes=4, wrong=0.2, seed=0, spread=0.35):
    """Features in clusters, true labels, and labels of which a known share went wrong."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, samples)
    centres = np.eye(classes, 8) + 0.2
    features = centres[true] + spread * generator.normal(size=(samples, 8))
    flip = generator.permutation(samples) < wrong * samples
    labels = np.where(flip, (true + generator.integers(1, classes, samples)) % classes, true)
    return torch.from_numpy(features).float(), true, labels


def texts_like(centres, temperature=0.01):
    """Texts of classes, two each, that are like images around ``centres``."""
    centres = torch.as_tensor(centres).float()
    wobble = 0.05 * torch.randn(len(centres), 2, centres.shape[1], generator=torch.Generator().manual_seed(0))
    embeddings = torch.nn.functional.normalize(centres[:, None] + wobble, dim=2)
    contexts = toy_contexts(torch.nn.functional.normalize(centres, dim=1))
    return ClassTexts(embeddings, torch.eye(centres.shape[1]), temperature, contexts)


TEXTS = texts_like(np.eye(4, 8) + 0.2)  # of clusters()


def soft(samples=300, classes=5, seed=0):
    """Probabilities, and labels that follow them with errors."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.4), samples).astype(np.float32)
    labels = np.array([generator.choice(classes, p=row / row.sum()) for row in probabilities.astype(float)])
    return probabilities, labels


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_finds_wrong_labels_and_keeps_its_word(name):
    features, true, labels = clusters()
    found = detect(name, Evidence(labels, 4, features=features, texts=TEXTS))
    wrong = labels != true
    assert roc_auc_score(wrong, -found.score) > 0.9
    assert found.score.dtype == np.float64
    assert found.score.min() >= 0.0
    assert found.score.max() <= 1.0
    assert np.array_equal(found.flags, found.suggested != labels)
    # Of 20 %; four rules that all have to agree flag right labels, too.
    assert wrong[found.flags].mean() > (0.5 if name == "clipcleaner" else 0.6)
    assert (found.suggested == true)[found.flags & wrong].mean() > 0.8
    if found.rate is not None:
        assert abs(found.rate - 0.2) < 0.1
    again = detect(name, Evidence(labels, 4, features=features, texts=TEXTS))
    assert np.array_equal(found.score, again.score)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(DETECTORS)), st.integers(3, 40), st.integers(2, 6))
def test_any_evidence_gives_scores_of_its_samples(seed, name, samples, classes):
    generator = np.random.default_rng(seed)
    features = torch.from_numpy(generator.normal(size=(samples, 3))).float()
    features[: seed % 3] = features[-1]  # twins
    labels = generator.integers(0, classes, samples)  # of which some classes may have none
    texts = texts_like(generator.normal(size=(classes, 3)))
    found = detect(name, Evidence(labels, classes, features=features, texts=texts))
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert np.array_equal(found.flags, found.suggested != labels)
    assert ((found.suggested >= 0) & (found.suggested < classes)).all()
    assert found.rate is None or 0.0 <= found.rate <= 1.0


def test_detectors_do_not_mind_the_order_of_samples():
    features, _, labels = clusters()
    probabilities = soft(400, 4)[0]
    order = np.random.default_rng(1).permutation(400)
    evidence = Evidence(labels, 4, features, probabilities, texts=TEXTS)
    shuffled = Evidence(labels[order], 4, features[order], probabilities[order], texts=TEXTS)
    # A mixture and batches draw samples by number, and a regression stops somewhere near its end.
    for name in DETECTORS.keys() - {"small_loss", "clipcleaner", "deft"}:
        found, other = detect(name, evidence), detect(name, shuffled)
        np.testing.assert_allclose(found.score[order], other.score, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_confident_learning_is_that_of_cleanlab(seed):
    pytest.importorskip("cleanlab")
    from cleanlab.count import compute_confident_joint, estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    probabilities, labels = soft(seed=seed)
    if seed == 3:
        labels = labels.clip(max=3)  # nobody is given class 4
    found = detect("confident", Evidence(labels, 5, probabilities=probabilities))
    issues = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    assert 0 < issues.sum() < len(labels)
    assert np.array_equal(found.flags, issues)
    np.testing.assert_allclose(found.score, get_label_quality_scores(labels, probabilities), atol=1e-7)
    counts = compute_confident_joint(labels, probabilities, calibrate=False)
    assert np.array_equal(ConfidentJoint.of(probabilities, labels, 5).counts, counts)
    # Theirs rounds the scaled counts to whole samples.
    assert found.rate == pytest.approx(1 - np.trace(estimate_joint(labels, probabilities)), abs=5 / 300)


def test_confident_learning_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.75, 0.25], [0.55, 0.45]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # Thresholds: (.9 + .7 + .2)/3 = .6 and (.9 + .25 + .45)/3 = .5333. Sample 5 reaches neither.
    found = detect("confident", Evidence(labels, 2, probabilities=probabilities))
    assert found.flags.tolist() == [False, False, True, False, True, False]
    assert found.suggested.tolist() == [0, 0, 1, 1, 0, 1]
    # Class 0: one of three confident ones; class 1: one of two.
    assert found.rate == pytest.approx(1 - (2 / 3 * 3 + 1 / 2 * 3) / 6)


def test_knn_vote_by_hand():
    angles = np.deg2rad([0, 10, 25, 120, 170])
    features = torch.from_numpy(np.column_stack([np.cos(angles), np.sin(angles)])).float()
    labels = np.array([0, 1, 1, 2, 2])
    found = detect("knn", Evidence(labels, 3, features=features), k=3)
    near, far = np.cos(angles[1]), np.cos(angles[2])
    own = 2 * near - far
    assert found.score[0] == pytest.approx(own / np.hypot(own, near + far), abs=1e-6)
    assert found.flags[0]
    assert found.suggested[0] == 1
    # Sample 2: itself and sample 1 are of its label, sample 0 is not.
    first, second = np.cos(angles[2] - angles[1]), far
    votes = np.hypot(2 * first - second + first, second)
    assert found.score[2] == pytest.approx((3 * first - second) / votes, abs=1e-6)
    assert not found.flags[2]


def test_simifeat_flags_the_share_of_each_class_that_hoc_says():
    features, _, labels = clusters(600, wrong=0.3)
    evidence = Evidence(labels, 4, features=features)
    found, votes = detect("simifeat", evidence), detect("knn", evidence)
    hoc = fit_consensus(labels, evidence.neighbours, 4)
    for label in range(4):
        members = labels == label
        right = hoc.transition[label, label] * hoc.prior[label] / members.mean()
        assert found.flags[members].sum() == round((1 - right) * members.sum())
        # The worst by votes are flagged.
        assert votes.score[members & found.flags].max() <= votes.score[members & ~found.flags].min()
    assert found.score[found.flags].max() < 0.5 <= found.score[~found.flags].min()
    assert found.rate == pytest.approx(hoc.rate)


def test_wann_by_a_loop_over_neighbourhoods():
    features, _, labels = clusters(120, wrong=0.4, spread=0.6)
    cosines = torch.nn.functional.normalize(features, dim=1).double()
    order = (cosines @ cosines.T - 9 * torch.eye(120)).argsort(dim=1, descending=True).numpy()

    def size(sample):
        for k in range(11, 50, 2):
            votes = Counter(labels[order[sample, :k]].tolist())
            if votes[labels[sample]] == max(votes.values()):
                return k
        return 51

    sizes = np.array([size(sample) for sample in range(120)])
    found = detect("wann", Evidence(labels, 4, features=features))
    assert len(set(sizes)) > 5
    np.testing.assert_allclose(found.score, (1 / sizes - 1 / 51) / (1 / 11 - 1 / 51), atol=1e-12)
    assert np.array_equal(found.flags, sizes == 51)
    for sample in np.flatnonzero(found.flags):
        reach = min(sizes[order[sample, 0]], 49)
        weights = np.zeros(4)
        for other in order[sample, :reach]:
            weights[labels[other]] += 1 / sizes[other]
        weights[labels[sample]] = -1
        assert found.suggested[sample] == weights.argmax()


def test_small_loss_fits_each_class_alone():
    probabilities, labels = soft(seed=3)
    found = detect("small_loss", Evidence(labels, 5, probabilities=probabilities))
    losses = -np.log(probabilities[np.arange(300), labels].astype(float).clip(1e-12))
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    for label in range(5):
        members = labels == label
        drawn = derive_seed("small loss", 0, label) % 2**32
        expected = clean_posterior(scaled[members], DIVIDEMIX, drawn, make_monotone=True).probability
        np.testing.assert_allclose(found.score[members], expected, atol=1e-6)
    assert np.array_equal(found.flags, found.score <= 0.6)


@pytest.mark.parametrize("sharp", [False, True])
def test_agreement_by_the_formula(sharp):
    features, true, labels = clusters(80, classes=3)
    probabilities = soft(80, 3, seed=2)[0]
    if sharp:  # wrong samples reach no threshold of the class that they belong to
        probabilities = np.full((80, 3), 0.48)
        probabilities[labels == true] = 0.05
        probabilities[np.arange(80), labels] = np.where(labels == true, 0.9, 0.04)
    evidence = Evidence(labels, 3, features, probabilities)
    found = detect("agreement", evidence)
    near = evidence.neighbours
    votes = np.full((80, 3), 0.5)
    for sample in range(80):
        for other, cosine in zip(near.index[sample], near.similarity[sample], strict=True):
            votes[sample, labels[other]] += max(cosine, 0.0)
    opinion = probabilities * (votes / votes.sum(1, keepdims=True)) ** 0.5
    opinion /= opinion.sum(1, keepdims=True)
    adjusted = opinion / [opinion[labels == label, label].mean() for label in range(3)]
    adjusted /= (adjusted**2).sum(1, keepdims=True) ** 0.5
    np.testing.assert_allclose(found.score, adjusted[np.arange(80), labels], atol=1e-5)
    joint = ConfidentJoint.of(opinion, labels, 3)
    off = ((joint.confident >= 0) & (joint.confident != labels)).sum()
    count = max(off, (found.score < 0.15).sum())
    assert (off < count) == sharp
    assert 0 < count < 80
    assert found.rate == pytest.approx(count / 80)
    lowest = np.argsort(found.score, kind="stable")[:count]
    assert set(np.flatnonzero(found.flags)) == {i for i in lowest if adjusted[i].argmax() != labels[i]}


def test_agreement_takes_what_the_head_and_the_neighbours_both_know():
    features, true, labels = clusters(1500, wrong=0.3, spread=0.8, seed=5)
    evidence = Evidence(labels, 4, features=features)
    names = DETECTORS.keys() - BY_TEXTS
    scores = {name: roc_auc_score(labels != true, -detect(name, evidence).score) for name in names}
    assert max(scores, key=lambda name: scores[name]) == "agreement"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.array([0, 1, 2, 3])}, "from 0 to 3"),
        ({"labels": np.array([0, -1, 2, 1])}, "from -1 to 2"),
        ({"classes": 1, "labels": np.zeros(4, dtype=int)}, "4 samples of 1 classes"),
        ({"features": torch.zeros(3, 2)}, r"shape \[3, 2\]"),
        ({"features": None}, "features or probabilities"),
        ({"probabilities": np.zeros((4, 2))}, r"must be \[4, 3\]"),
        ({"probabilities": np.full((4, 3), np.nan)}, "from nan"),
        ({"probabilities": np.full((4, 3), 1.5)}, "to 1.5"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(change, words):
    good = {"labels": np.array([0, 1, 2, 0]), "classes": 3, "features": torch.zeros(4, 2)}
    with pytest.raises(UsageError, match=words):
        Evidence(**(good | change))


def test_a_detector_says_what_it_lacks():
    probabilities, labels = soft()
    with pytest.raises(UsageError, match="there are no features"):
        detect("knn", Evidence(labels, 5, probabilities=probabilities))
    for name in BY_TEXTS:
        with pytest.raises(UsageError, match="has no texts"):
            detect(name, Evidence(labels, 5, features=torch.zeros(300, 3)))
    with pytest.raises(UsageError, match=r"no detector 'knnn'.*knn"):
        detect("knnn", Evidence(labels, 5, probabilities=probabilities))
