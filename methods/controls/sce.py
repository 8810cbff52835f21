"""Symmetric cross-entropy: cross-entropy, and the same with labels and predictions swapped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lnlbench.api import Batch, Method, UsageError, functional


class SCE(Method):
    """Symmetric cross-entropy (Wang et al., 2019): α · CE + β · RCE.

    Reverse cross-entropy (RCE) is −Σ_k p_k log y_k with log 0 := A. For a one-hot label it is
    −A (1 − p_y), the mean absolute error up to a factor, and so bounded: it is the robust part, and
    cross-entropy makes it converge.

    Costs 3 forward units per sample and epoch.

    Deviations from the published code: it clips probabilities at 1e-7, which adds a constant to a class
    that has hardly any and takes its gradient; here nothing is clipped, because the closed form needs no
    logarithm.

    Source: Wang, Ma, Chen, Luo, Yi & Bailey, Symmetric Cross Entropy for Robust Learning with Noisy
    Labels, ICCV 2019.
    """

    title = "SCE"
    paper = "Wang et al. (2019)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of SCE.

        Attributes
        ----------
        alpha : float
            Weight of cross-entropy. Default 0.1; 6 on CIFAR-100. Source: their experiments, 0.1 on
            CIFAR-10.
        beta : float
            Weight of reverse cross-entropy. Default 1; 0.1 on CIFAR-100. Source: their experiments, 1 on
            CIFAR-10.
        log_zero : float
            A, what log 0 is taken for. Default -9.21034. Source: their code, log 1e-4; the paper has
            -4.
        """

        alpha: float = 0.1
        beta: float = 1.0
        log_zero: float = math.log(1e-4)

        def __post_init__(self) -> None:
            if self.alpha < 0.0 or self.beta < 0.0 or self.alpha + self.beta == 0.0 or self.log_zero >= 0.0:
                raise UsageError(
                    f"SCE has alpha = {self.alpha:g}, beta = {self.beta:g} and log_zero = {self.log_zero:g}.",
                    "alpha and beta must not be negative, nor both 0; log_zero must be negative.",
                )

    dataset_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cifar100": {"alpha": 6.0, "beta": 0.1}}

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean of −α log p_y − β A (1 − p_y)."""
        log_p = -functional.cross_entropy(self.network(batch.inputs), batch.labels, reduction="none")
        # 1 − p_y as −expm1(log p_y): exact where p_y is close to one.
        reverse = self.params.log_zero * torch.expm1(log_p)
        loss: torch.Tensor = (self.params.beta * reverse - self.params.alpha * log_p).mean()
        return loss

    @staticmethod
    def head_losses(heads: Method.Heads, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the same of several heads, ``[K]``."""
        log_p = heads.log_probabilities(logits, batch.labels)
        reverse = heads.param("log_zero") * torch.expm1(log_p)
        return (heads.param("beta") * reverse - heads.param("alpha") * log_p).mean(1)
