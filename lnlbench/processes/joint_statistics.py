"""Batch normalisation over the batch of all processes, where each passes its own rows of it.

In train mode a layer normalises by the mean and variance of all rows, as one process would (Ioffe & Szegedy,
ICML 2015, algorithm 1), and its running statistics move with these. Each process tells its count, mean and
sum of squared deviations, which are put together without loss of digits (Chan, Golub & LeVeque, Updating
formulae and a pairwise algorithm for computing sample variances, 1979). Backward, the two sums over the batch
that the gradient takes are added up alike.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from lnlbench.processes.team import Team


def join_statistics(module: nn.Module, team: Team) -> None:
    """Let the batch normalisation of a module use the statistics of all processes in train mode.

    Parameters
    ----------
    module : nn.Module
        Changed in place: its layers of torch's classes, and of those derived from them, which may do more
        than to normalise. Names of parameters stay, and a deep copy is joined too.
    team : Team
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.team = team  # type: ignore[assignment]
            # A bound method, which a deep copy binds to the copied layer.
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]


def _forward(layer: Any, *inputs: Any) -> Any:
    if not layer.training and layer.running_mean is not None:
        return type(layer).forward(layer, *inputs)
    with _Jointly(layer.team):
        return type(layer).forward(layer, *inputs)


class _Jointly(TorchFunctionMode):
    """Puts :class:`_Normalise` in the place of torch's own function."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self._team = team

    def __torch_function__(
        self, function: Any, types: Any, inputs: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        if function is functional.batch_norm:
            return self._normalise(*inputs, **(options or {}))
        return function(*inputs, **(options or {}))

    def _normalise(
        self,
        input: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if not training:
            return functional.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum, eps
            )
        running = None if running_mean is None or running_var is None else (running_mean, running_var)
        return _Normalise.apply(input, weight, bias, running, momentum, eps, self._team)


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(variance + ε) · weight + bias, by the statistics of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        running: tuple[torch.Tensor, torch.Tensor] | None,
        momentum: float,
        eps: float,
        team: Team,
    ) -> torch.Tensor:
        values = _exact(inputs)
        count, mean, squares = _of_all(values, team)
        scale = (squares / count + eps).rsqrt()
        if running is not None:
            running[0].lerp_(mean.to(running[0]), momentum)
            running[1].lerp_((squares / (count - 1).clamp(min=1)).to(running[1]), momentum)
        ctx.save_for_backward(inputs, weight, mean, scale, count)
        ctx.team, ctx.idle, ctx.with_bias = team, team.idle, bias is not None
        result = (values - _broadcast(mean, values)) * _broadcast(scale, values)
        if weight is not None:
            result = result * _broadcast(weight, values)
        if bias is not None:
            result = result + _broadcast(bias, values)
        return result.to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight, mean, scale, count = ctx.saved_tensors
        gradient = _exact(gradients[0])
        normal = (_exact(inputs) - _broadcast(mean, inputs)) * _broadcast(scale, inputs)
        axes = _axes(inputs)
        sums = torch.stack((gradient.sum(axes), (gradient * normal).sum(axes)))
        of_bias, of_weight = sums.clone()  # of own rows: those of a backbone are added up before the step
        along, across = ctx.team.add_up(sums) / count
        result = gradient - _broadcast(along, inputs) - normal * _broadcast(across, inputs)
        result = result * _broadcast(scale if weight is None else scale * weight, inputs)
        if ctx.idle:
            result.zero_()  # the row stands in for none, and none of the sums has it
        return (
            result.to(inputs.dtype),
            None if weight is None else of_weight.to(weight.dtype),
            of_bias.to(gradients[0].dtype if weight is None else weight.dtype) if ctx.with_bias else None,
            *(None,) * 4,
        )


def _of_all(values: torch.Tensor, team: Team) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the number of values per channel, their means, and their sums of squared deviations."""
    axes = _axes(values)
    count = values.new_full((1,), 0 if team.idle else values.numel() / values.shape[1])
    mean = values.mean(axes)
    squares = (values - _broadcast(mean, values)).square().sum(axes) * (not team.idle)
    width = len(mean)
    told = team.gather(torch.cat((count, mean, squares))[None], team.size)
    counts, means, parts = told[:, :1], told[:, 1 : width + 1], told[:, width + 1 :]
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    return total, joint, (parts + counts * (means - joint).square()).sum(0)


def _exact(values: torch.Tensor) -> torch.Tensor:
    """Return half-precision values in float32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _axes(values: torch.Tensor) -> list[int]:
    return [axis for axis in range(values.ndim) if axis != 1]


def _broadcast(channels: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return channels.view(1, -1, *(1 for _ in range(values.ndim - 2)))
