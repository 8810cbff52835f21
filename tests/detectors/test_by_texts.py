"""Detectors by texts, against formulas written out."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from test_detectors import TEXTS, clusters

from lnlbench.detectors.by_texts import (
    balanced_regression,
    clipcleaner,
    prompt_probabilities,
    zero_shot,
)
from lnlbench.detectors.evidence import Evidence
from lnlbench.models.text.class_texts import ClassTexts

COVERS = ("detectors", "clipcleaner")


def cosines(features):
    """Similarities of images to prompts, float64 ``[N, C, K]``, one at a time."""
    rows, prompts = features.double().numpy(), TEXTS.embeddings.double().numpy()
    return np.array(
        [[[x @ t / np.linalg.norm(x) / np.linalg.norm(t) for t in group] for group in prompts] for x in rows]
    )


def test_zero_shot_by_hand():
    features, _, labels = clusters(60, seed=2)
    found = zero_shot(Evidence(labels, 4, features=features, texts=TEXTS), temperature=0.2)
    means = TEXTS.embeddings.double().mean(1).numpy()
    rows = features.double().numpy()
    logits = np.array([[x @ m / np.linalg.norm(x) / np.linalg.norm(m) / 0.2 for m in means] for x in rows])
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.score, expected[np.arange(60), labels], rtol=1e-5)
    assert found.flags.tolist() == (expected.argmax(1) != labels).tolist()
    assert found.suggested.tolist() == expected.argmax(1).tolist()
    assert found.rate is None


def test_probabilities_are_summed_over_prompts():
    features, _, labels = clusters(30, seed=3)
    found = prompt_probabilities(Evidence(labels, 4, features=features, texts=TEXTS), 0.07)
    sums = np.exp(cosines(features) / 0.07).sum(2)
    np.testing.assert_allclose(found, sums / sums.sum(1, keepdims=True), rtol=1e-5)


def test_pieces_are_the_whole(monkeypatch):
    features, _, labels = clusters(30, seed=3)
    evidence = Evidence(labels, 4, features=features, texts=TEXTS)
    whole = prompt_probabilities(evidence, 0.07), zero_shot(evidence).score, balanced_regression(evidence)
    monkeypatch.setattr("lnlbench.detectors.by_texts.ROWS", 7)
    pieces = prompt_probabilities(evidence, 0.07), zero_shot(evidence).score, balanced_regression(evidence)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_the_regression_weighs_classes_alike_and_sees_what_texts_see():
    features, _, labels = clusters(120, seed=4)
    labels = np.where(labels == 3, 0, labels)  # nobody is given class 3
    projection = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    texts = ClassTexts(TEXTS.embeddings, projection, 0.01)
    found = balanced_regression(Evidence(labels, 4, features=features, texts=texts))
    rows = features.double().numpy() @ projection.double().numpy().T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = {label: 120 / (3 * (labels == label).sum()) for label in range(3)}
    expected = LogisticRegression(class_weight=weights, max_iter=10_000).fit(rows, labels).predict_proba(rows)
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-3)
    assert (found[:, 3] == 0).all()
    one = balanced_regression(Evidence(np.zeros(120, dtype=int), 4, features=features, texts=texts))
    assert one.tolist() == [[1.0, 0.0, 0.0, 0.0]] * 120


def test_clipcleaner_keeps_what_four_rules_keep():
    features, _, labels = clusters(400, wrong=0.3, spread=0.15, seed=6)
    found = clipcleaner(Evidence(labels, 4, features=features, texts=TEXTS))
    sums = np.exp(cosines(features) / 0.07).sum(2)
    rows = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    regression = LogisticRegression(class_weight="balanced", max_iter=10_000).fit(rows, labels)
    kept = np.ones(400, dtype=bool)
    for probabilities in (sums / sums.sum(1, keepdims=True), regression.predict_proba(rows)):
        given = probabilities[np.arange(400), labels]
        kept &= given / probabilities.max(1) >= 0.8
        for label in range(4):
            members = np.flatnonzero(labels == label)
            score = np.log(given[members])
            score = (score - score.min()) / (score.max() - score.min())
            mixture = GaussianMixture(2, random_state=0).fit(score[:, None])
            posterior = mixture.predict_proba(score[:, None])[:, mixture.means_.argmax()]
            kept[members] &= posterior >= 0.5
    assert 0.4 < kept.mean() < 0.8
    assert (~found.flags).tolist() == kept.tolist()
    assert ((found.score >= 0.5) == kept).all()


def test_thresholds_of_clipcleaner_are_its_parameters():
    features, _, labels = clusters(200, seed=7)
    evidence = Evidence(labels, 4, features=features, texts=TEXTS)
    assert not clipcleaner(evidence, theta_gmm=0.0, theta_cons=0.0).flags.any()
    lax, strict = clipcleaner(evidence, theta_cons=0.5), clipcleaner(evidence, theta_cons=0.99)
    assert lax.flags.sum() < strict.flags.sum()
    assert (strict.flags >= lax.flags).all()
