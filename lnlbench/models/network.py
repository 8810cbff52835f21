"""A network: a backbone and a linear head on its pooled features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lnlbench.models.execution import Execution
from lnlbench.models.ledger import Ledger
from lnlbench.processes.spread import Spread


class Network(nn.Module):
    """Backbone and linear head, as one classifier of images or of features.

    The input says what it is: ``[B, 3, S, S]`` are images and pass through the backbone,
    ``[B, feature_dim]`` are features and go straight to the head. The same method code
    therefore runs on cached features and on live images.

    Parameters
    ----------
    head : nn.Linear
        ``feature_dim`` → classes.
    make_backbone : callable
        Builds the backbone; called when images first have to pass through it, so linear
        probing on cached features never loads it.
    ledger : Ledger
        Counts the passes.
    device : torch.device
    execution : Execution
        Precision and memory layout of the backbone; logits are float32 in any case.
    spread : Spread, optional
        Shares passes through the backbone with other processes. Default: this one passes all images.

    Attributes
    ----------
    pristine : bool
        The backbone is still exactly the pre-trained one, so its cached features hold.
    """

    def __init__(
        self,
        head: nn.Linear,
        make_backbone: Callable[[], nn.Module],
        *,
        ledger: Ledger,
        device: torch.device,
        execution: Execution,
        spread: Spread | None = None,
    ) -> None:
        super().__init__()
        self.head = head.to(device)
        self.backbone: nn.Module | None = None
        self.frozen = True
        self.frozen_statistics = False
        self._resting: list[nn.Module] = []  # parts of the backbone that stay in eval mode
        self.pristine = True
        self._make_backbone = make_backbone
        self._ledger = ledger
        self._device = device
        self._execution = execution
        self._spread = spread
        ledger.watch(self.head, "head")

    @property
    def feature_dim(self) -> int:
        """Length of a feature vector."""
        return int(self.head.in_features)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.head.out_features)

    def build(self) -> nn.Module:
        """Return the backbone, loading it on first use."""
        if self.backbone is None:
            backbone = self._execution.prepare(self._make_backbone().to(self._device))
            backbone.requires_grad_(not self.frozen)
            if self._spread is not None:
                self._spread.prepare(backbone)
            self._ledger.watch(backbone, "backbone")
            self.backbone = backbone
            self.train(self.training)
        return self.backbone

    def initial_backbone(self) -> nn.Module:
        """Return a new module in the state that the backbone of this network started from."""
        return self._make_backbone()

    def freeze(self, frozen: bool, *, statistics: bool = False) -> None:
        """Fix the backbone in eval mode without gradient (``lp``), or let it learn (``fft``).

        Parameters
        ----------
        frozen : bool
        statistics : bool
            Keep the running statistics of batch normalisation even where the backbone learns.
        """
        self._resting = []
        self.frozen = frozen
        self.frozen_statistics = statistics
        if not frozen:
            self.build().requires_grad_(True)
        elif self.backbone is not None:
            self.backbone.requires_grad_(False)
        self.train(self.training)

    def learn(self, *parts: nn.Module | nn.Parameter, statistics: bool = False) -> None:
        """Let some parts of the backbone learn, and fix the rest: what has no part in it is in eval mode.

        Parameters
        ----------
        *parts : nn.Module or nn.Parameter
            Of :meth:`build`, or put into it. The head learns in any case.
        statistics : bool
            As for :meth:`freeze`.
        """
        self.freeze(False, statistics=statistics)
        self.build().requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
        # Kept, and not asked of the gradients when the mode changes: nothing of a weight average learns,
        # and its normalisation must all the same move as that of its network.
        self._resting = list(_resting(self.build()))
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set the mode; what is frozen stays in eval mode."""
        super().train(mode)
        if self.backbone is not None and self.frozen:
            self.backbone.eval()
        elif self.backbone is not None:
            for module in self._resting:
                module.eval()
            if self.frozen_statistics:
                for module in self.backbone.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def get_extra_state(self) -> dict[str, bool]:
        """Save whether the backbone is still the pre-trained one, along with the weights."""
        return {"pristine": self.pristine}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Restore what :meth:`get_extra_state` saved."""
        self.pristine = state["pristine"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A state of a network that has seen images holds a backbone; make one to load it into.
        if any(name.startswith(f"{prefix}backbone.") for name in state_dict):
            self.build()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return pooled features ``[B, feature_dim]``; features pass through unchanged."""
        if inputs.ndim == 2:
            return inputs
        backbone = self.backbone if self.backbone is not None else self.build()
        if backbone.training or (not self.frozen and torch.is_grad_enabled()):
            # Batch statistics move in a training forward pass, before any optimiser step; and a pass with
            # gradient comes before every step, whoever makes the optimiser.
            self.pristine = False
        dtype = self.head.weight.dtype
        if self._spread is not None:
            with self._execution.autocast(self._device), self._ledger.standing_for(len(inputs)):
                return self._spread(backbone, inputs, dtype)
        with self._execution.autocast(self._device):
            pooled: torch.Tensor = backbone(inputs)
        return pooled.to(dtype)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, classes]`` in float32."""
        logits: torch.Tensor = self.head(self.features(inputs))
        return logits


def _resting(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what lies in a module and has parameters of which none learns."""
    for child in module.children():
        learns = [parameter.requires_grad for parameter in child.parameters()]
        if learns and not any(learns):
            yield child
        else:
            yield from _resting(child)
