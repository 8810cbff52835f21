"""SOP: every sample has parameters of its own, which learn what is wrong with its label."""

import torch
from torch import nn

from lnlbench.api import Batch, Method, Phase, Selection, Task, UsageError, dataclass, functional

EPSILON = 1e-4


class SOP(Method):
    """Sparse over-parameterisation (Liu et al., 2022): a label is prediction plus sparse noise s.

    s = u² ⊙ y − v² ⊙ (1 − y), with u and v from nearly zero and plain gradient descent on them.
    """

    title = "SOP"

    @dataclass(frozen=True)
    class Params:
        """Learning rates of u and v, and the size that they start with."""

        lr_u: float = 10.0
        lr_v: float = 10.0
        start: float = 1e-8

        def __post_init__(self) -> None:
            if min(self.lr_u, self.lr_v, self.start) < 0.0:
                raise UsageError("Learning rates and start of SOP must not be negative.")

    def setup(self, task: Task) -> None:
        """Make the network, u for the label's class and v for the others."""
        super().setup(task)
        self.u = nn.Parameter(self.params.start * torch.randn(task.samples, 1).to(task.device))
        self.v = nn.Parameter(self.params.start * torch.randn(task.samples, task.classes).to(task.device))

    def begin_phase(self, phase: Phase) -> None:
        """Make the network's optimiser, and one for the noise that follows the same schedule."""
        super().begin_phase(phase)
        groups = [
            {"params": [self.u], "lr": self.params.lr_u},
            {"params": [self.v], "lr": self.params.lr_v},
        ]
        self.noise_optimizer = phase.schedule(torch.optim.SGD(groups))

    def epoch(self, phase: Phase) -> None:
        """Take a step of both optimisers on every batch."""
        for batch in phase.batches():
            phase.step((self.optimizer, self.noise_optimizer), self.loss(batch))
        size = self.u.detach().squeeze(1).square()
        labels = torch.where(size.cpu() < 0.5, phase.labels, self.v.detach().square().argmax(1).cpu())
        phase.publish(Selection(size.cpu() < 0.5, -size, labels))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of prediction plus noise, plus the squared error of hard ones."""
        logits = self.network(batch.inputs)
        rows = batch.index.to(logits.device)
        given = functional.one_hot(batch.labels, logits.shape[1]).to(logits)
        added = (self.u[rows].square() * given).clamp(0.0, 1.0)
        removed = (self.v[rows].square() * (1.0 - given)).clamp(0.0, 1.0)
        p = (logits.softmax(1) + added - removed.detach()).clamp_min(EPSILON)
        p = (p / p.sum(1, keepdim=True)).clamp(EPSILON, 1.0)
        largest = functional.one_hot(logits.detach().argmax(1), logits.shape[1]).to(logits)
        error = (largest + added - removed - given).square().sum(1).mean()
        return -(given * p.log()).sum(1).mean() + error
