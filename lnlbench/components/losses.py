"""Losses with closed-form gradients, stable where a softmax saturates."""

from __future__ import annotations

import torch
from torch.nn import functional


def generalized_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, q: float, k: float = 0.0
) -> torch.Tensor:
    """Return the mean of (1 − p_y^q)/q (Zhang & Sabuncu 2018, equation 6).

    Computed as −expm1(q·log p_y)/q from the log-softmax: ``p ** q`` itself has a NaN gradient
    once p_y underflows, at logit margins above 104 in float32. The gradient with respect to
    the logits is p_y^q (p − onehot(y)).

    Parameters
    ----------
    logits : torch.Tensor, ``[B, C]``
    labels : torch.Tensor, int64 ``[B]``
    q : float
        In (0, 1]: towards 0 it is cross-entropy, at 1 the mean absolute error.
    k : float
        Truncation (their equation 10): samples with p_y ≤ k cost the constant (1 − k^q)/q and give no
        gradient. Default 0, no truncation.
    """
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
    losses = -torch.expm1(q * log_p) / q
    if k > 0.0:
        losses = torch.where(log_p.exp() > k, losses, torch.full_like(losses, (1.0 - k**q) / q))
    return losses.mean()
