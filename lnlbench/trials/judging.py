"""Verdicts on the training samples: what a trained method says of each, in one pass without augmentation."""

from __future__ import annotations

import numpy as np
import torch

from lnlbench.api import Method, Selection
from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.data.dataset import UNKNOWN
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.records.beside.verdicts import Verdicts
from lnlbench.trials.phase_inputs import Splits
from lnlbench.trials.problem import Problem


def judge(method: Method, splits: Splits, problem: Problem, selection: Selection | None) -> Verdicts:
    """Return the verdicts of a method whose networks are in eval mode.

    Parameters
    ----------
    method : Method
    splits : Splits
        What its networks are fed in the last phase.
    problem : Problem
    selection : Selection or None
        The last that it has published. A score that leaves [0, 1] is scaled to it.
    """
    parts = [(splits.train, problem.train_rows, problem.train_labels)]
    if problem.validation_part == "train":
        parts.append((splits.validation, problem.validation_rows, problem.validation_labels))
    size = sum(len(rows) for _, rows, _ in parts)
    given, predicted = np.zeros(size, np.int64), np.zeros(size, np.int64)
    probability, margin = np.zeros(size), np.zeros(size)
    for inputs, rows, labels in parts:
        place = rows.numpy()
        given[place] = labels.numpy()
        predicted[place], probability[place], margin[place] = _look(method, inputs, labels)
    taken = problem.train_rows.numpy()
    held_out = np.ones(size, dtype=np.bool_)
    held_out[taken] = False
    score, selected = None, None
    if selection is not None:
        selected = np.zeros(size, dtype=np.bool_)
        selected[taken] = selection.selected.cpu().numpy()
        if selection.score is not None:
            score = np.full(size, np.nan)
            score[taken] = _in_unit(selection.score.detach().cpu().double().numpy())
    images = problem.dataset.train.images
    return Verdicts(
        problem.dataset.classes,
        held_out,
        given,
        predicted,
        probability,
        margin,
        score,
        selected,
        None if images is None else images.files,
    )


def memorised(verdicts: Verdicts, problem: Problem) -> float | None:
    """Return the share of wrong training labels that a method predicts, in percent.

    What Liu et al. (Early-Learning Regularization, NeurIPS 2020, figure 1) count as memorised. Held-out
    samples are left out, and those of which nobody knows the truth; None where no label is known to be
    wrong.
    """
    if problem.true_labels is None:
        return None
    rows = problem.train_rows.numpy()
    given, predicted = verdicts.given[rows], verdicts.predicted[rows]
    wrong = (problem.true_labels != UNKNOWN) & (problem.true_labels != given)
    return 100.0 * float((predicted == given)[wrong].mean()) if wrong.any() else None


@torch.no_grad()
def _look(method: Method, inputs: Inputs, labels: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predicted classes, probabilities of the labels, and margins."""
    found = []
    for index, batch in inputs.in_order(EVALUATION_BATCH):
        logits = method.predict(batch).double()
        wanted = labels[index].to(logits.device)[:, None]
        chances = logits.softmax(1)
        own = chances.gather(1, wanted)
        rival = chances.scatter(1, wanted, -1.0).amax(1, keepdim=True)
        found.append(torch.cat((logits.argmax(1, keepdim=True).double(), own, own - rival), 1).cpu())
    predicted, probability, margin = torch.cat(found).numpy().T
    return predicted.astype(np.int64), probability, margin


def _in_unit(score: np.ndarray) -> np.ndarray:
    inside = score.min() >= 0.0 and score.max() <= 1.0
    if inside:
        return score
    from lnlbench.components.mixture import scale_to_unit  # with scikit-learn, which takes a second to import

    return scale_to_unit(score)
