"""Cross-entropy: the baseline that trusts every label."""

from __future__ import annotations

import torch

from lnlbench.api import Batch, Method, functional


class CE(Method):
    """Mean cross-entropy: trust every label.

    Costs 3 forward units per sample and epoch.

    No deviations known.

    Source: the baseline of every paper on noisy labels; "Vanilla" and "CE" in Ahn et al., TURN
    (arXiv, 2023).
    """

    title = "CE"
    distributed = True

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean of −log p_y."""
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    @staticmethod
    def head_losses(heads: Method.Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the same of several heads, ``[K]``."""
        return -heads.log_probabilities(logits, batch.labels).mean(1)
