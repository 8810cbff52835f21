"""Exponential averages of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lnlbench.api import Network


def weight_average(network: Network, earlier: Network | None = None) -> Network:
    """Return a copy of a network that will be its weight average; it learns nothing by itself.

    Make it in ``begin_phase``, when the network is frozen or not as the phase says.

    Parameters
    ----------
    network : Network
    earlier : Network, optional
        The average of an earlier phase, which the new one continues. What that phase left frozen is not
        in it, and stays the network's.
    """
    average = copy.deepcopy(network).requires_grad_(False)
    if earlier is not None:
        average.load_state_dict(earlier.state_dict(), strict=False)
    return average


@torch.no_grad()
def move_average(
    average: Network, network: Network, momentum: float, *, copy_statistics: bool = False
) -> None:
    """Set w̄ ← m w̄ + (1 − m) w for all weights w of a network that learn.

    Parameters
    ----------
    average : Network
        Made by :func:`weight_average`.
    network : Network
    momentum : float
        m, in [0, 1).
    copy_statistics : bool
        Copy the running statistics of batch normalisation. Default False: the average keeps its own,
        which move when it passes inputs in train mode. Set it if the average predicts in eval mode only.
    """
    averages = dict(average.named_parameters())
    # By name: a frozen backbone may be loaded in one of the two and not in the other.
    learning = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    move = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    move([averages[name] for name in learning], list(learning.values()), None)
    if copy_statistics:
        present = dict(network.named_buffers())
        for name, buffer in average.named_buffers():
            buffer.copy_(present[name])


def rising_momentum(step: int, limit: float) -> float:
    """Return min(limit, 1 − 1/(step + 1)): the plain mean of all weights so far, until the limit is reached.

    Parameters
    ----------
    step : int
        Steps taken, from 1.
    limit : float
    """
    return min(limit, 1.0 - 1.0 / (step + 1))
