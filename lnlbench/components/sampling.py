"""Which samples an epoch goes through: positions for :meth:`lnlbench.api.Phase.batches`."""

from __future__ import annotations

import torch


def balanced_index(
    labels: torch.Tensor, generator: torch.Generator, per_class: int | None = None
) -> torch.Tensor:
    """Draw equally many samples of every label that occurs.

    Parameters
    ----------
    labels : torch.Tensor, int64 ``[N]``
    generator : torch.Generator
        ``phase.generator``; it is advanced.
    per_class : int, optional
        How many of each. Default: as many as the most frequent label has, so that every sample is in it
        and those of rarer labels are repeated. No sample is repeated before all of its label have come.

    Returns
    -------
    torch.Tensor, int64 ``[classes that occur · per_class]``
        In the order of the labels; ``phase.batches`` shuffles it.
    """
    counts = labels.bincount()
    wanted = int(counts.max()) if per_class is None else per_class
    drawn = []
    for label in counts.nonzero().flatten():
        members = (labels == label).nonzero().flatten()
        rounds = -(-wanted // len(members))
        orders = [torch.randperm(len(members), generator=generator) for _ in range(rounds)]
        drawn.append(members[torch.cat(orders)[:wanted]])
    return torch.cat(drawn)
