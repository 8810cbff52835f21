"""Whole trials in two processes against one, in double precision; what becomes of a process that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lnlbench.errors import UsageError
from lnlbench.grids.plan import plan
from lnlbench.launching.companions import attempt_with
from lnlbench.launching.local_companions import LocalCompanions, visible_gpu
from lnlbench.launching.team_size import check_shared, processes_of
from lnlbench.plugins import registry
from lnlbench.records.record import Record, Status
from lnlbench.running.job import add_plugins
from lnlbench.spec import TrialSpec
from lnlbench.trials import attempt
from lnlbench.trials.attempt import StopTrial, attempt_trial
from lnlbench.trials.trial import Trial
from lnlbench.trials.workspace import RunSettings, Workspace

HERE = Path(__file__).parent
PLUGINS = [
    f"{HERE / 'double_backbone.py'}:Double",
    *(
        f"{HERE / 'troubled_methods.py'}:{name}"
        for name in ("Killed", "Raising", "RaisingFirst", "OwnSteps", "Unable")
    ),
]
SMALL = ["train_per_class=12", "test_per_class=6", "fft.epochs=3", "fft.batch_size=15", "lp.epochs=2"]
SMALL += ["lp.cache=false", "backbone=double", "backbone_options.weights=none", "precision=fp32"]
SMALL += ["fft.lr=0.01", "lp.batch_size=15", "image_size=12", "dataset_options.recipe=crop-flip"]


@pytest.fixture(autouse=True)
def _plugins() -> None:
    add_plugins(PLUGINS)


def spec(method: str, tuning: str = "fft", *more: str) -> TrialSpec:
    sets = [*SMALL, f"method={method}", f"tuning={tuning}", "noise=symmetric-0.4", *more]
    (planned,) = plan("quickstart", sets=sets, seeds="0").planned
    return planned.spec


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    add_plugins(PLUGINS)
    return RunSettings(
        data=None,
        cache=tmp_path_factory.mktemp("cache"),
        plugins=tuple(registry.references()),
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
        processes=2,
    )


@pytest.fixture(scope="module")
def companions(settings: RunSettings) -> Iterator[LocalCompanions]:
    started = LocalCompanions(settings)
    yield started
    started.end()


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Grows by the weights and statistics of all networks of each trial that ends here."""
    seen: list[dict[str, torch.Tensor]] = []
    record = attempt.record_of

    def look(trial: Trial) -> Record:
        states = enumerate(network.state_dict() for network in trial.model.networks)
        seen.append(
            {
                f"{n}.{name}": values.clone()
                for n, state in states
                for name, values in state.items()
                if isinstance(values, torch.Tensor)
            }
        )
        return record(trial)

    monkeypatch.setattr(attempt, "record_of", look)
    return seen


def alone(spec: TrialSpec, settings: RunSettings) -> Record:
    return attempt_trial(spec, Workspace(settings))


def together(
    spec: TrialSpec,
    settings: RunSettings,
    companions: LocalCompanions,
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Record:
    workspace = Workspace(settings)
    return attempt_with(companions, spec, workspace, lambda: attempt_trial(spec, workspace, on_epoch))


def without_times(record: Record) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for name, value in entry.items()
            if name not in ("train_s", "eval_s", "loss", "metrics", "selection")
        }
        for entry in record.history
    ]


@pytest.mark.parametrize(
    ("method", "tuning"),
    [("ce", "fft"), ("gce", "lp-fft"), ("elr", "fft"), ("turn", "lp-fft"), ("dividemix", "fft")],
)
def test_two_processes_give_what_one_gives(
    settings: RunSettings,
    companions: LocalCompanions,
    weights: list[dict[str, torch.Tensor]],
    method: str,
    tuning: str,
) -> None:
    one = alone(spec(method, tuning), settings)
    two = together(spec(method, tuning), settings, companions)
    assert (one.status, two.status, two.error) == (Status.DONE, Status.DONE, None)
    assert len(one.history) == len(two.history) == spec(method, tuning).epochs
    assert without_times(one) == without_times(two)
    assert [e["loss"] for e in one.history] == pytest.approx([e["loss"] for e in two.history], rel=1e-9)
    for entry, other in zip(one.history, two.history, strict=True):
        assert entry["metrics"]["test"] == pytest.approx(other["metrics"]["test"], rel=1e-6)
        chosen, also = entry.get("selection"), other.get("selection")
        assert (chosen is None) == (also is None)
        if chosen is not None:
            assert chosen.pop("score") == pytest.approx(also.pop("score"), abs=1e-6)
            assert chosen == also
    assert one.ledger == two.ledger
    assert (one.events, one.metrics, one.noise, one.data) == (two.events, two.metrics, two.noise, two.data)
    assert "processes" not in one.execution
    assert two.execution["processes"] == 2
    before, after = weights
    assert before.keys() == after.keys()
    assert any(values.dtype == torch.float64 for values in before.values())
    for name, values in before.items():
        torch.testing.assert_close(values, after[name], rtol=0, atol=1e-6)


def test_a_trial_that_was_stopped_goes_on_in_both(
    settings: RunSettings, companions: LocalCompanions, weights: list[dict[str, torch.Tensor]]
) -> None:
    whole = together(spec("turn"), settings, companions)

    def stop(entry: Mapping[str, Any]) -> None:
        if entry["epoch"] == 1:
            raise StopTrial

    with pytest.raises(StopTrial):
        together(spec("turn"), settings, companions, stop)
    heard: list[int] = []
    again = together(spec("turn"), settings, companions, lambda entry: heard.append(entry["epoch"]))
    assert heard == [0, 1, 2]
    assert len(again.execution["continued"]) == 1
    assert [entry["loss"] for entry in again.history] == [entry["loss"] for entry in whole.history]
    assert (again.ledger, again.selection) == (whole.ledger, whole.selection)
    assert all(torch.equal(values, weights[1][name]) for name, values in weights[0].items())


def test_a_process_that_is_killed_fails_the_trial_and_not_the_next(
    settings: RunSettings, companions: LocalCompanions
) -> None:
    record = together(spec("killed"), settings, companions)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error["type"] == "ProcessDied"
    assert (
        "Process 2 of the 2 that shared the trial was killed or ended itself (SIGKILL)"
        in record.error["message"]
    )
    assert together(spec("ce"), settings, companions).status is Status.DONE


def test_the_reason_is_that_of_the_process_that_has_it(
    settings: RunSettings, companions: LocalCompanions
) -> None:
    record = together(spec("raising"), settings, companions)
    assert record.error is not None
    assert (record.error["type"], record.error["message"]) == (
        "ValueError",
        "Process 2 of the 2 that shared the trial: only here",
    )
    assert "go_wrong" in record.error["traceback"]
    record = together(spec("raising_first"), settings, companions)
    assert record.error is not None
    assert (record.error["type"], record.error["message"]) == ("ValueError", "in the first")
    assert together(spec("ce"), settings, companions).status is Status.DONE


def test_processes_that_drift_apart_are_noticed(settings: RunSettings, companions: LocalCompanions) -> None:
    record = together(spec("own_steps"), settings, companions)
    assert record.error is not None
    assert record.error["type"] == "TrialError"
    assert "drifted apart: they differ in their weights" in record.error["message"]


def test_what_cannot_be_shared_is_declined_or_left_to_one_process() -> None:
    cached = "lp.cache=true"
    assert processes_of(spec("ce"), 4) == 4
    assert processes_of(spec("ce", "lp"), 4) == 4
    assert processes_of(spec("ce", "lp", cached), 4) == 1
    assert processes_of(spec("turn", "lp-fft", cached), 4) == 4
    assert processes_of(spec("ce"), 1) == 1
    check_shared([spec("ce"), spec("unable", "lp", cached)], 2)
    check_shared([spec("unable")], 1)
    with pytest.raises(UsageError, match="unable, sce do not say that 2 processes") as caught:
        check_shared([spec("ce"), spec("unable"), spec("sce"), spec("gce")], 2)
    assert caught.value.hint == "Add --where method=ce,gce, or drop --processes-per-trial."
    with pytest.raises(UsageError) as caught:
        check_shared([spec("unable")], 2)
    assert caught.value.hint == "Drop --processes-per-trial."


def test_each_companion_sees_a_gpu_of_its_own() -> None:
    assert visible_gpu(1, None) == "1"
    assert visible_gpu(2, "4,5,7") == "7"
