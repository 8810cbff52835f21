"""What networks predict for the training samples while they learn, at no pass of its own.

Networks are watched: where one is given the inputs or a view of a batch as they are, its largest logits are
the predictions for the batch's samples; so are those of a pass over the whole set. Mixed inputs belong to no
sample and are left out.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from lnlbench.models.transport import to_device


class TrainingPredictions:
    """The predictions of an epoch, and how many are not those of the epoch before.

    A sample's prediction is that of the last network that saw it in the epoch, in the mode and with the
    augmentation that it was seen with.

    Parameters
    ----------
    samples, classes : int
    device : torch.device
        Of the networks; predictions stay there.
    """

    def __init__(self, samples: int, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._now = torch.full((samples,), -1, dtype=torch.int16, device=device)
        self._before: torch.Tensor | None = None
        # A batch's tensors must not live longer for being watched.
        self._batches: MutableMapping[torch.Tensor, torch.Tensor] = WeakIdKeyDictionary()

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingPredictions:
        # A copied network (a weight average, say) is watched by the same.
        return self

    def watch(self, network: nn.Module) -> None:
        """Look at every pass of a network, and of its copies."""
        network.register_forward_hook(self._look)

    def expect(self, index: torch.Tensor, *tensors: torch.Tensor) -> None:
        """Remember which samples the tensors of a batch are."""
        for tensor in tensors:
            self._batches[tensor] = index

    def put(self, index: torch.Tensor, outputs: torch.Tensor) -> None:
        """Take the largest of each row of logits ``[B, C]``; what has another shape is none."""
        if outputs.shape == (len(index), self._classes):
            self._now[to_device(index, self._now.device)] = outputs.detach().argmax(1).to(torch.int16)

    def keep_in(self, now: torch.Tensor) -> None:
        """Keep the predictions of an epoch in a given tensor, int16 ``[N]``, that others may write to."""
        self._now = now.copy_(self._now)

    def end_epoch(self) -> float | None:
        """Return the share of predictions that are not those of the epoch before, in percent.

        None if there is no sample that both epochs have a prediction for.
        """
        before, self._before = self._before, self._now.clone()
        self._now.fill_(-1)
        if before is None:
            return None
        both = (before >= 0) & (self._before >= 0)
        compared = int(both.sum())
        changed = int((both & (before != self._before)).sum())
        return float(f"{100.0 * changed / compared:.6g}") if compared else None

    def state(self) -> torch.Tensor | None:
        """Return the predictions of the epoch before, for a checkpoint."""
        return self._before

    def load(self, state: torch.Tensor | None) -> None:
        """Continue from :meth:`state`."""
        self._before = None if state is None else state.to(self._now.device)

    def _look(self, network: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        given = inputs[0] if inputs else None
        if isinstance(given, torch.Tensor) and isinstance(outputs, torch.Tensor):
            index = self._batches.get(given)
            if index is not None:
                self.put(index, outputs)
