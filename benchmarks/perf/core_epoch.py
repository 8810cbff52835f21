"""Epochs of a method as a trial trains them: method, phase, network, inputs and ledger of the core."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lnlbench.api import Network, Phase, Task
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.models.execution import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.plugins import registry
from lnlbench.spec import PhaseSpec

CPU = torch.device("cpu")


class CoreEpochs:
    """A method in one phase, an epoch at a time.

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
        Whose arithmetic the caller holds.
    device : torch.device
        Default the CPU.
    method : str
        Default CE.
    params : mapping, optional
        Of the method.
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
        device: torch.device = CPU,
        method: str = "ce",
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.networks: list[Network] = []
        self.ledger = Ledger()

        def make_network(_: int) -> Network:
            head = nn.Linear(feature_dim, classes)
            made = Network(head, make_backbone, ledger=self.ledger, device=device, execution=execution)
            self.networks.append(made)
            return made

        self.phase = Phase(
            spec,
            0,
            inputs=inputs,
            cached_plain=None,
            labels=labels,
            classes=classes,
            device=device,
            seed=0,
            scaler=None if spec.kind == "lp" else execution.scaler(device),
        )
        method_class = registry.methods().load(method)
        self.method = method_class.create(method_class.resolve(method, "digits", params or {}))
        self.method.setup(Task(labels, tuple(map(str, range(classes))), device, make_network))
        for network in self.networks:
            network.freeze(spec.kind == "lp")
        self.method.begin_phase(self.phase)

    def epoch(self) -> float:
        """Train for one epoch and return what a trial would count as training, in seconds.

        The epoch's loss is read at its end, so a device has done all of it by then.
        """
        started = time.perf_counter()
        self.phase.start_epoch(0)
        for network in self.networks:
            network.train()
        self.method.epoch(self.phase)
        self.phase.end_epoch()
        return time.perf_counter() - started
