"""A method in a distribution of its own: all that it takes to add one to lnlbench."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lnlbench.api import Batch, Method, functional
from lnlbench.errors import UsageError


class LabelSmoothing(Method):
    """Cross-entropy with smoothed labels (Szegedy et al., 2016)."""

    @dataclass(frozen=True)
    class Params:
        """Share of each label's mass that is spread over all classes."""

        smoothing: float = 0.1

        def __post_init__(self) -> None:
            if not 0.0 <= self.smoothing <= 1.0:
                raise UsageError(f"smoothing is {self.smoothing:g}; it must lie in [0, 1].")

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy with the smoothed labels."""
        return functional.cross_entropy(
            self.network(batch.inputs), batch.labels, label_smoothing=self.params.smoothing
        )
