"""Curriculum fine-tuning: heads of growing freedom, each trained on what the one before agrees with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lnlbench.api import Batch, Method, Phase, Selection, Skip, Task, TrialSpec, UsageError, functional


class CUFIT(Method):
    """Curriculum fine-tuning by agreement (Yu et al., 2024), on a frozen backbone.

    A linear head learns from all samples. A second head, on adapted features, learns from those of a batch
    whose label the first one predicts; a third, on features adapted otherwise, from those whose label the
    second one predicts. The third one predicts.

    The published selection is the samples that the third head learnt from, in the epoch.

    Costs 1 forward unit per sample and epoch on live images, and none on cached features: all heads share
    one pass.

    Deviations from the paper: this is its form for cached features. Its adapters lie inside the backbone and
    need a pass each; here an adapter is a residual bottleneck on the pooled feature, f + U ReLU(V LN(f)) with
    U = 0 at first, and so a phase that trains the backbone is declined. Optimiser and epochs are the
    grid's. Its reported numbers average the last ten epochs on the test set; here they do not.

    Source: Yu, Ko, Shin, Kim & Lee, Curriculum Fine-tuning of Vision Foundation Model for Medical Image
    Classification Under Label Noise, NeurIPS 2024; from the paper alone.
    """

    title = "CUFIT"
    paper = "Yu et al. (2024)"

    @dataclass(frozen=True)
    class Params:
        """Parameters of CUFIT.

        Attributes
        ----------
        width : int
            Of an adapter's bottleneck. Default 64. Source: ours; theirs has no such adapter.
        """

        width: int = 64

        def __post_init__(self) -> None:
            if self.width < 1:
                raise UsageError(f"CUFIT has width = {self.width}.", "It must be at least 1.")

    @classmethod
    def supports(cls, spec: TrialSpec) -> Skip | None:
        """Decline whatever trains the backbone."""
        if spec.tuning != "lp":
            return Skip("cufit trains adapters on a frozen backbone, here on its features; run it in lp")
        return None

    def setup(self, task: Task) -> None:
        """Make three heads, and adapters for two of them."""
        self.networks = [task.network(number) for number in range(3)]
        self.adapters = [
            Adapter(network.feature_dim, self.params.width).to(network.head.weight)
            for network in self.networks[1:]
        ]

    def begin_phase(self, phase: Phase) -> None:
        """Make one optimiser for all heads and adapters, which share no parameter."""
        heads = [network.head for network in self.networks]
        self.optimizer = phase.optimizer(*heads, *self.adapters)

    def epoch(self, phase: Phase) -> None:
        """Train all heads on each batch, and publish what the last one learnt from."""
        learnt = torch.zeros(phase.samples, dtype=torch.bool, device=phase.device)
        for batch in phase.batches():
            loss, agreed = self.losses(batch)
            learnt[batch.index.to(phase.device)] = agreed
            phase.step(self.optimizer, loss)
        phase.publish(Selection(learnt.cpu()))

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sum of the three mean losses, and whom the last head learns from, bool ``[B]``."""
        outputs = self.outputs(batch.inputs)
        losses = [functional.cross_entropy(logits, batch.labels, reduction="none") for logits in outputs]
        first, second = (logits.detach().argmax(1) == batch.labels for logits in outputs[:2])
        # Means over the whole batch: a head that is given few samples takes small steps.
        loss = losses[0].mean() + (first * losses[1]).mean() + (second * losses[2]).mean()
        return loss, second

    def outputs(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits ``[B, C]`` of the three heads, for one pass through the backbone."""
        features = self.networks[0].features(inputs)
        adapted = [features, *(adapter(features) for adapter in self.adapters)]
        return [network.head(part) for network, part in zip(self.networks, adapted, strict=True)]

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the third head."""
        return self.outputs(inputs)[2]


class Adapter(nn.Module):
    """A residual bottleneck, f + U ReLU(V LN(f)); the identity at first, because U is zero."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, width)
        self.up = nn.Linear(width, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return adapted features, ``[B, d]``."""
        adapted: torch.Tensor = features + self.up(self.down(self.norm(features)).relu())
        return adapted
