"""Epochs of CE as a trial trains them: method, phase, network, inputs and ledger of the core."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from lnlbench import registry
from lnlbench.api import Network, Phase, Task
from lnlbench.data.inputs import Inputs
from lnlbench.ledger import Ledger
from lnlbench.models.calibration import Execution
from lnlbench.spec import PhaseSpec

CPU = torch.device("cpu")


class CoreEpochs:
    """CE in one phase, an epoch at a time.

    Parameters
    ----------
    spec : PhaseSpec
    inputs : Inputs
        Live images or cached features.
    labels : torch.Tensor, int64 ``[N]``
    classes, feature_dim : int
    make_backbone : callable
        Not called where the inputs are features.
    execution : Execution
    """

    def __init__(
        self,
        spec: PhaseSpec,
        inputs: Inputs,
        labels: torch.Tensor,
        *,
        classes: int,
        feature_dim: int,
        make_backbone: Callable[[], nn.Module],
        execution: Execution,
    ) -> None:
        self.network = Network(
            nn.Linear(feature_dim, classes), make_backbone, ledger=Ledger(), device=CPU, execution=execution
        )
        self.phase = Phase(
            spec, 0, inputs=inputs, cached_plain=None, labels=labels, classes=classes, device=CPU, seed=0
        )
        method = registry.methods().load("ce")
        self.method = method.create(method.resolve("ce", "digits", {}))
        self.method.setup(Task(labels, classes, CPU, lambda number: self.network))
        self.network.freeze(spec.kind == "lp")
        self.method.begin_phase(self.phase)

    def epoch(self) -> float:
        """Train for one epoch and return what a trial would count as training, in seconds."""
        started = time.perf_counter()
        self.phase.start_epoch(0)
        self.network.train()
        self.method.epoch(self.phase)
        self.phase.end_epoch()
        return time.perf_counter() - started
