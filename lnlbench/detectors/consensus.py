"""HOC: the noise of a data set from its neighbours' labels alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lnlbench.basics.seeding import numpy_stream
from lnlbench.detectors.neighbours import Neighbours

CELLS = 2 * 10**7  # numbers per tensor of the fit: samples × classes, at most


@dataclass(frozen=True, slots=True)
class Consensus:
    """What HOC estimates.

    Attributes
    ----------
    transition : ndarray, float64 ``[C, C]``
        T: P(given = b | true = a), row a, column b.
    prior : ndarray, float64 ``[C]``
        p: P(true = a).
    """

    transition: npt.NDArray[np.float64]
    prior: npt.NDArray[np.float64]

    @property
    def rate(self) -> float:
        """The share of wrong labels, 1 − Σ p_a T_aa."""
        return float(np.clip(1.0 - self.prior @ np.diag(self.transition), 0.0, 1.0))


def fit_consensus(
    labels: npt.NDArray[np.int64], neighbours: Neighbours, classes: int, *, steps: int = 400, seed: int = 0
) -> Consensus:
    """Fit transition and prior to how often the labels of a sample and its two nearest others occur together.

    If the three have one true class, and their labels go wrong independently, the frequencies of
    labels a, pairs ab and triples abc are Σ_y p_y T_ya, Σ_y p_y T_ya T_yb and Σ_y p_y T_ya T_yb T_yc.
    Minimised is the sum of the three Euclidean distances, by Adam (learning rate 0.01 for 20 steps,
    then 0.1) over logits that begin at 5·I − 1 and 0; the best step is kept.

    Deviations from the authors' code: neighbours are sought among all samples, not among 15,000 drawn
    in each of ten rounds, and triples are counted over all of them unless N·C exceeds 2·10⁷, where a
    seeded sample is.

    Source: Zhu, Song & Liu, Clusterability as an Alternative to Anchor Points When Learning with Noisy
    Labels (ICML, 2021), equations 5 to 8.

    Parameters
    ----------
    labels : ndarray, int64 ``[N]``
    neighbours : Neighbours
        With at least two each.
    classes : int
    steps : int
        Default 400.
    seed : int
        Of the sample of triples.
    """
    triples = np.column_stack([labels, neighbours.index[:, :2]])
    most = max(CELLS // classes, 1)
    if len(triples) > most:
        triples = triples[numpy_stream("triples", seed).choice(len(triples), most, replace=False)]
    triples[:, 1:] = labels[triples[:, 1:]]
    distance = _Distance(triples, classes)
    eye = torch.eye(classes, dtype=torch.float64)
    logits = (5.0 * eye - 1.0).requires_grad_()
    prior = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits, prior], lr=0.01)
    best, kept = torch.inf, (logits.detach().clone(), prior.detach().clone())
    for step in range(steps):
        if step == 20:
            optimizer.param_groups[0]["lr"] = 0.1
        loss = distance(logits.softmax(1), prior.softmax(0))
        if loss.item() < best:
            best, kept = loss.item(), (logits.detach().clone(), prior.detach().clone())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return Consensus(kept[0].softmax(1).numpy(), kept[1].softmax(0).numpy())


class _Distance:
    """Σ_m ‖ĉ_m − c_m‖ for label frequencies of first, second and third order.

    The third order has C³ cells. None is made that did not occur: ‖ĉ − c‖² = ‖ĉ‖² − 2⟨ĉ, c⟩ + ‖c‖²,
    where the second term needs only triples that are there, whose order does not matter to c, and
    the third is Σ_yz p_y p_z ⟨T_y, T_z⟩³.
    """

    def __init__(self, triples: npt.NDArray[np.int64], classes: int) -> None:
        samples = len(triples)
        first = np.bincount(triples[:, 0], minlength=classes) / samples
        second = np.bincount(triples[:, 0] * classes + triples[:, 1], minlength=classes**2) / samples
        self.first = torch.from_numpy(first)
        self.second = torch.from_numpy(second.reshape(classes, classes))
        _, counts = np.unique(triples, axis=0, return_counts=True)
        self.square = float(((counts / samples) ** 2).sum())
        unordered, counts = np.unique(np.sort(triples, axis=1), axis=0, return_counts=True)
        self.where = torch.from_numpy(unordered.T.copy())
        self.weight = torch.from_numpy(counts / samples)

    def __call__(self, transition: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
        """Return the distance of frequencies that T and p would give."""
        first = prior @ transition - self.first
        second = (transition.T * prior) @ transition - self.second
        a, b, c = (transition[:, labels] for labels in self.where)
        cross = prior @ (a * b * c) @ self.weight
        third = self.square - 2.0 * cross + prior @ (transition @ transition.T) ** 3 @ prior
        # The derivative of a root is infinite at zero; where the fit is perfect, rounding leaves ±1e-17.
        distance: torch.Tensor = first.norm() + second.norm() + third.clamp_min(1e-12).sqrt()
        return distance
