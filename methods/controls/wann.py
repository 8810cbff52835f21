"""Weighted adaptive nearest neighbours: votes that count what the neighbours' own neighbours say."""

from __future__ import annotations

import torch

from lnlbench.api import Phase, Selection, Task
from lnlbench.components.training_free import NeighbourVotes
from lnlbench.detectors.evidence import Evidence
from lnlbench.detectors.neighbours import nearest_of
from lnlbench.detectors.votes import neighbourhood_sizes

FURTHEST = 51  # of the neighbourhoods that vote


class WANN(NeighbourVotes):
    """Weighted adaptive nearest neighbours (Di Salvo et al., 2025).

    The neighbourhood size k* of a training sample is the smallest odd k in 11 … 49 for which no label is
    more frequent among its k nearest others than its own, else 51; its reliability is η = 1/k*. For a
    sample to predict, as many of the nearest training samples vote as k* of the nearest one says, each
    with its η. Nothing is trained, and every epoch after the first repeats its result.

    The published selection is the samples with k* below 51, with η as score.

    Costs 1 forward unit per sample, once, for the features; none where they are cached.

    Deviations from the published code: features are scaled to length one, so that Euclidean distances
    order as cosines do; of labels that are equally frequent a sample's own counts as the most frequent.
    Its linear dimensionality reduction is left out.

    Source: Di Salvo, Doerrich, Rieger & Ledig, An Embedding is Worth a Thousand Noisy Labels, TMLR 2025,
    section 3, and their code.
    """

    declines = "weighted neighbours train nothing; run wann in lp"
    title = "WANN"
    paper = "Di Salvo et al. (2025)"

    def setup(self, task: Task) -> None:
        """Make the network, whose head is not used; features come with the first epoch."""
        super().setup(task)
        self.sizes: torch.Tensor | None = None
        self.beyond = 0

    def epoch(self, phase: Phase) -> None:
        """Take the features of all samples and find their neighbourhood sizes, once."""
        super().epoch(phase)
        if self.sizes is None:
            evidence = Evidence(phase.labels.numpy(), phase.classes, features=self.bank)
            sizes, self.beyond = neighbourhood_sizes(evidence)
            self.sizes = torch.from_numpy(sizes).to(phase.device)
        known = self.sizes.cpu()
        phase.publish(Selection(known < self.beyond, 1.0 / known.double()))

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the sum of the reliabilities of those who vote, by their label, ``[B, C]``."""
        assert self.bank is not None  # made by the first epoch
        assert self.sizes is not None
        queries = self.queries(inputs)
        _, index = nearest_of(queries, self.bank, FURTHEST)
        sizes = self.sizes[index]
        rank = torch.arange(index.shape[1], device=index.device)
        return self.count((rank < sizes[:, :1]) / sizes.to(queries.dtype), index)
