"""A search under Ray Tune's ASHA: trials report every epoch, and those of little promise end early.

Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020. A trial is compared
with the others that have reached the same rung (epochs ``grace``, ``grace · reduction``, …), and
goes on if it is in the upper ``1/reduction`` of them.

What earlier runs of the same search have found is told to the scheduler first, without training: it
decides about new trials as if there had been no interruption.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# First, because it sets what Ray reads when it is imported.
from lnlbench.ray_session import Resources, ray_session, scratch_folder, workspace_for

# isort: split
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from lnlbench.errors import LnlbenchError, StoreError
from lnlbench.interruption import requested
from lnlbench.record import Record
from lnlbench.runner import Deliver, StopEarly
from lnlbench.search.journal import Journal
from lnlbench.search.outcome import METRICS
from lnlbench.spec import TrialSpec
from lnlbench.trial import StopTrial
from lnlbench.worker import Limits, work
from lnlbench.workspace import Setting


@dataclass(frozen=True, slots=True)
class _Job:
    """A trial for the scheduler.

    ``known`` are accuracies of earlier runs by epoch; ``over`` says that there will be no more.
    """

    spec: TrialSpec
    known: Mapping[int, float]
    over: bool


def run_asha(
    specs: Sequence[TrialSpec],
    finished_curves: Mapping[str, Sequence[float]],
    journal: Journal,
    setting: Setting,
    resources: Resources,
    limits: Limits,
    *,
    started: Callable[[TrialSpec], None],
    finished: Callable[[Record], None],
    stopped: Callable[[TrialSpec, int], None],
) -> None:
    """Run the trials that are neither finished nor stopped; returns when all are.

    Parameters
    ----------
    specs : sequence of TrialSpec
        All trials of the search, of equally many epochs.
    finished_curves : mapping of trial id to accuracies
        Trials that have a record, with their validation accuracy per epoch.
    journal : Journal
        Its rule, and what it was told and decided before; new reports are added.
    setting : Setting
    resources : Resources
    limits : Limits
    started, finished, stopped : callable
        Called in this process; one of the last two exactly once per trial that is run, the third
        with the epochs that it had.

    Raises
    ------
    LnlbenchError
        Whatever ``finished`` raised, or the journal.
    """
    rule = journal.rule
    jobs = _jobs(specs, finished_curves, journal)
    if all(job.over for job in jobs):
        return
    parameters = {
        "jobs": [(job.spec.to_dict(), sorted(job.known.items()), job.over) for job in jobs],
        "metric": rule.metric,
        "setting": setting,
        "limits": limits,
    }
    with ray_session(resources), scratch_folder() as scratch:
        follow = _Follow(jobs, journal, limits, started, finished, stopped)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trainable, **parameters),
                {"cpu": resources.cpus, "gpu": resources.gpus},
            ),
            param_space={"trial": tune.grid_search(list(range(len(jobs))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=resources.jobs,
                reuse_actors=True,
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    metric="score",
                    mode="max",
                    max_t=jobs[0].spec.epochs,
                    grace_period=rule.grace,
                    reduction_factor=rule.reduction,
                ),
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                callbacks=[follow],
                stop=StopEarly(follow, limits.flag),
                verbose=0,
            ),
        )
        tuner.fit()
    if follow.error is not None:
        raise follow.error


def _jobs(
    specs: Sequence[TrialSpec], finished_curves: Mapping[str, Sequence[float]], journal: Journal
) -> list[_Job]:
    """Return the trials in the order in which they start: what is known comes first, and of
    that what went furthest, so that the rungs are as demanding as they were."""
    jobs = []
    for spec in specs:
        key = spec.trial_id
        if key in finished_curves:
            jobs.append(_Job(spec, dict(enumerate(finished_curves[key], start=1)), over=True))
        else:
            jobs.append(_Job(spec, journal.reports.get(key, {}), over=key in journal.stopped))
    return sorted(jobs, key=lambda job: (not job.over, -len(job.known)))


def _trainable(
    config: dict[str, Any],
    jobs: list[tuple[dict[str, Any], list[tuple[int, float]], bool]],
    metric: str,
    setting: Setting,
    limits: Limits,
) -> None:
    value, known, over = jobs[config["trial"]]
    accuracies: list[float] = []
    for epoch, accuracy in known:
        accuracies.append(accuracy)
        tune.report({"epoch": epoch, "score": METRICS[metric](accuracies)})
    if over:
        return
    spec = TrialSpec.from_dict(value)
    reported = known[-1][0] if known else 0

    def report(entry: Mapping[str, Any]) -> None:
        epoch = entry["epoch"] + 1
        if epoch <= reported:
            return  # before the interruption
        accuracies.append(entry["validation"])
        if epoch == spec.epochs:
            return  # goes with the record: the scheduler ends a trial at its last epoch
        try:
            tune.report(
                {"epoch": epoch, "score": METRICS[metric](accuracies), "validation": entry["validation"]}
            )
        except SystemExit as end:  # how Tune ends a trial that its scheduler has stopped
            raise StopTrial from end

    try:
        record = work(spec, workspace_for(setting, limits), limits, report)
    except StoreError as error:
        tune.report({"unsaved": [error.message, error.hint]})
        return
    if record is None and requested(limits.flag):
        return
    if record is None:
        sys.exit(0)  # as Tune would have ended a trial that it stops; after a return it waits for ever
    score = {"epoch": spec.epochs, "score": METRICS[metric](accuracies)} if record.error is None else {}
    tune.report({**score, "record": record.to_dict()})


class _Follow(Deliver):
    """Keep what comes in: epochs and decisions in the journal, records with the driver's code."""

    def __init__(
        self,
        jobs: Sequence[_Job],
        journal: Journal,
        limits: Limits,
        started: Callable[[TrialSpec], None],
        finished: Callable[[Record], None],
        stopped: Callable[[TrialSpec, int], None],
    ) -> None:
        super().__init__([job.spec for job in jobs], limits, started, finished)
        self._jobs = jobs
        self._journal = journal
        self._stopped = stopped

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if not self._jobs[trial.config["trial"]].over:
            super().on_trial_start(iteration, trials, trial, **info)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        job = self._jobs[trial.config["trial"]]
        if job.over or self.error is not None:
            return
        if "record" in result or "unsaved" in result:
            super().on_trial_result(iteration, trials, trial, result, **info)
            return
        try:
            if "validation" in result:
                self._journal.report(job.spec.trial_id, result["epoch"], result["validation"])
            if result["done"]:  # set by Tune before this call if the scheduler has decided so
                self._journal.stop(job.spec.trial_id, result["epoch"])
                self._stopped(job.spec, result["epoch"])
        except LnlbenchError as error:
            self.error = error
