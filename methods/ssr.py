"""Sample selection and relabelling: trust what sure predictions and neighbours agree on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from lnlbench.api import (
    Method,
    Passes,
    Phase,
    Preset,
    Selection,
    Skip,
    Task,
    TrialSpec,
    UsageError,
    Views,
    functional,
    has_images,
)
from lnlbench.components.mixing import Mixup
from lnlbench.components.sampling import balanced_index
from lnlbench.components.soft_labels import soft_cross_entropy
from lnlbench.detectors.neighbours import nearest_of

QUERIES = 4096  # samples whose neighbours are sought at a time
VOTES = 10**7  # votes that are counted at a time


class SSR(Method):
    """Sample selection and relabelling (Feng et al., 2022).

    Before each epoch a sample whose largest probability exceeds θ_r takes that class as its label. Then
    the k nearest samples by cosine of features, itself among them, vote with these labels, each class's votes
    divided by its frequency; a sample is kept if its label has at least θ_s of the largest vote. Training is
    mixup of two strong views of the kept, drawn equally often from every label.

    On a frozen backbone neighbours stay the same, and are sought once; labels go on changing.

    Costs 7 forward units per sample and epoch: 1 to judge and 3 for each of two views.

    Deviations from the published code: without its optional consistency of features (SSR+); samples are
    judged on images as they are, not on a weak view; if nothing is kept everything is, which an event
    counts.

    Source: Feng, Tzimiropoulos & Patras, SSR: An Efficient and Robust Framework for Learning with Unknown
    Label Noise, BMVC 2022, and their code.
    """

    title = "SSR"
    paper = "Feng et al. (2022)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of SSR.

        Attributes
        ----------
        theta_r : float
            Probability above which a prediction becomes the label. Default 0.9. Source: their code.
        theta_s : float
            Share of the largest vote that a kept sample's label has. Default 1. Source: their code.
        k : int
            Samples that vote. Default 200. Source: their code.
        alpha : float
            Both parameters of mixup's Beta distribution. Default 4. Source: their code.
        """

        theta_r: float = 0.9
        theta_s: float = 1.0
        k: int = 200
        alpha: float = 4.0

        def __post_init__(self) -> None:
            if not (0.0 < self.theta_r <= 1.0 and 0.0 <= self.theta_s <= 1.0):
                raise UsageError(
                    f"SSR has theta_r = {self.theta_r:g} and theta_s = {self.theta_s:g}.",
                    "theta_r must lie in (0, 1], theta_s in [0, 1].",
                )
            if self.k < 1 or self.alpha < 0.0:
                raise UsageError(
                    f"SSR has k = {self.k} and alpha = {self.alpha:g}.",
                    "k must be at least 1, alpha must not be negative.",
                )

    views = Views(strong=2)
    presets: ClassVar[Mapping[str, Preset]] = {
        "hard-noise": Preset(
            {"theta_r": 0.8}, "Feng et al. (2022): settings with much noise", noise_aware=True
        ),
    }
    unsaved = ("near",)  # found anew

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        """Decline features without images: there are no views of them."""
        if has_images(spec):
            return None
        return Skip("needs augmented views, and a data set of features has none")

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return one pass to judge and two views to train on, an epoch."""
        passes = []
        probed = False  # the first features of the next phase are then at hand
        for phase in spec.phases:
            passes.append(Passes(forward=phase.epochs - probed, trained=2 * phase.epochs))
            probed = phase.kind == "lp" and phase.cache
        return tuple(passes)

    def setup(self, task: Task) -> None:
        """Make the network; labels are as given."""
        super().setup(task)
        self.labels = task.labels.clone()
        self.near: np.ndarray | None = None

    def begin_phase(self, phase: Phase) -> None:
        """Make the optimiser; neighbours of an earlier phase hold no longer."""
        super().begin_phase(phase)
        self.near = None

    def epoch(self, phase: Phase) -> None:
        """Relabel, select, and train on the selected for as many steps as all samples would take."""
        kept = self.select(phase).nonzero().squeeze(1)
        index = kept[balanced_index(self.labels[kept], phase.generator)]
        batches = phase.endless(index, strong=2)
        for _ in range(math.ceil(phase.samples / phase.spec.batch_size)):
            batch = next(batches)
            first, second = batch.strong
            mix = Mixup.draw(2 * len(batch), self.params.alpha, phase.generator)
            logits = self.network(mix(torch.cat([first, second])))
            labels = self.labels[batch.index].to(logits.device)
            targets = functional.one_hot(labels, phase.classes).to(logits).repeat(2, 1)
            phase.step(self.optimizer, soft_cross_entropy(logits, mix(targets)))

    def select(self, phase: Phase) -> torch.Tensor:
        """Relabel by sure predictions, then return which samples their neighbours confirm, bool ``[N]``."""
        features = phase.features(self.network)
        with torch.no_grad():
            sure, predicted = (part.cpu() for part in self.network.head(features).softmax(1).max(1))
        self.labels = torch.where(sure > self.params.theta_r, predicted, phase.labels)
        if self.near is None or not self.network.frozen:
            self.near = neighbours(features, self.params.k)
        score = torch.from_numpy(agreement(self.near, self.labels.numpy(), phase.classes))
        kept: torch.Tensor = score >= self.params.theta_s
        if not kept.any():
            phase.count("nothing_kept")
            kept = torch.ones_like(kept)
        phase.publish(Selection(kept, score, self.labels))
        return kept


def neighbours(features: torch.Tensor, k: int) -> np.ndarray:
    """Return the k nearest of N samples for each of them, itself included, int32 ``[N, k]``."""
    unit = functional.normalize(features, dim=1)
    pieces = [
        nearest_of(unit[start : start + QUERIES], unit, k)[1].to(torch.int32).cpu()
        for start in range(0, len(unit), QUERIES)
    ]
    return torch.cat(pieces).numpy()


def agreement(near: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the vote for each sample's label as a share of its largest vote, float64 ``[N]``.

    Votes for a class are divided by the number of samples with its label.

    Parameters
    ----------
    near : ndarray, int ``[N, k]``
        Who votes.
    labels : ndarray, int64 ``[N]``
    classes : int
    """
    sizes = np.maximum(np.bincount(labels, minlength=classes), 1)
    share = np.empty(len(labels))
    rows = max(VOTES // near.shape[1], 1)
    for start in range(0, len(labels), rows):
        own = labels[start : start + rows]
        cells = np.arange(len(own))[:, None] * classes + labels[near[start : start + rows]]
        votes = np.bincount(cells.ravel(), minlength=len(own) * classes).reshape(len(own), classes) / sizes
        share[start : start + rows] = votes[np.arange(len(own)), own] / votes.max(axis=1)
    return share
