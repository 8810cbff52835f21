"""Votes of the nearest training samples: what good features give without any training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import UsageError
from lnlbench.components.training_free import NeighbourVotes
from lnlbench.detectors.neighbours import nearest_of


class KNN(NeighbourVotes):
    """A vote of the k nearest training samples, weighted by similarity.

    A control: nothing is trained, and a vote forgives random wrong labels. Every epoch after the first
    repeats its result, so one is enough. The weights are those of SimiFeat's vote, which judges labels,
    and which here predicts: a sample to predict has no label that could take part.

    Costs 1 forward unit per sample, once, for the features; none where they are cached.

    Deviations from SimiFeat: one round on the images as they are, not 21 on random crops; k others vote,
    not k − 1 and the sample itself; negative similarities count as none.

    Source: Zhu, Dong & Liu, Detecting Corrupted Labels Without Training a Model to Predict, ICML 2022,
    section 4.1.
    """

    declines = "a vote of neighbours trains nothing; run knn in lp"
    title = "kNN"
    paper = "Zhu et al. (2022)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of the vote.

        Attributes
        ----------
        k : int
            How many samples vote. Default 10. Source: their experiments.
        """

        k: int = 10

        def __post_init__(self) -> None:
            if self.k < 1:
                raise UsageError(f"kNN has k = {self.k}.", "At least one sample must vote.")

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the sum of the similarities of the k nearest samples, by their label, ``[B, C]``."""
        assert self.bank is not None  # made by the first epoch
        similarity, index = nearest_of(self.queries(inputs), self.bank, self.params.k)
        return self.count(similarity.clamp_min(0.0), index)
