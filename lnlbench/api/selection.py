"""What a method says of its samples, and how well that fits the truth (protocol, section 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lnlbench.basics.facts import SelectionFacts
from lnlbench.data.dataset import UNKNOWN
from lnlbench.errors import PluginError


@dataclass(frozen=True, slots=True)
class Selection:
    """What a method publishes about its view of the samples.

    Parameters
    ----------
    selected : torch.Tensor, bool ``[N]``
        The samples that the method takes as clean.
    score : torch.Tensor, float ``[N]``, optional
        A per-sample score that is higher for cleaner samples.
    labels : torch.Tensor, int64 ``[N]``, optional
        Corrected labels: what the method takes each sample for, the given label where it trusts it.
    """

    selected: torch.Tensor
    score: torch.Tensor | None = None
    labels: torch.Tensor | None = None

    def check(self, samples: int, classes: int) -> None:
        """Raise a ``PluginError`` that says what is wrong if this is no selection of ``samples`` samples."""
        for name in ("selected", "score", "labels"):
            values = getattr(self, name)
            if values is not None and values.shape != (samples,):
                shape = list(values.shape)
                raise PluginError(
                    f"A published selection has {name} of shape {shape}; it must be [{samples}].",
                    "One value for each training sample, in the order of phase.labels.",
                )
        if self.score is not None and not self.score.isfinite().all():
            raise PluginError("A published selection has scores that are not finite.")
        if self.labels is not None and not ((self.labels >= 0) & (self.labels < classes)).all():
            raise PluginError(f"A published selection has labels that are not in 0 … {classes - 1}.")


def measure_selection(
    selection: Selection, given: np.ndarray, clean: np.ndarray | None, classes: int
) -> SelectionFacts:
    """Describe a selection, and compare it with the truth, which only the runner holds.

    Parameters
    ----------
    selection : Selection
    given : ndarray of int64, ``[N]``
        Labels as the method sees them.
    clean : ndarray of int64 or None, ``[N]``
        Labels as they are, None where nobody knows them (``noise = "real"``). Where that is so of some
        samples only (:data:`lnlbench.data.dataset.UNKNOWN`), all that needs the truth is that of the
        others; a label that is :data:`lnlbench.data.dataset.WRONG` counts as corrected by none.
    classes : int

    Returns
    -------
    dict
        ``size``; ``score``, the score's smallest value, quartiles and largest value (None without one);
        ``per_class`` with ``size`` by given label. Of corrected labels ``changed``, the share that
        differs from the given ones, in percent.
        With the truth also ``purity`` (share of the selected whose label is right) and ``recall``
        (share of the rightly labelled that is selected), in percent, here and in ``per_class``; ``auc``
        of the score, ``ap`` (average precision of finding the wrong labels by a low score) and ``fnr`` (share
        of these that is missed when as many samples of lowest score are flagged as there are wrong labels, in
        percent; of equal scores at the limit, the expected share), each None if undefined; of corrected
        labels ``corrected``, the share that is right, in percent. A share of nothing is None.
    """
    selected = selection.selected.cpu().numpy().astype(bool)
    score = None if selection.score is None else selection.score.detach().cpu().double().numpy()
    labels = None if selection.labels is None else selection.labels.cpu().numpy()
    members = [given == label for label in range(classes)]
    found: SelectionFacts = {
        "size": int(selected.sum()),
        "score": None if score is None else np.quantile(score, (0.0, 0.25, 0.5, 0.75, 1.0)).tolist(),
        "per_class": {"size": [int((selected & mine).sum()) for mine in members]},
    }
    if labels is not None:
        found["changed"] = _share(labels != given, np.ones_like(selected))
    if clean is None:
        return found
    known = clean != UNKNOWN
    right, selected = (given == clean)[known], selected[known]
    members = [mine[known] for mine in members]
    score = None if score is None else score[known]
    found["purity"], found["recall"] = _share(right, selected), _share(selected, right)
    found["auc"], found["ap"], found["fnr"] = None, None, None
    if score is not None and right.any() and not right.all():
        # Here, because it takes a fifth of what a worker needs to start, and most trials select nothing.
        from sklearn.metrics import average_precision_score, roc_auc_score

        found["auc"] = float(roc_auc_score(right, score))
        found["ap"] = float(average_precision_score(~right, -score))
        found["fnr"] = _missed(~right, score)
    found["per_class"]["purity"] = [_share(right, selected & mine) for mine in members]
    found["per_class"]["recall"] = [_share(selected, right & mine) for mine in members]
    if labels is not None:
        found["corrected"] = _share((labels == clean)[known], np.ones_like(selected))
    return found


def _missed(wrong: np.ndarray, score: np.ndarray) -> float:
    """Return the share of wrong labels that is not among the samples of lowest score, in percent."""
    flagged = int(wrong.sum())
    limit = np.partition(score, flagged - 1)[flagged - 1]
    below, tied = score < limit, score == limit
    found = (wrong & below).sum() + (flagged - below.sum()) * (wrong & tied).sum() / tied.sum()
    return 100.0 * (1.0 - float(found) / flagged)


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    """Return how much of a whole is in a part, in percent."""
    total = int(whole.sum())
    return 100.0 * int((part & whole).sum()) / total if total else None
