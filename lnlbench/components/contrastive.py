"""The NT-Xent contrastive loss and the projection that it compares."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def projection_head(feature_dim: int, size: int, seed: int) -> nn.Sequential:
    """Return one linear layer and batch normalisation, ``feature_dim`` → ``size``.

    Parameters
    ----------
    feature_dim, size : int
    seed : int
        Of the initial weights; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(feature_dim, size), nn.BatchNorm1d(size))


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1).

    Each of the 2B projections has to find its partner among the 2B − 1 others by cosine
    similarity; the mean over all of them is returned. A batch of one has nothing to tell
    apart, and costs 0.

    Parameters
    ----------
    first, second : torch.Tensor, ``[B, D]``
        Projections of two views of the same samples, not yet normalised.
    temperature : float
    """
    rows = len(first)
    projections = functional.normalize(torch.cat((first, second)), dim=1)
    similarity = projections @ projections.T / temperature
    similarity = similarity.masked_fill(
        torch.eye(2 * rows, dtype=torch.bool, device=similarity.device), -torch.inf
    )
    partner = torch.arange(2 * rows, device=similarity.device).roll(rows)
    return functional.cross_entropy(similarity, partner)
