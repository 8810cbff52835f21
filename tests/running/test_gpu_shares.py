"""Shares of a GPU under Ray, which hands out what it was told of: who gets what, and equal records."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.records.record import Status
from lnlbench.running import ray_session
from lnlbench.running.job import Job, Resources
from lnlbench.running.listener import Listener
from lnlbench.running.session import run_plan
from lnlbench.running.worker import Limits
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import RunSettings


class Started(Listener):
    """Keeps in which order trials start."""

    def __init__(self) -> None:
        self.tuning: list[str] = []

    def started(self, spec: TrialSpec) -> None:
        self.tuning.append(spec.tuning)


def test_trials_that_probe_get_their_share_and_the_same_numbers(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(SMALL_GRID.replace('tuning = "lp"', 'tuning = ["lp", "fft"]').replace(', "gce"', ""))
    plan = lnlbench.plan(grid, seeds="0,1")
    settings = RunSettings(data=None, cache=tmp_path / "cache", executor="ray", jobs=3)
    listener = Started()
    job = Job(settings, Resources(jobs=3, gpus=1, probing=0.25), listener=listener)
    ray_session.ray.init(
        address="local", num_cpus=3, num_gpus=1, include_dashboard=False, log_to_driver=False
    )
    try:
        shared = run_plan(plan, tmp_path / "shared", job)
    finally:
        ray_session.ray.shutdown()
    assert listener.tuning[0] == "fft"  # the longest
    assert sorted(listener.tuning) == ["fft", "fft", "lp", "lp"]
    alone = lnlbench.run(
        plan, tmp_path / "alone", executor="inline", cpus_per_trial=1, cache=tmp_path / "cache"
    )
    assert len(shared.records) == len(alone.records) == 4
    for one, other in zip(shared.records, alone.records, strict=True):
        assert one.status is Status.DONE
        assert one.execution["gpus"] == {"lp": 0.25, "fft": 1.0}[one.spec.tuning]
        assert "gpus" not in other.execution
        assert one.spec == other.spec
        assert one.metrics == other.metrics
        assert [entry["loss"] for entry in one.history] == [entry["loss"] for entry in other.history]


@pytest.mark.parametrize(("given", "capped"), [({"GPU": 0.25}, [0.25]), ({"GPU": 1.0}, []), ({}, [])])
def test_a_share_of_a_gpu_is_one_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, float], capped: list[float]
) -> None:
    class Context:
        def get_assigned_resources(self) -> dict[str, float]:
            return given

    called: list[float] = []
    made: list[RunSettings] = []
    monkeypatch.setattr(ray_session, "_workspaces", {})
    monkeypatch.setattr(ray_session.ray, "get_runtime_context", Context)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", called.append)
    monkeypatch.setattr(ray_session, "Workspace", lambda settings, **options: made.append(settings))
    monkeypatch.setattr(ray_session, "settle_imports", lambda: None)
    settings = RunSettings(data=None, cache=tmp_path, device="cuda")
    ray_session.workspace_for(settings, Limits())
    assert called == capped
    assert made == [dataclasses.replace(settings, gpus=given.get("GPU"))]
    ray_session.workspace_for(dataclasses.replace(settings, device="cpu"), Limits())
    assert called == capped
