"""Targets that are distributions over classes, and losses on them, stable at saturation."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional


def mean_prediction(network: nn.Module, views: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the mean of a network's softmaxes over views, ``[B, C]``.

    Views of a single sample pass through together: batch normalisation has no variance of one row.

    Parameters
    ----------
    network : nn.Module
        From a view to logits ``[B, C]``.
    views : tuple of torch.Tensor
    """
    rows = len(views[0])
    if rows == 1:
        views = (torch.cat(views),)
    predictions = torch.cat([network(view).softmax(1) for view in views])
    return predictions.reshape(-1, rows, predictions.shape[1]).mean(0)


def sharpen(p: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return p^(1/T), normalised over the classes (Berthelot et al. 2019, equation 7).

    Parameters
    ----------
    p : torch.Tensor, ``[B, C]``
        Non-negative, with a positive sum.
    temperature : float
        T = 1 is the identity; T → 0 gives the one-hot vector of the largest p.
    """
    # Relative to the largest entry, which then survives any temperature.
    powers = (p / p.amax(1, keepdim=True)) ** (1.0 / temperature)
    return powers / powers.sum(1, keepdim=True)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over rows of −Σ_c t_c log p_c.

    Parameters
    ----------
    logits, targets : torch.Tensor, ``[B, C]``
    """
    return -(targets * functional.log_softmax(logits, dim=1)).sum(1).mean()


def negative_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean over rows of Σ_c p_c log p_c, a penalty on confidence."""
    log_p = functional.log_softmax(logits, dim=1)
    return (log_p.exp() * log_p).sum(1).mean()


def uniform_prior_divergence(logits: torch.Tensor) -> torch.Tensor:
    """Return KL(π ‖ p̄) of the uniform prior π from the mean prediction p̄ of a batch.

    log p̄ is taken as a log-sum-exp of log-probabilities: p̄ itself can underflow, and its
    logarithm would be infinite.

    Parameters
    ----------
    logits : torch.Tensor, ``[B, C]``
    """
    rows, classes = logits.shape
    log_mean = functional.log_softmax(logits, dim=1).logsumexp(0) - math.log(rows)
    return -math.log(classes) - log_mean.mean()
