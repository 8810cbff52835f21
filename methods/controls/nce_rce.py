"""Normalised and reverse cross-entropy: an active and a passive loss that are both bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lnlbench.api import Batch, Method, UsageError, functional


class NCERCE(Method):
    """Normalised with reverse cross-entropy (Ma et al., 2020): α · NCE + β · RCE.

    Normalised cross-entropy (NCE), log p_y / Σ_k log p_k, lies in [0, 1] and raises p_y alone
    ("active"); reverse cross-entropy (RCE), −A (1 − p_y) with A = log 1e-4, lowers the other classes as
    well ("passive"). Both are robust to symmetric noise, and together they learn more than either.

    Costs 3 forward units per sample and epoch.

    Deviations from the published code: it clips probabilities at 1e-7 in RCE, and here nothing is
    clipped; it bounds the norm of gradients by 5, here nothing bounds it.

    Source: Ma, Huang, Wang, Romano, Erfani & Bailey, Normalized Loss Functions for Deep Learning with
    Noisy Labels, ICML 2020, and their code.
    """

    title = "NCE+RCE"
    paper = "Ma et al. (2020)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of NCE+RCE.

        Attributes
        ----------
        alpha : float
            Weight of normalised cross-entropy. Default 1; 10 on CIFAR-100. Source: their code, 1 on
            CIFAR-10.
        beta : float
            Weight of reverse cross-entropy. Default 1; 0.1 on CIFAR-100. Source: their code, 1 on
            CIFAR-10.
        """

        alpha: float = 1.0
        beta: float = 1.0

        def __post_init__(self) -> None:
            if self.alpha < 0.0 or self.beta < 0.0 or self.alpha + self.beta == 0.0:
                raise UsageError(
                    f"NCE+RCE has alpha = {self.alpha:g} and beta = {self.beta:g}.",
                    "Neither must be negative, nor both 0.",
                )

    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cifar100": {"alpha": 10.0, "beta": 0.1}}

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean of α log p_y / Σ_k log p_k − β A (1 − p_y)."""
        log_p = functional.log_softmax(self.network(batch.inputs), dim=1)
        log_p_y = log_p.gather(1, batch.labels[:, None]).squeeze(1)
        # The sum is at most −C log C: no division by zero, however sure the network is.
        normalised, reverse = log_p_y / log_p.sum(1), LOG_ZERO * torch.expm1(log_p_y)
        loss: torch.Tensor = (self.params.alpha * normalised + self.params.beta * reverse).mean()
        return loss

    @staticmethod
    def head_losses(heads: Method.Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the same of several heads, ``[K]``."""
        log_p_y = heads.log_probabilities(logits, batch.labels)
        normalised = log_p_y / functional.log_softmax(logits, dim=2).sum(2)
        reverse = LOG_ZERO * torch.expm1(log_p_y)
        return (heads.param("alpha") * normalised + heads.param("beta") * reverse).mean(1)


LOG_ZERO = math.log(1e-4)  # A: what reverse cross-entropy takes log 0 for (their code)
