"""Out-of-fold probabilities: what a linear head says of samples that it has not learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from lnlbench.basics.seeding import numpy_stream

CHUNK = 16384  # rows that are in memory at a time


def stratified_folds(labels: npt.NDArray[Any], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal the samples of each class out to folds, at random and as evenly as can be.

    Where one class stops, the next goes on, so that folds differ in size by one sample at most.
    """
    shuffled = numpy_stream("folds", seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold


def out_of_fold(
    features: torch.Tensor,
    labels: npt.NDArray[Any],
    classes: int,
    *,
    folds: int = 5,
    decay: float = 2e-4,
    iterations: int = 100,
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Return each sample's class probabilities by the head that was fitted without its fold.

    The heads are multinomial logistic regressions on features that are standardised, and then scaled
    by 1/√d; they minimise the mean cross-entropy + ``decay``/2 · ‖W‖² by L-BFGS from zero. All K heads are
    fitted at once, so that each step reads the features once: a step's cost is that of one matrix
    product of N × d and d × K·C, there and back.

    Parameters
    ----------
    features : torch.Tensor, float ``[N, d]``
        On the device that computes.
    labels : ndarray, int64 ``[N]``
    classes : int
    folds : int
        K. Default 5; never more than there are samples.
    decay : float
        Default 2e-4: strong enough that a hundred steps suffice, whatever N is.
    iterations : int
        At most. Default 100.
    seed : int
        Of the folds; nothing else is random.

    Returns
    -------
    ndarray, float32 ``[N, C]``
    """
    folds = min(folds, len(labels))
    fold = torch.from_numpy(stratified_folds(labels, folds, seed)).to(features.device)
    heads = _Heads(features, torch.from_numpy(labels).to(features.device), fold, folds, classes, decay)
    start = np.zeros((features.shape[1] + 1) * folds * classes)
    options = {"maxiter": iterations, "maxcor": 7, "ftol": 1e-5, "gtol": 1e-5}
    fitted = minimize(heads.loss, start, jac=True, method="L-BFGS-B", options=options).x
    return heads.held_out(fitted)


class _Heads:
    """K heads, of which head k learns from all samples but those of fold k."""

    def __init__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        fold: torch.Tensor,
        folds: int,
        classes: int,
        decay: float,
    ) -> None:
        self.features, self.labels, self.fold = features, labels, fold
        self.folds, self.classes = folds, classes
        self.decay = decay
        count = 0.0
        total = torch.zeros(2, features.shape[1], dtype=torch.float64, device=features.device)
        for start in range(0, len(features), CHUNK):
            rows = features[start : start + CHUNK].double()
            total += torch.stack([rows.sum(0), rows.square().sum(0)])
            count += len(rows)
        self.mean, square = total / count
        spread = (square - self.mean.square()).clamp_min(0.0).sqrt()
        # A feature that never changes says nothing, and stays zero.
        scale = torch.where(spread > 1e-6 * self.mean.abs().clamp_min(1e-6), 1.0 / spread, 0.0)
        self.scale = (scale / features.shape[1] ** 0.5).float()
        self.mean = self.mean.float()

    def chunks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield rows of the standardised features, with a column of ones for the bias."""
        for start in range(0, len(self.features), CHUNK):
            part = slice(start, start + CHUNK)
            rows = (self.features[part].float() - self.mean) * self.scale
            yield part, torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)

    def weights(self, flat: npt.NDArray[np.float64]) -> torch.Tensor:
        """Return the heads, float32 ``[d + 1, K·C]``."""
        return (
            torch.from_numpy(flat).to(self.features.device, torch.float32).view(-1, self.folds * self.classes)
        )

    @torch.no_grad()
    def loss(self, flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Return the sum of the heads' losses, and its gradient."""
        weights = self.weights(flat)
        decayed = weights.clone()
        decayed[-1] = 0.0  # not the bias
        value = self.decay / 2 * decayed.double().square().sum()
        gradient = self.decay * decayed
        for part, rows in self.chunks():
            learns = self.fold[part, None] != torch.arange(self.folds, device=rows.device)
            share = (learns / len(self.labels)).float()
            logs = (rows @ weights).view(-1, self.folds, self.classes).log_softmax(2)
            own = self.labels[part, None, None].expand(-1, self.folds, 1)
            value -= (logs.gather(2, own).squeeze(2) * share).double().sum()
            error = logs.exp_().scatter_add_(2, own, torch.full_like(share, -1.0)[..., None])
            gradient += rows.T @ (error * share[..., None]).flatten(1)
        return float(value), gradient.double().cpu().numpy().ravel()

    @torch.no_grad()
    def held_out(self, flat: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return the probabilities of each sample by the head that has not seen it."""
        weights = self.weights(flat)
        found = np.empty((len(self.labels), self.classes), dtype=np.float32)
        for part, rows in self.chunks():
            logits = (rows @ weights).view(-1, self.folds, self.classes)
            chosen = logits[torch.arange(len(rows), device=rows.device), self.fold[part]]
            found[part] = chosen.softmax(1).cpu().numpy()
        return found
