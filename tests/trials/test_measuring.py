"""What is measured of an epoch: predictions from one pass, and metrics of plugins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lnlbench.api import Method, Metric, NoParams, Predictions
from lnlbench.basics.facts import AccuracyFacts, EpochFacts
from lnlbench.errors import PluginError, TrialError
from lnlbench.inputs.network_inputs import FeatureInputs
from lnlbench.plugins import registry
from lnlbench.trials.measuring.accuracy import at_epochs, measure, predictions_of
from lnlbench.trials.workspace import RunSettings, Workspace


class Passing(Method):
    """Takes inputs for logits."""

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs


def inputs(logits: torch.Tensor) -> FeatureInputs:
    return FeatureInputs(logits, (), (), torch.arange(len(logits)), torch.device("cpu"))


def test_predictions_are_those_of_the_logits() -> None:
    logits = torch.randn(600, 7, generator=torch.Generator().manual_seed(0))  # more than two batches
    labels = torch.arange(600) % 7
    seen = predictions_of(Passing(NoParams()), inputs(logits), labels, 7)
    chances = logits.double().softmax(1)
    assert np.array_equal(seen.predicted, logits.argmax(1))
    assert np.allclose(seen.confidence, chances.max(1).values, rtol=1e-5)
    assert np.allclose(seen.probability, chances[torch.arange(600), labels], rtol=1e-5)
    order = logits.argsort(1, descending=True)
    assert np.array_equal(seen.rank, (order == labels[:, None]).int().argmax(1))
    assert seen.accuracy == 100.0 * float((logits.argmax(1) == labels).double().mean())
    assert seen.confusion.sum() == 600
    assert seen.confusion[2, 3] == int(((labels == 2) & (logits.argmax(1) == 3)).sum())


def test_logits_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(TrialError, match="not finite"):
        predictions_of(
            Passing(NoParams()), inputs(torch.tensor([[0.0, torch.nan]])), torch.zeros(1).long(), 2
        )


class Constant(Metric):
    """Whatever it is given."""

    def __init__(self, value: object) -> None:
        self.value = value

    def measure(self, predictions: Predictions) -> float | None:
        return self.value  # type: ignore[return-value]


SEEN = Predictions(np.zeros(1, int), np.zeros(1, int), np.ones(1), np.ones(1), np.zeros(1, int), 1)


def test_values_have_six_significant_digits() -> None:
    metrics: dict[str, Metric] = {"a": Constant(100 / 3), "b": Constant(None), "c": Constant(np.float32(0.5))}
    assert measure(metrics, SEEN) == {"a": 33.3333, "b": None, "c": 0.5}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "good", [1.0]])
def test_a_metric_that_gives_no_number_is_named(value: object) -> None:
    with pytest.raises(PluginError, match="'mine' returned no finite number"):
        measure({"mine": Constant(value)}, SEEN)


def test_metrics_are_kept_at_the_chosen_epochs() -> None:
    history: list[EpochFacts] = [
        {"epoch": 0},  # of a checkpoint that was made before
        {"epoch": 1, "metrics": {"validation": {"a": 1.0}, "test": {"a": 2.0}}},
        {"epoch": 2, "metrics": {"validation": {"a": 3.0, "b": 5.0}, "test": {"a": 4.0, "b": 6.0}}},
    ]
    chosen: AccuracyFacts = {"best_epoch": 1, "oracle_epoch": 0, "label_wave_epoch": 2}
    assert at_epochs(history, chosen) == {
        "a": {"best": 2.0, "last": 4.0, "oracle": None, "label_wave": 4.0},
        "b": {"best": None, "last": 6.0, "oracle": None, "label_wave": 6.0},
    }


def test_a_workspace_measures_a_metric_given_by_path(tmp_path: Path) -> None:
    path = tmp_path / "top5.py"
    path.write_text(
        "from lnlbench.api import Metric\n\n\nclass Top5(Metric):\n"
        "    def measure(self, predictions):\n        return 100.0 * float((predictions.rank < 5).mean())\n"
    )
    workspace = Workspace(RunSettings(data=None, cache=tmp_path, plugins=(f"{path}:Top5",)))
    assert {"top5", "balanced", "ece"} <= workspace.metrics().keys()
    assert registry.metrics().entry("top5").path == path
    assert workspace.metrics()["top5"].measure(SEEN) == 100.0
