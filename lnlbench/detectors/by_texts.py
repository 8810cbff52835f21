"""Detectors by texts: what a model of images and texts says of labels, which it never learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression

from lnlbench.components.mixture import MixtureSettings, class_posteriors
from lnlbench.detectors.evidence import ROWS, Detection, Evidence, FloatArray, IntArray, best_other
from lnlbench.errors import UsageError
from lnlbench.models.text.class_texts import ClassTexts

# As scikit-learn's GaussianMixture has them.
DEFAULTS = MixtureSettings(max_iter=100, tol=1e-3, reg_covar=1e-6)


def zero_shot(evidence: Evidence, *, temperature: float = 0.01) -> Detection:
    """Flag a sample that is more like the texts of another class than like those of its label.

    The score is the probability of the given label, a softmax over classes of the similarity to the mean of
    each one's texts, over ``temperature``. Nothing in it depends on labels, so that it cannot confirm them.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (ICML,
    2021), section 3.1; that it judges labels is ours.

    Parameters
    ----------
    evidence : Evidence
        With features and texts.
    temperature : float
        Default 0.01, that of CLIP.
    """
    features, texts = sides(evidence)
    pieces = [
        texts.logits(features[start : start + ROWS], temperature).softmax(1).cpu().numpy()
        for start in range(0, len(features), ROWS)
    ]
    probabilities = np.concatenate(pieces)
    given = evidence.of_given(probabilities)
    other, top = best_other(probabilities, evidence.labels)
    return Detection(given.clip(0.0, 1.0), flags := top > given, np.where(flags, other, evidence.labels))


def clipcleaner(
    evidence: Evidence, *, temperature: float = 0.07, theta_gmm: float = 0.5, theta_cons: float = 0.8
) -> Detection:
    """Keep a sample that texts and a linear classifier both take for what it is called, by two rules each.

    P is the probability of each class by :func:`prompt_probabilities`, or by a balanced logistic
    regression on the projected features, fitted and read off on the same samples. A sample is kept if
    for both P: of the two Gaussians of its class's log P(given label), scaled to [0, 1], the posterior
    of the higher one is at least ``theta_gmm``; and P(given label) / max P is at least ``theta_cons``. The
    score is the least of the four, each stretched so that its threshold is 0.5; the suggestion is by
    texts.

    Deviations from the authors' code: prompts are the data set's templates, not eight attributes of each
    class that a language model wrote; the mixtures start from the best split of the sorted values, not from
    a random k-means. The score is ours.

    Source: Feng, Tzimiropoulos & Patras, CLIPCleaner: Cleaning Noisy Labels with CLIP (ACM Multimedia,
    2024), section 3, and its code.

    Parameters
    ----------
    evidence : Evidence
        With features and texts.
    temperature : float
        Default 0.07.
    theta_gmm, theta_cons : float
        Defaults 0.5 and 0.8.
    """
    return four_rules(evidence, prompt_probabilities(evidence, temperature), theta_gmm, theta_cons)


def four_rules(
    evidence: Evidence, by_texts: FloatArray, theta_gmm: float = 0.5, theta_cons: float = 0.8
) -> Detection:
    """Return what :func:`clipcleaner` says, where the probabilities by texts are known.

    Parameters
    ----------
    evidence : Evidence
        With features and texts.
    by_texts : ndarray, float64 ``[N, C]``
        Of each class, by :func:`prompt_probabilities`.
    theta_gmm, theta_cons : float
        Defaults 0.5 and 0.8.
    """
    score = np.ones(len(evidence.labels))
    for probabilities in (by_texts, balanced_regression(evidence)):
        given = evidence.of_given(probabilities)
        losses = _scaled_by_class(-np.log(given.clip(min=1e-300)), evidence.labels, evidence.classes)
        posterior = class_posteriors(losses, evidence.labels, evidence.classes, DEFAULTS).probability
        consistency = given / probabilities.max(axis=1)
        score = np.minimum(score, _stretched(posterior, theta_gmm))
        score = np.minimum(score, _stretched(consistency, theta_cons))
    flags = score < 0.5
    other, _ = best_other(by_texts, evidence.labels)
    return Detection(score, flags, np.where(flags, other, evidence.labels))


def prompt_probabilities(evidence: Evidence, temperature: float) -> FloatArray:
    """Return P(c) ∝ Σ_k exp(similarity to prompt k of class c / temperature), float64 ``[N, C]``."""
    features, texts = sides(evidence)
    rows = max(ROWS // texts.embeddings.shape[1], 1)
    pieces = []
    for start in range(0, len(features), rows):
        similar = texts.similarities(features[start : start + rows]).double()
        pieces.append((similar / temperature).logsumexp(2).softmax(1).cpu().numpy())
    return np.concatenate(pieces)


def balanced_regression(evidence: Evidence) -> FloatArray:
    """Return the probabilities of a logistic regression in which all classes weigh the same, in-sample.

    On the features as texts see them, projected and of length one. A class without samples has none.

    Returns
    -------
    ndarray, float64 ``[N, C]``
    """
    features, texts = sides(evidence)
    starts = range(0, len(features), ROWS)
    pieces = [texts.projected(features[start : start + ROWS]).cpu() for start in starts]
    embedded: npt.NDArray[Any] = torch.cat(pieces).numpy()
    found = np.zeros((len(embedded), evidence.classes))
    present = np.unique(evidence.labels)
    if len(present) == 1:
        found[:, present] = 1.0
        return found
    model = LogisticRegression(class_weight="balanced", max_iter=10_000).fit(embedded, evidence.labels)
    found[:, present] = model.predict_proba(embedded)
    return found


def sides(evidence: Evidence) -> tuple[torch.Tensor, ClassTexts]:
    """Return the features and texts of evidence, or say that they lack."""
    if evidence.features is None or evidence.texts is None:
        raise UsageError(
            "This detector compares images with texts, and has no texts.",
            "Use CLIP's features: the backbone clip_vit_b, say.",
        )
    return evidence.features, evidence.texts


def _scaled_by_class(values: FloatArray, labels: IntArray, classes: int) -> FloatArray:
    """Return values min–max scaled to [0, 1] in each class; constant ones become 0."""
    low, high = np.full(classes, np.inf), np.full(classes, -np.inf)
    np.minimum.at(low, labels, values)
    np.maximum.at(high, labels, values)
    spread = np.where(high > low, high - low, 1.0)
    scaled: FloatArray = (values - low[labels]) / spread[labels]
    return scaled


def _stretched(values: FloatArray, threshold: float) -> FloatArray:
    """Return values in [0, 1] such that those from the threshold on are from 0.5 on."""
    above = 0.5 + 0.5 * (values - threshold) / max(1.0 - threshold, 1e-12)
    stretched: FloatArray = np.where(values >= threshold, above, 0.5 * values / max(threshold, 1e-12))
    return stretched.clip(0.0, 1.0)
