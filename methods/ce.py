"""Cross-entropy: the baseline that trusts every label."""

from __future__ import annotations

import torch

from lnlbench.api import Batch, Method, functional


class CE(Method):
    """Mean cross-entropy."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean of −log p_y."""
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
