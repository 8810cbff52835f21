"""Running averages of predictions, one per training sample, as targets."""

from __future__ import annotations

import torch
from torch import nn

from lnlbench.models.transport import to_device

STORAGE = ("float32", "float16", "bfloat16")
PLACES = ("device", "cpu")


class RunningTargets(nn.Module):
    """Exponential averages t of each sample's predictions, all zero at first.

    Parameters
    ----------
    samples, classes : int
    storage : {"float32", "float16", "bfloat16"}
        Type in which the N × C numbers are kept.
    place : {"device", "cpu"}
    device : torch.device
        What ``"device"`` means.

    Attributes
    ----------
    values : torch.Tensor, ``[N, C]``
    """

    values: torch.Tensor

    def __init__(self, samples: int, classes: int, storage: str, place: str, device: torch.device) -> None:
        super().__init__()
        place_of_values = device if place == "device" else "cpu"
        values = torch.zeros(samples, classes, dtype=getattr(torch, storage), device=place_of_values)
        self.register_buffer("values", values)

    @torch.no_grad()
    def update(self, index: torch.Tensor, p: torch.Tensor, beta: float) -> torch.Tensor:
        """Set t_i ← β t_i + (1 − β) p_i and return the new t_i, on the device of ``p``.

        Parameters
        ----------
        index : torch.Tensor, int64 ``[B]``
            Samples. Where one stands there more than once (oversampling), each of its rows is moved
            from the t_i that is stored, and the last row's is kept.
        p : torch.Tensor, ``[B, C]``
            Their predicted probabilities.
        beta : float
        """
        rows = to_device(index, self.values.device)
        new = beta * self.values[rows].to(p) + (1.0 - beta) * p
        kept = {sample: row for row, sample in enumerate(index.tolist())}
        if len(kept) < len(index):
            # Which of two writes to a row wins is left open by PyTorch.
            last = list(kept.values())
            self.values[rows[last]] = new[last].to(self.values)
        else:
            self.values[rows] = new.to(self.values)
        return new
