"""Running averages of predictions, one per training sample, as targets."""

from __future__ import annotations

import torch

STORAGE = ("float32", "float16", "bfloat16")
PLACES = ("device", "cpu")


class RunningTargets:
    """Exponential averages t of each sample's predictions, all zero at first.

    Parameters
    ----------
    samples, classes : int
    storage : {"float32", "float16", "bfloat16"}
        Type in which the N × C numbers are kept.
    place : {"device", "cpu"}
    device : torch.device
        What ``"device"`` means.
    """

    def __init__(self, samples: int, classes: int, storage: str, place: str, device: torch.device) -> None:
        self.values = torch.zeros(
            samples,
            classes,
            dtype=getattr(torch, storage),
            device=device if place == "device" else "cpu",
        )

    @torch.no_grad()
    def update(self, index: torch.Tensor, p: torch.Tensor, beta: float) -> torch.Tensor:
        """Set t_i ← β t_i + (1 − β) p_i and return the new t_i, on the device of ``p``.

        Parameters
        ----------
        index : torch.Tensor, int64 ``[B]``
            Samples; none twice.
        p : torch.Tensor, ``[B, C]``
            Their predicted probabilities.
        beta : float
        """
        rows = index.to(self.values.device)
        new = beta * self.values[rows].to(p) + (1.0 - beta) * p
        self.values[rows] = new.to(self.values)
        return new
