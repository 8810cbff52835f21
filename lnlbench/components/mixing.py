"""Mixup: convex combinations of samples and of their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lnlbench.models.transport import to_device


@dataclass(frozen=True, slots=True)
class Mixup:
    """One draw of mixup: every row is mixed with a partner, all with the same coefficient.

    Attributes
    ----------
    coefficient : float
        λ' = max(λ, 1 − λ) in [0.5, 1], so that a mixed row stays closer to its own row than
        to its partner's (Berthelot et al. 2019, MixMatch).
    partners : torch.Tensor, int64 ``[B]``
        A permutation of the rows, on the CPU.
    """

    coefficient: float
    partners: torch.Tensor

    @classmethod
    def draw(cls, rows: int, alpha: float, generator: torch.Generator) -> Mixup:
        """Draw λ from Beta(α, α) and a permutation of ``rows`` rows.

        Parameters
        ----------
        rows : int
        alpha : float
            0 means no mixing (λ' = 1).
        generator : torch.Generator
            On the CPU; it is advanced.
        """
        coefficient = 1.0
        if alpha > 0.0:
            # torch's Beta distribution takes no generator.
            seed = int(torch.randint(2**62, (), generator=generator))
            drawn = float(np.random.default_rng(seed).beta(alpha, alpha))
            coefficient = max(drawn, 1.0 - drawn)
        return cls(coefficient, torch.randperm(rows, generator=generator))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return λ' · values + (1 − λ') · values[partners], for ``values`` of shape ``[B, …]``."""
        partners = values[to_device(self.partners, values.device)]
        return self.coefficient * values + (1.0 - self.coefficient) * partners
