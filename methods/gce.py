"""Generalized cross entropy: a loss between cross-entropy and mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lnlbench.api import Batch, Method, UsageError
from lnlbench.components.losses import generalized_cross_entropy


class GCE(Method):
    """Generalized cross entropy (Zhang & Sabuncu, 2018).

    The loss (1 − p_y^q)/q lies between cross-entropy and mean absolute error, and so trades
    the speed of the one for the robustness of the other.

    Costs 3 forward units per sample and epoch.

    Deviations from the paper: none without truncation. With it, samples are left out by their
    prediction at that step, where theirs alternates between training and updates of sample weights
    that then stay for some epochs.

    Source: Zhang & Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with
    Noisy Labels, NeurIPS 2018, equation 6.
    """

    title = "GCE"
    paper = "Zhang and Sabuncu (2018)"
    distributed = True

    @dataclass(frozen=True)
    class Params:
        """Parameters of GCE.

        Attributes
        ----------
        q : float
            Between cross-entropy (0) and mean absolute error (1). Default 0.7. Source: their
            section 4.
        truncation : float
            Samples with p_y not above it give no gradient. Default 0: none. Source: the TURN paper;
            theirs has 0.5 in the truncated variant.
        """

        q: float = 0.7
        truncation: float = 0.0

        def __post_init__(self) -> None:
            if not 0.0 < self.q <= 1.0 or not 0.0 <= self.truncation < 1.0:
                raise UsageError(
                    f"GCE has q = {self.q:g} and truncation = {self.truncation:g}.",
                    "q must lie in (0, 1], truncation in [0, 1).",
                )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean of (1 − p_y^q)/q."""
        logits = self.network(batch.inputs)
        return generalized_cross_entropy(logits, batch.labels, self.params.q, self.params.truncation)

    @staticmethod
    def head_losses(heads: Method.Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the same of several heads, ``[K]``."""
        log_p, q, k = (
            heads.log_probabilities(logits, batch.labels),
            heads.param("q"),
            heads.param("truncation"),
        )
        losses = -torch.expm1(q * log_p) / q
        # Without truncation (k = 0) a probability that has underflowed keeps its gradient.
        taken = (log_p.exp() > k) | (k == 0.0)
        return torch.where(taken, losses, (1.0 - k**q) / q).mean(1)
