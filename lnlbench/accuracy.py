"""How good predictions are: per epoch, and over the epochs of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lnlbench.api import Method
from lnlbench.data.inputs import Inputs, in_order
from lnlbench.errors import TrialError
from lnlbench.phase import EVALUATION_BATCH


@torch.no_grad()
def accuracy(method: Method, inputs: Inputs, labels: torch.Tensor) -> float:
    """Return the share of right predictions, in percent."""
    right = 0
    for index, batch in in_order(inputs, EVALUATION_BATCH):
        logits = method.predict(batch)
        if not torch.isfinite(logits).all():
            raise TrialError("The predictions are not finite.", "Lower the learning rate (lp.lr or fft.lr).")
        right += int((logits.argmax(1).cpu() == labels[index]).sum())
    return 100.0 * right / len(labels)


def summarise(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return best, last and oracle accuracy (protocol, section 1).

    ``best`` is selected by validation accuracy, the first epoch on ties; ``oracle`` by test
    accuracy, which no method has.
    """
    validation = [entry["validation"] for entry in history]
    test = [entry["test"] for entry in history]
    best = validation.index(max(validation))
    oracle = test.index(max(test))
    return {
        "best": test[best],
        "last": test[-1],
        "oracle": test[oracle],
        "best_epoch": best,
        "oracle_epoch": oracle,
    }
