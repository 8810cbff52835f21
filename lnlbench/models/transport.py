"""Tensors on their way to a device, and which of them stay there.

A copy from ordinary memory makes the host wait until the device has done all that was asked of it before; one
from pinned memory does not. On a CPU nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lnlbench.basics.process_settings import memory_fraction

# Of the free memory of a device, what an array that stays there may take.
SHARE = 0.5
_PIECE = 65_536  # samples that are copied at a time


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device, without waiting for what the device still has to do."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes fit into half of the memory that is free on a device, other than the CPU.

    Of a GPU that several processes share, what a process is allowed to take counts.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        if (share := memory_fraction()) is not None:
            free = min(free, int(share * total) - torch.cuda.memory_reserved(device))
        return size <= SHARE * free
    return device.type != "cpu"


def settle(
    count: int, take: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> torch.Tensor | None:
    """Return all samples on a device, where they fit; None where they do not.

    Parameters
    ----------
    count : int
        Number of samples N, at least one.
    take : callable
        From positions, int64 ``[b]``, to the samples there, ``[b, …]``, on the CPU.
    device : torch.device
    """
    if device.type == "cpu":
        return None
    first = take(torch.arange(1))
    if not fits(count * first.numel() * first.element_size(), device):
        return None
    settled = torch.empty((count, *first.shape[1:]), dtype=first.dtype, device=device)
    for start in range(0, count, _PIECE):
        settled[start : start + _PIECE] = take(torch.arange(start, min(start + _PIECE, count)))
    return settled
