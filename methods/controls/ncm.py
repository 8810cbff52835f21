"""Nearest class mean: what good features give without any training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import Phase, Task, functional
from lnlbench.components.training_free import TrainingFree

ROWS = 4096  # samples whose features are summed at a time


class NCM(TrainingFree):
    """Nearest class mean (Mensink et al., 2013): the class whose mean feature is the nearest one.

    A control: nothing is trained, and a mean over many samples forgives random wrong labels. Every
    epoch after the first repeats its result, so one is enough.

    Costs 1 forward unit per sample, once, for the features; none where they are cached.

    Deviations from the paper: distances are Euclidean, without its learned metric; features are scaled
    to length one first, unless ``normalised`` is off; a class without samples is never predicted.

    Source: Mensink, Verbeek, Perronnin & Csurka, Distance-Based Image Classification: Generalizing to
    New Classes at Near-Zero Cost, IEEE TPAMI 2013, section 3.1.
    """

    declines = "the nearest class mean trains nothing; run ncm in lp"
    title = "Class mean"
    paper = "Mensink et al. (2013)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of the nearest class mean.

        Attributes
        ----------
        normalised : bool
            Scale features to length one before means and distances. Default True. Source: ours, as for
            the other methods that compare features.
        """

        normalised: bool = True

    def setup(self, task: Task) -> None:
        """Make the network, whose head is not used; means come with the first epoch."""
        super().setup(task)
        self.means: torch.Tensor | None = None

    def epoch(self, phase: Phase) -> None:
        """Take the mean feature of every class, once."""
        if self.means is None:
            self.means = self.class_means(self.prepared(phase.features(self.network)), phase)

    def class_means(self, features: torch.Tensor, phase: Phase) -> torch.Tensor:
        """Return the mean of each class of given label, float64 ``[C, d]``; not finite for an empty one."""
        counts = phase.labels.bincount(minlength=phase.classes)
        if empty := int((counts == 0).sum()):
            phase.count("class_without_samples", empty)
        sums = torch.zeros(phase.classes, features.shape[1], dtype=torch.float64, device=features.device)
        labels = phase.labels.to(features.device)
        # Products with one-hot labels add in a fixed order on every device, which index_add_ does not.
        for start in range(0, len(features), ROWS):
            members = functional.one_hot(labels[start : start + ROWS], phase.classes).double()
            sums += members.T @ features[start : start + ROWS].double()
        return sums / counts.to(sums)[:, None]

    def prepared(self, features: torch.Tensor) -> torch.Tensor:
        """Return features as distances are taken of them."""
        return functional.normalize(features, dim=1) if self.params.normalised else features

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the negative squared distance to each mean, up to what all classes share."""
        assert self.means is not None  # made by the first epoch
        features = self.prepared(self.network.features(inputs)).double()
        logits = 2.0 * features @ self.means.T - self.means.square().sum(1)
        return logits.nan_to_num(nan=torch.finfo(logits.dtype).min)
