"""What a corruption did to the labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from lnlbench.basics.facts import NoiseFacts
from lnlbench.data.dataset import UNKNOWN, WRONG
from lnlbench.data.source import Labels


def labels_hash(labels: Labels) -> str:
    """Return the SHA-256, in hexadecimal, of labels as little-endian int64."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").data).hexdigest()


@dataclass(frozen=True)
class NoiseReport:
    """Realised noise.

    Attributes
    ----------
    realised_rate : float or None
        Share of labels that differ from the clean ones; None for ``real`` noise whose clean
        labels nobody knows.
    per_class : list of float
        The same by clean class, 0 for a class without samples; empty for ``real`` noise.
    transitions : list of list of int
        C × C counts: samples of clean class i (row) that are labelled j (column); empty for
        ``real`` noise.
    entropy : float
        Entropy of the noisy label prior in nats, log C if it is even.
    largest_class_share : float
        Share of the most frequent noisy label, 1 / C if the prior is even.
    labels_sha256 : str
        See :func:`labels_hash`: trials of the same noise and seed must agree in it.
    label : str
        What a noise file calls its noise; "" otherwise.
    """

    realised_rate: float | None
    per_class: list[float]
    transitions: list[list[int]]
    entropy: float
    largest_class_share: float
    labels_sha256: str
    label: str = ""

    @classmethod
    def of(cls, clean: Labels | None, noisy: Labels, classes: int, label: str = "") -> NoiseReport:
        """Compare noisy labels with clean ones, where these are known.

        With the truth of a part (see :data:`lnlbench.data.dataset.UNKNOWN`), all but the noisy prior is
        that of this part; of labels that are only said to be wrong nobody knows class and flow.
        """
        prior = np.bincount(noisy, minlength=classes) / len(noisy)
        positive = prior[prior > 0]
        entropy = float(-(positive * np.log(positive)).sum())
        largest = float(prior.max())
        known = None if clean is None else np.flatnonzero(clean != UNKNOWN)
        if clean is None or known is None or not len(known):
            return cls(None, [], [], entropy, largest, labels_hash(noisy), label)
        digest = labels_hash(noisy)
        clean, noisy = clean[known], noisy[known]
        rate = float((clean != noisy).mean())
        if clean.min() == WRONG:
            return cls(rate, [], [], entropy, largest, digest, label)
        counts = np.bincount(clean * classes + noisy, minlength=classes**2).reshape(classes, classes)
        sizes = counts.sum(axis=1)
        return cls(
            realised_rate=rate,
            per_class=((sizes - counts.diagonal()) / np.maximum(sizes, 1)).tolist(),
            transitions=counts.tolist(),
            entropy=entropy,
            largest_class_share=largest,
            labels_sha256=digest,
            label=label,
        )

    def flows(self, limit: int) -> list[tuple[int, int, int]]:
        """Return the largest flows between classes: true class, given label, samples; none that is empty."""
        pairs = [
            (true, given, count)
            for true, row in enumerate(self.transitions)
            for given, count in enumerate(row)
            if count and true != given
        ]
        return sorted(pairs, key=lambda flow: (-flow[2], flow[:2]))[:limit]

    def to_dict(self) -> NoiseFacts:
        """All fields as a JSON value; a label only where there is one."""
        facts: NoiseFacts = {
            "realised_rate": self.realised_rate,
            "per_class": self.per_class,
            "transitions": self.transitions,
            "entropy": self.entropy,
            "largest_class_share": self.largest_class_share,
            "labels_sha256": self.labels_sha256,
        }
        if self.label:
            facts["label"] = self.label
        return facts
