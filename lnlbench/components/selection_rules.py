"""Selections: UNICON's divergence, cut-off and equal shares, and some of every class for any other."""

from __future__ import annotations

import math

import torch

from lnlbench.api import Network, Phase


def label_probabilities(phase: Phase, network: Network) -> torch.Tensor:
    """Return the probability that a network gives each sample's label, float64 ``[N]``, on the CPU."""
    return phase.reduce(
        network, lambda logits, batch: logits.double().softmax(1).gather(1, batch.labels[:, None]).squeeze(1)
    ).cpu()


def label_divergence(p_label: torch.Tensor) -> torch.Tensor:
    """Return the Jensen–Shannon divergence between predictions and one-hot labels, in nats.

    Only the probability of the label matters: with p = p_y it is
    ½[(1 − p) ln 2 + p ln(2p/(1 + p))] + ½ ln(2/(1 + p)) (Karim et al. 2022, equation 3,
    summed over the classes). In float64, whatever the network's precision: in float32 all p below
    about 1e-7, common for wrong labels of a confident network, would tie at ln 2.

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


def with_every_class(clean: torch.Tensor, score: torch.Tensor, phase: Phase, least: int = 0) -> torch.Tensor:
    """Return the clean samples, and some of every class that would have none, bool ``[N]``.

    Such a class gets its best scores, as many as the smallest other class has kept. If nothing is clean,
    everything is returned. The events ``class_without_kept_samples`` and ``nothing_kept`` count both.

    Parameters
    ----------
    clean : torch.Tensor, bool ``[N]``
    score : torch.Tensor, float ``[N]``
        Higher for cleaner samples of a class.
    phase : Phase
    least : int
        How many an empty class gets at least, if it has them. Default 0.
    """
    if not clean.any():
        phase.count("nothing_kept")
        return torch.ones_like(clean)
    given = phase.labels.bincount(minlength=phase.classes)
    left = phase.labels[clean].bincount(minlength=phase.classes)
    quota = max(int(left[left > 0].min()), least)
    selected = clean.clone()
    for label in ((left == 0) & (given > 0)).nonzero().flatten():
        phase.count("class_without_kept_samples")
        members = (phase.labels == label).nonzero().flatten()
        selected[members[score[members].argsort(descending=True, stable=True)[:quota]]] = True
    return selected
