"""Heads of several trials that are trained together, as :meth:`lnlbench.api.Method.head_losses` sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional


class Heads:
    """K trials of one method on the same batches, each with parameters of its own.

    Parameters
    ----------
    methods : sequence of Method
        One per trial, after :meth:`~lnlbench.api.Method.setup`.
    like : torch.Tensor
        Has the type and the device of the heads.
    """

    def __init__(self, methods: Sequence[Any], like: torch.Tensor) -> None:
        self._methods = tuple(methods)
        self._like = like
        self._params: dict[str, torch.Tensor] = {}
        self._stacks: dict[str, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._methods)

    def param(self, name: str) -> torch.Tensor:
        """Return a parameter of every trial's method, ``[K, 1]``, in the type of the heads.

        Parameters
        ----------
        name : str
            Of a field of ``Params`` that is a number.
        """
        if name not in self._params:
            values = [float(getattr(method.params, name)) for method in self._methods]
            self._params[name] = self._like.new_tensor(values)[:, None]
        return self._params[name]

    def stacked(self, path: str) -> torch.Tensor:
        """Return a tensor that every trial's method keeps, as one ``[K, …]`` that may be written to.

        The tensors of the methods are its rows from then on, so that what is written is theirs: checkpoints
        and predictions see it.

        Parameters
        ----------
        path : str
            Where a method has it, as in ``"targets.values"``. All have the same shape and type.
        """
        if path not in self._stacks:
            *way, last = path.split(".")
            owners = []
            for owner in self._methods:
                for name in way:
                    owner = getattr(owner, name)
                owners.append(owner)
            stack = torch.stack([getattr(owner, last) for owner in owners])
            for owner, row in zip(owners, stack, strict=True):
                setattr(owner, last, row)
            self._stacks[path] = stack
        return self._stacks[path]

    @staticmethod
    def log_probabilities(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return log p_y of every trial's prediction for every sample, ``[K, B]``.

        Parameters
        ----------
        logits : torch.Tensor, ``[K, B, C]``
        labels : torch.Tensor, int64 ``[B]``
        """
        log_p = functional.log_softmax(logits, dim=2)
        return log_p.gather(2, labels.expand(len(logits), -1)[:, :, None]).squeeze(2)
