"""How good predictions are: per epoch, and over the epochs of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lnlbench.api import Method, Metric, Predictions
from lnlbench.api.phase import EVALUATION_BATCH
from lnlbench.basics.facts import AccuracyFacts, EpochFacts
from lnlbench.errors import PluginError, TrialError
from lnlbench.inputs.network_inputs import Inputs
from lnlbench.metrics.label_wave import label_wave


@torch.no_grad()
def predictions_of(method: Method, inputs: Inputs, labels: torch.Tensor, classes: int) -> Predictions:
    """Return what a method says of a split, from one pass."""
    parts = []
    for index, batch in inputs.in_order(EVALUATION_BATCH):
        logits = method.predict(batch)
        if not torch.isfinite(logits).all():
            raise not_finite()
        parts.append(looked_at(logits, labels[index]).cpu())
    return predictions_from(torch.cat(parts), labels, classes)


def not_finite() -> TrialError:
    """Return the error of a trial whose predictions are not finite."""
    return TrialError("The predictions are not finite.", "Lower the learning rate (the lr of the phase).")


def looked_at(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return what predictions are made of: class, rank of label, two probabilities, float64 ``[…, b, 4]``.

    Parameters
    ----------
    logits : torch.Tensor, ``[…, b, C]``
    labels : torch.Tensor, int64 ``[b]``
    """
    logits = logits.float()
    given = labels.to(logits.device).expand(logits.shape[:-1])
    wanted = torch.stack((logits.argmax(-1), given), -1)
    chances = logits.softmax(-1).gather(-1, wanted)
    rank = (logits > logits.gather(-1, wanted[..., 1:])).sum(-1)
    # Together, because each copy waits for the device; classes are exact in double precision.
    return torch.cat((wanted[..., :1], rank[..., None], chances), -1).double()


def predictions_from(looked: torch.Tensor, labels: torch.Tensor, classes: int) -> Predictions:
    """Return the predictions that :func:`looked_at` has found for a split, ``[N, 4]`` on the CPU."""
    predicted, rank, confidence, probability = looked.T.numpy()
    return Predictions(
        labels.numpy(),
        predicted.astype(np.int64),
        confidence,
        probability,
        rank.astype(np.int64),
        classes,
    )


def measure(metrics: Mapping[str, Metric], predictions: Predictions) -> dict[str, float | None]:
    """Return the values of metrics, to six significant digits.

    Raises
    ------
    PluginError
        If one of them returns something else than a finite number or None.
    """
    values: dict[str, float | None] = {}
    for name, metric in metrics.items():
        value = metric.measure(predictions)
        if value is not None:
            try:
                value = float(value)
            except (TypeError, ValueError):
                value = math.nan
            if not math.isfinite(value):
                raise PluginError(
                    f"The metric '{name}' returned no finite number.",
                    "Its measure() returns one, or None where it is not defined.",
                )
            value = float(f"{value:.6g}")
        values[name] = value
    return values


def at_epochs(history: Sequence[EpochFacts], chosen: AccuracyFacts) -> dict[str, dict[str, float | None]]:
    """Return the test metrics at the epochs that :func:`summarise` chose: by name, then by rule."""
    epochs = {"best": chosen["best_epoch"], "last": len(history) - 1, "oracle": chosen["oracle_epoch"]}
    if "label_wave_epoch" in chosen:
        epochs["label_wave"] = chosen["label_wave_epoch"]
    measured = [entry.get("metrics", {}).get("test", {}) for entry in history]
    names = dict.fromkeys(name for values in measured for name in values)
    return {name: {rule: measured[epoch].get(name) for rule, epoch in epochs.items()} for name in names}


def summarise(history: Sequence[EpochFacts]) -> AccuracyFacts:
    """Return best, last, oracle and Label Wave accuracy (protocol, section 1).

    ``best`` is selected by validation accuracy, the first epoch on ties; ``oracle`` by test
    accuracy, which no method has; ``label_wave`` by changes of training predictions, see
    :mod:`lnlbench.metrics.label_wave`, and is left out where these are not known.
    """
    validation = [entry["validation"] for entry in history]
    test = [entry["test"] for entry in history]
    best = validation.index(max(validation))
    oracle = test.index(max(test))
    found: AccuracyFacts = {
        "best": test[best],
        "last": test[-1],
        "oracle": test[oracle],
        "best_epoch": best,
        "oracle_epoch": oracle,
    }
    wave = label_wave(history)
    if wave is not None:
        found |= {"label_wave": test[wave], "label_wave_epoch": wave}
    return found
