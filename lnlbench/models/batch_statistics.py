"""Running statistics of batch normalisation: estimated on given images, read and written as one vector.

Where images are not those of pre-training (small ones scaled up, say), a batch's statistics are far
from the running ones, and the network that fine-tuning trains is another one than the network that was
probed, which is in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def normalisers(module: nn.Module) -> list[_BatchNorm]:
    """Return the layers of a module that keep running statistics, in its order."""
    return [
        part
        for part in module.modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None and part.running_var is not None
    ]


@torch.no_grad()
def estimate(module: nn.Module, passes: Iterable[torch.Tensor]) -> torch.Tensor:
    """Estimate running statistics anew: plain means over batches of their means and variances.

    Parameters
    ----------
    module : nn.Module
        In eval mode but for its normalisers, which normalise by the batch meanwhile; it ends in eval mode
        with the statistics that are returned.
    passes : iterable of torch.Tensor
        Outputs of the module for one batch after the other: it is going through them that passes images.

    Returns
    -------
    torch.Tensor, float32 ``[S]``, on the CPU
        See :func:`read`.
    """
    layers = normalisers(module.eval())
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean, in which all batches count the same
        layer.train()
    for _ in passes:
        pass
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    module.eval()
    return read(module)


def read(module: nn.Module) -> torch.Tensor:
    """Return all running means and variances, layer by layer, float32 ``[S]``, on the CPU."""
    return torch.cat([values.detach().float().flatten().cpu() for values in _values(module)])


@torch.no_grad()
def write(module: nn.Module, statistics: torch.Tensor) -> None:
    """Set the running means and variances to what :func:`read` has returned."""
    start = 0
    for values in _values(module):
        values.copy_(statistics[start : start + values.numel()].view_as(values))
        start += values.numel()


def count(module: nn.Module) -> int:
    """Return S, the length of what :func:`read` returns."""
    return sum(values.numel() for values in _values(module))


def _values(module: nn.Module) -> Iterator[torch.Tensor]:
    for layer in normalisers(module):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        yield layer.running_mean
        yield layer.running_var
