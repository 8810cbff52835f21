"""SGD and AdamW of many heads at once, each with settings of its own: the formulas of ``torch.optim``.

A parameter of K heads is a matrix ``[K, n]``, a row per head, and so is each of the moments that an optimiser
keeps. Settings are columns ``[K, 1]``. The optimisers of the trials stay what they are: the schedule sets
their rates, which are read when an epoch begins, and their state is rows of ours: checkpoints hold it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

# Settings of a group of an optimiser that a phase leaves as they are.
_UNCHANGED: dict[str, Any] = {"dampening": 0, "nesterov": False, "maximize": False, "amsgrad": False}


def can_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the formulas here are those of an optimiser: one group, with nothing but what a phase sets."""
    if type(optimizer) not in _ROWS or len(optimizer.param_groups) != 1:
        return False
    (group,) = optimizer.param_groups
    return all(group.get(name, value) == value for name, value in _UNCHANGED.items())


def kind_of(optimizer: torch.optim.Optimizer) -> tuple[Any, ...]:
    """Return what optimisers have in common that step together."""
    (group,) = optimizer.param_groups
    return type(optimizer).__name__, group.get("betas"), group.get("eps")


def rows_of(optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[torch.Tensor]) -> RowOptimizer:
    """Return what steps for optimisers of one kind.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
        One per head, of the same :func:`kind_of`, over the head's parameters in the order of ``parameters``.
    parameters : sequence of torch.Tensor, ``[K, n]``
        Their rows are the heads' own parameters.
    """
    return _ROWS[type(optimizers[0])](optimizers, parameters)


class RowOptimizer(ABC):
    """Steps for K optimisers of one kind; see :func:`rows_of`."""

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[torch.Tensor]
    ) -> None:
        self.optimizers = tuple(optimizers)
        self.parameters = tuple(parameters)

    def column(self, name: str) -> torch.Tensor:
        """Return a setting of all optimisers as it is now, float64 ``[K, 1]``."""
        values = [float(optimizer.param_groups[0][name]) for optimizer in self.optimizers]
        # In double precision, as Python computes with settings: what is near 1 is rounded once.
        return self.parameters[0].new_tensor(values, dtype=torch.float64)[:, None]

    def moments(self, name: str) -> list[torch.Tensor]:
        """Return a moment of every parameter, ``[K, n]``: as the optimisers have it, else 0.

        The optimisers' own state are its rows from then on.
        """
        found = []
        for place, parameter in enumerate(self.parameters):
            moment = torch.zeros_like(parameter)
            for optimizer, row in zip(self.optimizers, moment, strict=True):
                own = optimizer.param_groups[0]["params"][place]
                before = optimizer.state[own].get(name)
                if before is not None:
                    row.copy_(before.reshape(-1))
                optimizer.state[own][name] = row.view_as(own)
            found.append(moment)
        return found

    @abstractmethod
    def begin_epoch(self) -> None:
        """Read the settings, which a schedule may have changed."""

    @abstractmethod
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Take a step; the gradients, ``[K, n]``, are spoilt."""

    @abstractmethod
    def end_epoch(self) -> None:
        """Leave the optimisers' state as if they had stepped themselves."""


class SGDRows(RowOptimizer):
    """``torch.optim.SGD`` with momentum and weight decay, without dampening."""

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[torch.Tensor]
    ) -> None:
        super().__init__(optimizers, parameters)
        # PyTorch's first buffer is the first gradient: what a buffer of zeros gives.
        self._buffers = self.moments("momentum_buffer")

    def begin_epoch(self) -> None:
        """See :class:`RowOptimizer`."""
        like = self.parameters[0]
        self._momentum, self._decay, self._minus_rate = (
            column.to(like)
            for column in (self.column("momentum"), self.column("weight_decay"), -self.column("lr"))
        )

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """g ← g + λ w; v ← μ v + g; w ← w − η v."""
        for weights, gradient, buffer in zip(self.parameters, gradients, self._buffers, strict=True):
            gradient.addcmul_(weights, self._decay)
            buffer.mul_(self._momentum).add_(gradient)
            weights.addcmul_(buffer, self._minus_rate)

    def end_epoch(self) -> None:
        """Do nothing: the buffers are all there is, and are rows of the state."""


class AdamWRows(RowOptimizer):
    """``torch.optim.AdamW``; betas and ε are those of all."""

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[torch.Tensor]
    ) -> None:
        super().__init__(optimizers, parameters)
        (group,) = optimizers[0].param_groups
        self._betas, self._eps = group["betas"], group["eps"]
        # Before moments(), which makes state for those that have none. All have taken the same steps.
        state = optimizers[0].state[group["params"][0]]
        self._steps = int(state["step"]) if "step" in state else 0
        self._means, self._squares = self.moments("exp_avg"), self.moments("exp_avg_sq")
        self.end_epoch()

    def begin_epoch(self) -> None:
        """See :class:`RowOptimizer`."""
        self._rate = self.column("lr")
        self._kept = (1.0 - self._rate * self.column("weight_decay")).to(self.parameters[0])

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """w ← (1 − η λ) w − η m̂ / (√v̂ + ε), with moments m and v that are corrected for their start."""
        self._steps += 1
        first, second = self._betas
        minus_size = (self._rate / -(1.0 - first**self._steps)).to(self.parameters[0])
        root = math.sqrt(1.0 - second**self._steps)
        moments = zip(self.parameters, gradients, self._means, self._squares, strict=True)
        for weights, gradient, mean, square in moments:
            weights.mul_(self._kept)
            mean.lerp_(gradient, 1.0 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
            denominator = torch.sqrt(square, out=gradient).div_(root).add_(self._eps)
            weights.addcmul_(torch.div(mean, denominator, out=denominator), minus_size)

    def end_epoch(self) -> None:
        """See :class:`RowOptimizer`."""
        for optimizer in self.optimizers:
            for own in optimizer.param_groups[0]["params"]:
                optimizer.state[own]["step"] = torch.tensor(float(self._steps))


_ROWS: dict[type[torch.optim.Optimizer], type[RowOptimizer]] = {
    torch.optim.SGD: SGDRows,
    torch.optim.AdamW: AdamWRows,
}
