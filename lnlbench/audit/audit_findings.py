"""What an audit finds: each detector's opinion, their agreement, and how good they are if truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from lnlbench.audit.subject import Subject
from lnlbench.data.dataset import Index, Labels
from lnlbench.detectors.detect import BY_TEXTS, DETECTORS, SLOW, detect
from lnlbench.detectors.evidence import Detection, Evidence
from lnlbench.models.text.class_texts import ClassTexts

AGREEMENT = "agreement"


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a score finds the labels that are wrong.

    Attributes
    ----------
    auroc : float
        Chance that a wrong label has a lower score than a right one.
    average_precision : float
    precision : float
        Share of wrong labels among as many as were estimated to be wrong, lowest scores first.
    """

    auroc: float
    average_precision: float
    precision: float


@dataclass(frozen=True, eq=False)
class Findings:
    """What several detectors say of one subject.

    Attributes
    ----------
    subject : Subject
    detections : mapping of str to Detection
        By detector.
    agreed : Detection
        What all together say; it decides who is suspected.
    """

    subject: Subject
    detections: Mapping[str, Detection]
    agreed: Detection

    @cached_property
    def votes(self) -> Labels:
        """How many detectors flag each sample, int64 ``[N]``."""
        votes: Labels = np.sum([found.flags for found in self.detections.values()], axis=0, dtype=np.int64)
        return votes

    @cached_property
    def suspects(self) -> Index:
        """Rows of the suspected samples, the most suspect first."""
        order = np.argsort(self.agreed.score, kind="stable")
        return order[self.agreed.flags[order]]

    @property
    def rate(self) -> float:
        """Estimated share of wrong labels."""
        return float(self.agreed.flags.mean()) if self.agreed.rate is None else self.agreed.rate

    @property
    def interval(self) -> tuple[float, float]:
        """From what all detectors flag to the most that one of them estimates or flags.

        No confidence interval: detectors look at the same features, and are wrong together where those
        tell two classes apart badly.
        """
        unanimous = float((self.votes == len(self.detections)).mean())
        shares = [float(found.flags.mean()) for found in self.detections.values()]
        rates = [found.rate for found in self.detections.values() if found.rate is not None]
        return min(unanimous, self.rate), max(self.rate, *shares, *rates)

    @cached_property
    def confusion(self) -> Labels:
        """Suspected samples by given class (row) and suggested class (column), int64 ``[C, C]``."""
        classes = len(self.subject.classes)
        cells = self.subject.labels[self.suspects] * classes + self.agreed.suggested[self.suspects]
        return np.bincount(cells, minlength=classes**2).reshape(classes, classes)

    @property
    def flows(self) -> list[tuple[int, int, int]]:
        """Given class, suggested class and number of suspects, most first."""
        pairs = [(int(g), int(s), int(self.confusion[g, s])) for g, s in np.argwhere(self.confusion)]
        return sorted(pairs, key=lambda pair: (-pair[2], pair))

    @cached_property
    def quality(self) -> dict[str, Quality]:
        """By detector, the agreement last; empty where truth is unknown, or all labels are right or wrong."""
        known, wrong = self.subject.known, self.subject.wrong
        if not 0 < wrong.sum() < len(wrong):
            return {}
        count = max(round(self.rate * len(wrong)), 1)

        def judge(found: Detection) -> Quality:
            score = found.score[known]
            lowest = np.argsort(score, kind="stable")[:count]
            return Quality(
                float(roc_auc_score(wrong, -score)),
                float(average_precision_score(wrong, -score)),
                float(wrong[lowest].mean()),
            )

        everyone = {**self.detections, AGREEMENT: self.agreed}
        return {name: judge(found) for name, found in everyone.items()}


def examine(
    subject: Subject,
    features: torch.Tensor,
    seed: int = 0,
    texts: ClassTexts | None = None,
    also: Sequence[str] = (),
) -> Findings:
    """Ask all detectors about a subject; those that need texts, if there are any, and slow ones if named.

    Parameters
    ----------
    subject : Subject
    features : torch.Tensor, float32 ``[N, d]``
    seed : int
        Of the folds.
    texts : ClassTexts, optional
        Of the model whose features these are.
    also : sequence of str
        Which of the slow detectors to ask.

    Raises
    ------
    UsageError
        If one of ``also`` needs texts, and there are none.
    """
    evidence = Evidence(subject.labels, len(subject.classes), features=features, seed=seed, texts=texts)
    usual = [name for name in DETECTORS if name not in SLOW and (texts is not None or name not in BY_TEXTS)]
    names = [*usual, *dict.fromkeys(also)]
    found = {name: detect(name, evidence) for name in names}
    return Findings(subject, found, found.pop(AGREEMENT))
