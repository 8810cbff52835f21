"""Cross-entropy with ordinary regularisation, which knows nothing of noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lnlbench.api import Batch, Method, Network, Phase, Task, UsageError, functional
from lnlbench.components.mixing import Mixup
from lnlbench.components.soft_labels import soft_cross_entropy
from lnlbench.components.weight_average import move_average, rising_momentum, weight_average


class CERegularised(Method):
    """Cross-entropy with mixup, a weight average and cosine annealing.

    Three things that many methods against noisy labels contain, and that their papers' cross-entropy
    lacks: what a method gains should be read against this row. In linear probing on cached features,
    features are mixed instead of images.

    Costs 3 forward units per sample and epoch.

    Deviations from the papers: mixup takes the larger of λ and 1 − λ for a row's own share, which
    changes nothing in distribution, because partners are a permutation. The average is the plain mean of
    the weights since the start of a phase until its momentum is reached, and it predicts; statistics of
    batch normalisation are copied, not averaged or computed anew.

    Source: Zhang, Cissé, Dauphin & Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018;
    Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, SIAM Journal on Control and
    Optimization, 1992; Loshchilov & Hutter, SGDR, ICLR 2017, without restarts.
    """

    title = "CE (regularised)"
    paper = "Zhang et al. (2018)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of regularised CE.

        Attributes
        ----------
        alpha : float
            Both parameters of mixup's Beta distribution; 0 for no mixup. Default 1. Source: Zhang et
            al., on CIFAR.
        momentum : float
            Of the weight average, in [0, 1); 0 for none. Default 0.99. Source: ours, for budgets of
            hundreds of steps, where the usual 0.999 would average over all of them.
        cosine : bool
            Anneal the learning rate to zero within each phase, by the step, whatever the phase's own
            schedule. Default True. Source: Loshchilov & Hutter.
        """

        alpha: float = 1.0
        momentum: float = 0.99
        cosine: bool = True

        def __post_init__(self) -> None:
            if self.alpha < 0.0 or not 0.0 <= self.momentum < 1.0:
                raise UsageError(
                    f"Regularised CE has alpha = {self.alpha:g} and momentum = {self.momentum:g}.",
                    "alpha must not be negative, momentum must lie in [0, 1).",
                )

    def setup(self, task: Task) -> None:
        """Make the network; its weight average is made with the first phase."""
        super().setup(task)
        self.average: Network | None = None

    def begin_phase(self, phase: Phase) -> None:
        """Make the optimiser, and a weight average that learns what the network learns."""
        super().begin_phase(phase)
        self.average = weight_average(self.network, self.average).eval()  # it only predicts
        self.steps = 0

    def epoch(self, phase: Phase) -> None:
        """Train for an epoch, and move the average after each step."""
        for batch in phase.batches():
            self.anneal(phase)
            phase.step(self.optimizer, self.mixed_loss(phase, batch))
            self.steps += 1
            self.move()

    def anneal(self, phase: Phase) -> None:
        """Set the learning rates of the next step, (1 + cos πt/T)/2 of the initial ones."""
        if not self.params.cosine:
            return
        total = phase.epochs * math.ceil(phase.samples / phase.spec.batch_size)
        factor = 0.5 * (1.0 + math.cos(math.pi * self.steps / total))
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def mixed_loss(self, phase: Phase, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of mixed inputs to equally mixed labels."""
        mix = Mixup.draw(len(batch), self.params.alpha, phase.generator)
        logits = self.network(mix(batch.inputs))
        return soft_cross_entropy(logits, mix(functional.one_hot(batch.labels, phase.classes).to(logits)))

    def move(self) -> None:
        """Move the weight average towards the network."""
        assert self.average is not None  # made by begin_phase
        momentum = rising_momentum(self.steps, self.params.momentum)
        move_average(self.average, self.network, momentum, copy_statistics=True)

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the weight average."""
        assert self.average is not None  # made by begin_phase
        logits: torch.Tensor = self.average(inputs)
        return logits
