"""SAM: a step goes back twice, once to find where the loss is largest nearby."""

import torch

from lnlbench.api import Batch, Method, Passes, Phase, TrialSpec, UsageError, dataclass, functional


class SAM(Method):
    """Sharpness-aware minimisation of cross-entropy (Foret et al., 2021, Algorithm 1)."""

    title = "SAM"

    @dataclass(frozen=True)
    class Params:
        """Radius of the neighbourhood."""

        rho: float = 0.05

        def __post_init__(self) -> None:
            if not self.rho > 0.0:
                raise UsageError(f"rho is {self.rho:g}; it must be positive.")

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Every sample passes twice with gradient."""
        return tuple(Passes(trained=2 * phase.epochs) for phase in spec.phases)

    def epoch(self, phase: Phase) -> None:
        """Step by the gradient at the worst point nearby; the loss of the record is that at the weights."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for batch in phase.batches():
            loss = self.loss(batch)
            gradients = torch.autograd.grad(loss, weights)
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            moves = [self.params.rho * gradient / (norm + 1e-12) for gradient in gradients]
            with torch.no_grad():
                torch._foreach_add_(weights, moves)
            self.optimizer.zero_grad()
            self.loss(batch).backward()
            with torch.no_grad():
                torch._foreach_sub_(weights, moves)
            self.optimizer.step()
            phase.record(loss)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy to the given labels."""
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
