"""How well a method tells clean samples from noisy ones (protocol, section 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True, slots=True)
class Selection:
    """What a method publishes about its view of the samples.

    Parameters
    ----------
    selected : torch.Tensor, bool ``[N]``
        The samples that the method takes as clean.
    score : torch.Tensor, float ``[N]``, optional
        A per-sample score that is higher for cleaner samples.
    """

    selected: torch.Tensor
    score: torch.Tensor | None = None


def measure_selection(
    selection: Selection, given: np.ndarray, clean: np.ndarray, classes: int
) -> dict[str, Any]:
    """Compare a selection with the truth, which only the runner holds.

    Parameters
    ----------
    selection : Selection
    given, clean : ndarray of int64, ``[N]``
        Labels as the method sees them, and as they are.
    classes : int

    Returns
    -------
    dict
        ``size``; ``purity`` (share of the selected whose label is right) and ``recall``
        (share of the rightly labelled that is selected), in percent; ``auc`` of the score
        (None if undefined); ``per_class`` with size, purity and recall by given label.
        A share of nothing is None.
    """
    selected = selection.selected.cpu().numpy().astype(bool)
    right = given == clean

    def share(part: np.ndarray, whole: np.ndarray) -> float | None:
        total = int(whole.sum())
        return 100.0 * int((part & whole).sum()) / total if total else None

    auc = None
    if selection.score is not None and right.any() and not right.all():
        auc = float(roc_auc_score(right, selection.score.detach().cpu().double().numpy()))
    per_class: dict[str, list[Any]] = {"size": [], "purity": [], "recall": []}
    for label in range(classes):
        mine = given == label
        per_class["size"].append(int((selected & mine).sum()))
        per_class["purity"].append(share(right, selected & mine))
        per_class["recall"].append(share(selected, right & mine))
    return {
        "size": int(selected.sum()),
        "purity": share(right, selected),
        "recall": share(selected, right),
        "auc": auc,
        "per_class": per_class,
    }
