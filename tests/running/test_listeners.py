"""Listeners of other programs, against what these programs read back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lnlbench.errors import UsageError
from lnlbench.grids.plan import Plan
from lnlbench.records.record import Record, Status
from lnlbench.running.listeners.choose import make_listener
from lnlbench.running.listeners.curves import epoch_number, numbers
from lnlbench.running.pending import Pending
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, PhaseSpec, TrialSpec

SPEC = TrialSpec(
    dataset=DatasetSpec("digits"),
    noise=NoiseSpec("symmetric", 0.4),
    backbone=BackboneSpec("efficientnet_lite0"),
    tuning="lp-fft",
    method=MethodSpec("ce"),
    seed=3,
    phases=(PhaseSpec("lp", 2), PhaseSpec("fft", 1)),
)
HISTORY = [
    {"phase": "lp", "epoch": 0, "loss": 1.5, "validation": 50.0, "selection": {"size": 7, "auc": None}},
    {"phase": "lp", "epoch": 1, "loss": float("nan"), "validation": 60.0},
    {"phase": "fft", "epoch": 0, "loss": 0.5, "validation": 70.0},
]
DONE = Record(SPEC, Status.DONE, metrics={"best": 66.5, "last": 66.0, "best_epoch": 2}, history=HISTORY)
CURVE = [(0, 50.0), (1, 60.0), (2, 70.0)]


def tell(listener_text: str, record: Record) -> None:
    """Let a listener hear of a whole run."""
    listener = make_listener(listener_text)
    listener.planned(Plan("mini", "A few", {}, ()), Pending((SPEC,), 0, 0), Path("out"))
    listener.started(SPEC)
    for entry in HISTORY:
        listener.epoch(SPEC, entry)
    listener.finished(record)
    listener.ended()


def test_numbers_are_flat_and_finite() -> None:
    assert numbers(HISTORY[0]) == {"loss": 1.5, "validation": 50.0, "selection/size": 7.0}
    assert numbers(HISTORY[1]) == {"validation": 60.0}
    assert [epoch_number(SPEC, entry) for entry in HISTORY] == [0, 1, 2]


def test_tensorboard_reads_curves_settings_and_results(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tell(f"tensorboard:{tmp_path}/logs", DONE)
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name == f"ce lp-fft {SPEC.trial_id}"
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("validation")] == CURVE
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(0, 1.5), (2, 0.5)]
    assert [e.value for e in events.Scalars("best")] == [66.5]


def test_mlflow_reads_curves_settings_and_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    tell(f"mlflow:{tmp_path}/mlruns", DONE)
    tell(f"mlflow:{tmp_path}/mlruns", Record(SPEC, Status.FAILED, error={"type": "E", "message": "m"}))
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("mini")
    failed, done = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert (done.info.status, done.data.metrics["best"]) == ("FINISHED", 66.5)
    assert (done.data.params["method"], done.data.params["seed"]) == ("ce", "3")
    history = client.get_metric_history(done.info.run_id, "validation")
    assert [(point.step, point.value) for point in history] == CURVE
    assert (failed.info.status, failed.data.tags["error"]) == ("FAILED", "E: m")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tensorbord:logs", "Did you mean 'tensorboard'"),
        ("tensorboard", "does not say where to"),
        ("mlflow:", "does not say where to"),
    ],
)
def test_a_listener_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_listener(text)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "lnlbench.running.listeners.wandb_listener", raising=False)
    with pytest.raises(UsageError, match=r"pip install lnlbench\[wandb\]"):
        make_listener("wandb:project")
