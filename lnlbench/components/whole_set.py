"""Predictions for the whole training set, on which selections are made."""

from __future__ import annotations

import torch

from lnlbench.api import Network, Phase
from lnlbench.errors import TrialError


def whole_set_logits(phase: Phase, network: Network) -> torch.Tensor:
    """Return the un-augmented logits of all samples, float64 ``[N, C]``, on the CPU.

    Raises
    ------
    TrialError
        If some are not finite: a split cannot be made of them.
    """
    logits = phase.logits(network).double().cpu()
    if not logits.isfinite().all():
        raise TrialError(
            f"The logits of some training samples are not finite in epoch {phase.epoch + 1} "
            f"of the {phase.kind} phase.",
            f"Lower {phase.kind}.lr (now {phase.spec.lr:g}).",
        )
    return logits
