"""A search under Ray Tune's ASHA: trials report every epoch, and those of little promise end early.

Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020. A trial is compared
with the others that have reached the same rung (epochs ``grace``, ``grace · reduction``, …), and
goes on if it is in the upper ``1/reduction`` of them.

What earlier runs of the same search have found is told to the scheduler first, without training: it
decides about new trials as if there had been no interruption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# First, because it sets what Ray reads when it is imported.
from lnlbench.running.ray_session import ray_session

# isort: split
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from lnlbench.errors import LnlbenchError
from lnlbench.records.record import Record
from lnlbench.running.job import Job
from lnlbench.running.ray_trials import Deliver, fit, send, work_and_send
from lnlbench.running.worker import Limits
from lnlbench.search.journal import Journal
from lnlbench.search.outcome import METRICS
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import RunSettings


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A trial for the scheduler.

    ``known`` are accuracies of earlier runs by epoch; ``over`` says that there will be no more.
    """

    spec: TrialSpec
    known: Mapping[int, float]
    over: bool


def run_asha(
    specs: Sequence[TrialSpec], finished_curves: Mapping[str, Sequence[float]], journal: Journal, job: Job
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
    job : Job
        Its listener is called in this process; ``finished`` or ``stopped`` exactly once per trial that
        is run.

    Raises
    ------
    LnlbenchError
        Whatever the listener's ``finished`` raised, or the journal.
    """
    rule = journal.rule
    candidates = _candidates(specs, finished_curves, journal)
    if all(candidate.over for candidate in candidates):
        return
    values = {
        "candidates": [(c.spec.to_dict(), sorted(c.known.items()), c.over) for c in candidates],
        "metric": rule.metric,
        "settings": job.settings,
        "limits": job.limits,
    }
    scheduler = ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode="max",
        max_t=candidates[0].spec.epochs,
        grace_period=rule.grace,
        reduction_factor=rule.reduction,
    )
    with ray_session(job):
        fit(_trainable, values, len(candidates), _Follow(candidates, journal, job), job, scheduler)


def _candidates(
    specs: Sequence[TrialSpec], finished_curves: Mapping[str, Sequence[float]], journal: Journal
) -> list[_Candidate]:
    """Return the trials in the order in which they start: what is known comes first, and of
    that what went furthest, so that the rungs are as demanding as they were."""
    found = []
    for spec in specs:
        key = spec.trial_id
        if key in finished_curves:
            found.append(_Candidate(spec, dict(enumerate(finished_curves[key], start=1)), over=True))
        else:
            found.append(_Candidate(spec, journal.reports.get(key, {}), over=key in journal.stopped))
    return sorted(found, key=lambda candidate: (not candidate.over, -len(candidate.known)))


def _trainable(
    config: dict[str, Any],
    candidates: list[tuple[dict[str, Any], list[tuple[int, float]], bool]],
    metric: str,
    settings: RunSettings,
    limits: Limits,
) -> None:
    value, known, over = candidates[config["trial"]]
    accuracies: list[float] = []
    for epoch, accuracy in known:
        accuracies.append(accuracy)
        tune.report({"epoch": epoch, "score": METRICS[metric](accuracies)})
    if over:
        return
    spec = TrialSpec.from_dict(value)

    def on_epoch(entry: Mapping[str, Any]) -> None:
        epoch = entry["epoch"] + 1
        if known and epoch <= known[-1][0]:
            return  # before the interruption
        accuracies.append(entry["validation"])
        # The last one goes with the record: the scheduler ends a trial at its last epoch.
        if epoch < spec.epochs:
            send({"epoch": epoch, "score": METRICS[metric](accuracies), "entry": dict(entry)})

    def score(record: Record) -> dict[str, Any]:
        return {"epoch": spec.epochs, "score": METRICS[metric](accuracies)} if record.error is None else {}

    work_and_send(spec, settings, limits, on_epoch, score)


class _Follow(Deliver):
    """Keep what comes in: epochs and decisions in the journal, and what the job's listener hears."""

    def __init__(self, candidates: Sequence[_Candidate], journal: Journal, job: Job) -> None:
        super().__init__([(candidate.spec,) for candidate in candidates], job)
        self._candidates = candidates
        self._journal = journal

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        candidate = self._candidates[trial.config["trial"]]
        if not candidate.over:
            self._told[trial.config["trial"], 0] = len(candidate.known)  # before the interruption
            super().on_trial_start(iteration, trials, trial, **info)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["trial"]
        candidate = self._candidates[number]
        if candidate.over or self.error is not None:
            return
        if "record" in result or "unsaved" in result:
            super().on_trial_result(iteration, trials, trial, result, **info)
            return
        try:
            if "entry" in result:
                self.tell_epochs(number, [result["entry"]])
                self._journal.report(candidate.spec.trial_id, result["epoch"], result["entry"]["validation"])
            if result["done"]:  # set by Tune before this call if the scheduler has decided so
                self._journal.stop(candidate.spec.trial_id, result["epoch"])
                self._job.listener.stopped(candidate.spec, result["epoch"])
        except LnlbenchError as error:
            self.error = error
