"""UNICON's selection: divergence from the label, its cut-off, and equal shares of all classes."""

from __future__ import annotations

import math

import torch


def label_divergence(p_label: torch.Tensor) -> torch.Tensor:
    """Return the Jensen–Shannon divergence between predictions and one-hot labels, in nats.

    Only the probability of the label matters: with p = p_y it is
    ½[(1 − p) ln 2 + p ln(2p/(1 + p))] + ½ ln(2/(1 + p)) (Karim et al. 2022, equation 3,
    summed over the classes).

    Parameters
    ----------
    p_label : torch.Tensor, ``[N]``
        Predicted probability of the given label.

    Returns
    -------
    torch.Tensor, float64 ``[N]``
        In [0, ln 2]: 0 where p = 1, ln 2 where p = 0.
    """
    p = p_label.double()
    of_prediction = (1.0 - p) * math.log(2.0) + torch.special.xlogy(p, 2.0 * p / (1.0 + p))
    of_label = torch.log(2.0 / (1.0 + p))
    divergence: torch.Tensor = 0.5 * (of_prediction + of_label)
    return divergence.clamp(0.0, math.log(2.0))


def divergence_cutoff(divergence: torch.Tensor, d_u: float, tau: float, *, in_bits: bool) -> float:
    """Return the divergence below which samples look clean (Karim et al. 2022, section 3.2).

    It is the mean d̄, lowered to d̄ − (d̄ − d_min)/τ if d̄ exceeds d_u.

    Parameters
    ----------
    divergence : torch.Tensor, ``[N]``
        In nats.
    d_u, tau : float
    in_bits : bool
        The unit in which d̄ is compared with d_u. In nats no divergence exceeds ln 2 = 0.693,
        so the published d_u = 0.7 never acts; in bits divergences fill [0, 1].
    """
    mean = float(divergence.mean())
    if (mean / math.log(2.0) if in_bits else mean) > d_u:
        return mean - (mean - float(divergence.min())) / tau
    return mean


def lowest_of_each_class(
    divergence: torch.Tensor, labels: torch.Tensor, classes: int, quota: int
) -> tuple[torch.Tensor, int]:
    """Select the ``quota`` samples of smallest divergence of every class of given label.

    Parameters
    ----------
    divergence : torch.Tensor, ``[N]``
    labels : torch.Tensor, int64 ``[N]``
    classes, quota : int

    Returns
    -------
    selected : torch.Tensor, bool ``[N]``
        A class that has fewer samples is selected as a whole; no sample counts twice.
    short : int
        Number of classes that have fewer samples.
    """
    selected = torch.zeros(len(labels), dtype=torch.bool)
    short = 0
    for label in range(classes):
        members = (labels == label).nonzero().squeeze(1)
        short += len(members) < quota
        selected[members[divergence[members].argsort(stable=True)[:quota]]] = True
    return selected, short
