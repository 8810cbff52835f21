"""FINE: clean samples are those whose features lie along the first direction of their class."""

import torch

from lnlbench.api import Batch, Method, Phase, Selection, UsageError, dataclass, functional
from lnlbench.components.mixture import TIGHT, clean_posterior


class FINE(Method):
    """Filtering noisy instances by their eigenvectors (Kim et al., 2021)."""

    title = "FINE"

    @dataclass(frozen=True)
    class Params:
        """Posterior above which a sample is clean, and epochs on all samples first."""

        tau: float = 0.5
        warmup: int = 1

        def __post_init__(self) -> None:
            if not 0.0 <= self.tau < 1.0 or self.warmup < 0:
                raise UsageError("tau of FINE must lie in [0, 1), warmup must not be negative.")

    def epoch(self, phase: Phase) -> None:
        """Train on all samples, then on those whose features fit their class."""
        if phase.epoch < self.params.warmup and phase.index == 0:
            super().epoch(phase)
            return
        posterior = self.posterior(phase)
        selected = posterior > self.params.tau
        if not selected.any():
            phase.count("no_clean_samples")
            selected = torch.ones_like(selected)
        phase.publish(Selection(selected, posterior))
        for batch in phase.batches(selected.nonzero().squeeze(1)):
            phase.step(self.optimizer, self.loss(batch))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy to the given labels."""
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)

    def posterior(self, phase: Phase) -> torch.Tensor:
        """Return each sample's probability of being clean, by a mixture of its class's alignments."""
        features = functional.normalize(phase.features(self.network).double(), dim=1).cpu()
        posterior = torch.full((phase.samples,), 0.5, dtype=torch.float64)
        for label in range(phase.classes):
            members = (phase.labels == label).nonzero().squeeze(1)
            if len(members) < 2:
                continue
            first = torch.linalg.svd(features[members], full_matrices=False).Vh[0]
            alignment = (features[members] @ first).square()
            fit = clean_posterior(-alignment.numpy(), TIGHT, phase.seed(f"mixture of class {label}"))
            if fit.collapsed:
                phase.count("mixture_collapsed")
            posterior[members] = torch.from_numpy(fit.probability)
        return posterior
