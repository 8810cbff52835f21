"""What a corruption did to the labels."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

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
        Share of labels that differ from the clean ones; None for ``real`` noise, whose clean
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
    """

    realised_rate: float | None
    per_class: list[float]
    transitions: list[list[int]]
    entropy: float
    largest_class_share: float
    labels_sha256: str

    @classmethod
    def of(cls, clean: Labels | None, noisy: Labels, classes: int) -> NoiseReport:
        """Compare noisy labels with clean ones, if these are known."""
        prior = np.bincount(noisy, minlength=classes) / len(noisy)
        positive = prior[prior > 0]
        entropy = float(-(positive * np.log(positive)).sum())
        largest = float(prior.max())
        if clean is None:
            return cls(None, [], [], entropy, largest, labels_hash(noisy))
        counts = np.bincount(clean * classes + noisy, minlength=classes**2).reshape(classes, classes)
        sizes = counts.sum(axis=1)
        return cls(
            realised_rate=float((clean != noisy).mean()),
            per_class=((sizes - counts.diagonal()) / np.maximum(sizes, 1)).tolist(),
            transitions=counts.tolist(),
            entropy=entropy,
            largest_class_share=largest,
            labels_sha256=labels_hash(noisy),
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields as a JSON value."""
        return asdict(self)
