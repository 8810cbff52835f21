"""What methods share that train nothing, and only look at the features of all samples."""

from __future__ import annotations

from typing import ClassVar

import torch

from lnlbench.api import Method, Passes, Phase, Skip, Task, TrialSpec, functional


class TrainingFree(Method):
    """A method that looks at the features of all samples in its first epoch, and trains nothing.

    Attributes
    ----------
    declines : str
        Why it has no tuning mode but LP.
    """

    declines: ClassVar[str]

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        """Decline whatever trains the backbone."""
        return None if spec.tuning == "lp" else Skip(cls.declines)

    @classmethod
    def expected_passes(cls, spec: TrialSpec, share: float) -> tuple[Passes, ...]:
        """Return one pass for the features of all samples."""
        return (Passes(forward=1),)

    def begin_phase(self, phase: Phase) -> None:
        """Nothing is trained."""


class NeighbourVotes(TrainingFree):
    """A vote among the training samples whose features, scaled to length one, are the nearest."""

    unsaved = ("bank",)  # as large as the cached features, from which the next epoch takes it

    def setup(self, task: Task) -> None:
        """Make the network, whose head is not used; features come with the first epoch."""
        super().setup(task)
        self.labels = task.labels.to(task.device)
        self.classes = task.classes
        self.bank: torch.Tensor | None = None

    def epoch(self, phase: Phase) -> None:
        """Take the features of all samples, once."""
        if self.bank is None:
            self.bank = functional.normalize(phase.features(self.network), dim=1)

    def queries(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the features of inputs as the bank has those of the training samples."""
        return functional.normalize(self.network.features(inputs), dim=1)

    def count(self, weights: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Return the sum of the weights ``[B, k]`` of the samples ``index`` by their label, ``[B, C]``."""
        voters = functional.one_hot(self.labels[index], self.classes).to(weights)
        # A product, and no scatter_add, whose order a GPU does not fix.
        return torch.einsum("bk,bkc->bc", weights, voters)
