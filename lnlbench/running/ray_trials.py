"""Trials under Ray Tune.

The store decides what to run; Ray only executes it, in actors that are used again for the next
trial. Epochs and records travel back as JSON, and the driver's listener hears of them one by one.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

# First, because it sets what Ray reads when it is imported.
from lnlbench.running.ray_session import ray_session, scratch_folder, workspace_for

# isort: split
from ray import tune
from ray.tune import Callback

from lnlbench.basics.interruption import requested
from lnlbench.errors import DeviceError, LnlbenchError, StoreError
from lnlbench.launching.ray_companions import RayCompanions
from lnlbench.launching.team_size import processes_of
from lnlbench.records.record import Record
from lnlbench.running.job import Job
from lnlbench.running.worker import Limits, work, work_together
from lnlbench.spec import TrialSpec
from lnlbench.trials.attempt import StopTrial, failure
from lnlbench.trials.batched.grouping import Unit
from lnlbench.trials.workspace import RunSettings

# A trial that loses its node is run elsewhere; one that loses this many probably does not fit.
NODES_LOST = 3

# How Ray says that a trial's node has gone, or cannot be reached: a dead node is noticed only some
# seconds after the connection to its workers is lost. A worker that dies alone is reported by its node.
_NODE_GONE = re.compile("its node has died|node was terminated|temporarily unavailable")

# How faulthandler starts its report of a crash; it ends a line of its own for a time limit.
_CRASH = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)


# Seconds between two messages of a trial: each waits for the driver, some milliseconds, which epochs of
# linear probing take themselves.
MESSAGE_EVERY = 0.5


def run_with_ray(units: Sequence[Unit], job: Job) -> None:
    """Run trials as Tune trials, those of a unit together in one; returns when all have been delivered.

    The job's listener is called in this process: ``finished`` exactly once per trial, not at all for
    trials that an interruption has left unfinished.

    Raises
    ------
    LnlbenchError
        Whatever the listener's ``finished`` raised, and a StoreError of a worker that could not save
        a checkpoint: the run stops at the first result that cannot be saved.
    """
    with ray_session(job):
        todo, losses = list(units), dict.fromkeys((spec.trial_id for unit in units for spec in unit), 0)
        while todo:
            values = {
                "units": [[spec.to_dict() for spec in unit] for unit in todo],
                "settings": job.settings,
                "limits": job.limits,
            }
            deliver = Deliver(todo, job)
            fit(_trainable, values, len(todo), deliver, job)
            todo = []
            for unit in map(deliver.left_of, sorted(deliver.lost)):
                for spec in unit:
                    losses[spec.trial_id] += 1
                    if losses[spec.trial_id] == NODES_LOST:
                        job.listener.finished(_homeless(spec))
                if unit := tuple(spec for spec in unit if losses[spec.trial_id] < NODES_LOST):
                    todo.append(unit)
            # Each in a process of its own: the one that has ended it is then recorded as failed alone.
            todo += [(spec,) for number in sorted(deliver.apart) for spec in deliver.left_of(number)]


def fit(
    trainable: Callable[..., None],
    values: Mapping[str, Any],
    trials: int,
    deliver: Deliver,
    job: Job,
    scheduler: Any = None,
) -> None:
    """Run Tune trials that are numbers, inside of a session; what became of them, ``deliver`` knows.

    Parameters
    ----------
    trainable : callable
        Takes ``{"trial": number}``, then ``values`` by name.
    values : mapping
        What all trials share; sent to a worker once.
    trials : int
    deliver : Deliver
    job : Job
    scheduler : ray.tune.schedulers.TrialScheduler, optional

    Raises
    ------
    LnlbenchError
        ``deliver.error``.
    """
    firsts = [unit[0] for unit in deliver.units]
    cpus, gpus = job.resources.cpus, [job.resources.gpus_of(spec) for spec in firsts]
    # Trials that are trained together pass no images, so each such group is one process.
    processes = [processes_of(spec, job.settings.processes) for spec in firsts]

    def wanted(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        number = config["trial"]
        return tune.PlacementGroupFactory([{"CPU": cpus, "GPU": gpus[number]}] * processes[number])

    with scratch_folder() as scratch:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, **values), wanted),
            param_space={"trial": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=job.resources.jobs, reuse_actors=True, scheduler=scheduler
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                callbacks=[deliver],
                stop=_StopEarly(deliver, job.limits.flag),
                verbose=0,
            ),
        ).fit()
    if deliver.error is not None:
        raise deliver.error


def _trainable(
    config: dict[str, Any], units: list[list[dict[str, Any]]], settings: RunSettings, limits: Limits
) -> None:
    """Run one trial, or those of a unit together, in a worker process."""
    unit = [TrialSpec.from_dict(value) for value in units[config["trial"]]]
    waiting: list[tuple[int, Mapping[str, Any]]] = []
    sent = time.monotonic()

    def on_epoch(member: int, entry: Mapping[str, Any]) -> None:
        nonlocal sent
        waiting.append((member, entry))
        if time.monotonic() - sent >= MESSAGE_EVERY:
            send({"epochs": list(waiting)})
            waiting.clear()
            sent = time.monotonic()

    if len(unit) == 1:
        work_and_send(unit[0], settings, limits, partial(on_epoch, 0))
        return
    members = {spec.trial_id: number for number, spec in enumerate(unit)}
    workspace = workspace_for(settings, limits)
    try:
        for record in work_together(
            unit,
            workspace,
            limits,
            lambda spec, entry: on_epoch(members[spec.trial_id], entry),
            lambda text: send({"warning": text}),
        ):
            tune.report(_of_record(record) | {"member": members[record.trial_id]})
    except StoreError as error:
        tune.report({"unsaved": [error.message, error.hint]})
        return
    except StopTrial:
        sys.exit(0)  # as Tune would have ended it
    if workspace.lost:
        raise DeviceError("This process cannot use its GPU any more.")
    if requested(limits.flag):
        tune.report({"record": None})


def _of_record(record: Record) -> dict[str, Any]:
    return {"record": record.to_dict(), "verdicts": record.verdict_table}


def send(message: dict[str, Any]) -> None:
    """Report to the driver from within a trial; may end the trial.

    Raises
    ------
    StopTrial
        If Tune has ended the trial meanwhile.
    """
    try:
        tune.report(message)
    except SystemExit as end:  # how Tune ends one
        raise StopTrial from end


def work_and_send(
    spec: TrialSpec,
    settings: RunSettings,
    limits: Limits,
    on_epoch: Callable[[Mapping[str, Any]], None],
    extra: Callable[[Record], Mapping[str, Any]] = lambda record: {},
) -> None:
    """Run a trial in a worker process, and send its record, with something of the caller's in addition.

    Raises
    ------
    DeviceError
        After that, if the trial has lost the GPU of this process: Tune then ends it, and the next trial gets
        a process of its own.
    """
    workspace = workspace_for(settings, limits)
    companions = RayCompanions(workspace.setting) if processes_of(spec, settings.processes) > 1 else None
    try:
        record = work(spec, workspace, limits, on_epoch, companions)
    except StoreError as error:
        tune.report({"unsaved": [error.message, error.hint]})
        return
    finally:
        if companions is not None:
            companions.end()  # the next trial of this process has a placement group of its own
    if record is not None:
        tune.report(_of_record(record) | {**extra(record)})
        if workspace.lost:
            raise DeviceError("This process cannot use its GPU any more.")
    elif requested(limits.flag):
        tune.report({"record": None})
    else:
        sys.exit(0)  # as Tune would have ended a trial that it stops; after a return it waits for ever


class Deliver(Callback):
    """Hand epochs and records to the job's listener as they come in.

    Attributes
    ----------
    units : sequence of tuple of TrialSpec
        What each Tune trial, by number, runs.
    delivered : set of (int, int)
        Trials, by number and by place in the unit, that have been handed over.
    lost : set of int
        Units whose node has gone; what is left of them is to be run again.
    apart : set of int
        Units of several trials whose process has ended; what is left of them is to be run one by one.
    running : set of int
    error : LnlbenchError or None
        What the listener raised, or why a worker could not save a trial.
    """

    def __init__(self, units: Sequence[Unit], job: Job) -> None:
        self.units = units
        self._job = job
        self._told: dict[tuple[int, int], int] = {}  # epochs, by trial
        self._since: dict[int, float] = {}
        self.delivered: set[tuple[int, int]] = set()
        self.lost: set[int] = set()
        self.apart: set[int] = set()
        self.running: set[int] = set()
        self.error: LnlbenchError | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that we never make.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["trial"]
        self.running.add(number)
        self._since[number] = time.monotonic()
        if not requested(self._job.limits.flag):
            for spec in self.units[number]:
                self._job.listener.started(spec)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number, member = trial.config["trial"], result.get("member", 0)
        if "warning" in result:
            self._job.listener.warned(result["warning"])
            return
        if "epochs" in result:
            for of_member, entry in result["epochs"]:
                self.tell_epochs(number, [entry], of_member)
            return
        if result.get("unsaved") is not None and self.error is None:
            self.error = StoreError(*result["unsaved"])
        if result.get("record") is not None:
            record = Record.from_dict(result["record"])
            record = replace(record, verdict_table=result.get("verdicts"))
            self.tell_epochs(number, record.history[self._told.get((number, member), 0) :], member)
            self.deliver(number, record, member)
            if self.left_of(number):
                return
        self.running.discard(number)

    def left_of(self, number: int) -> Unit:
        """Return the trials of a unit that have not been handed over."""
        unit = enumerate(self.units[number])
        return tuple(spec for member, spec in unit if (number, member) not in self.delivered)

    def tell_epochs(self, number: int, entries: Sequence[Mapping[str, Any]], member: int = 0) -> None:
        """Pass epochs on."""
        told = self._told.get((number, member), 0)
        self._told[number, member] = told + len(entries)
        for entry in entries:
            self._job.listener.epoch(self.units[number][member], entry)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.discard(trial.config["trial"])  # with no result, if it was stopped

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # What a trial raises is a record already; here its whole process is gone.
        number = trial.config["trial"]
        self.running.discard(number)
        if not self.left_of(number):  # it has lost its GPU as well
            return
        reason = _why(trial)
        # Without a cluster the only node is the driver's own, and what died was a worker.
        if self._job.limits.driver is None and _NODE_GONE.search(reason):
            self.lost.add(number)
            return
        if len(self.units[number]) > 1:
            self._job.limits.take_trace(self.units[number][0].trial_id)
            self.apart.add(number)
            self._job.listener.warned(
                f"A process that trained {len(self.units[number])} trials together has ended; "
                f"{len(self.left_of(number))} of them run one by one."
            )
            return
        self.deliver(number, self._lost_process(number, reason))

    def _lost_process(self, number: int, reason: str) -> Record:
        """Say why a process ended, from what it left and from what Ray knows."""
        (spec,), timeout = self.units[number], self._job.limits.timeout
        trace = self._job.limits.take_trace(spec.trial_id)
        crash = _CRASH.search(trace)
        if crash is not None:
            return failure(
                spec,
                "Crashed",
                f"The worker process crashed in native code ({crash[1]}).",
                hint="Its record's traceback says where it was. Mend that, then use --retry failed.",
                trace=trace,
            )
        if timeout is not None and time.monotonic() - self._since[number] >= timeout:
            return failure(
                spec,
                "TimedOut",
                f"The trial took longer than --trial-timeout ({timeout:g} s).",
                hint="Its record's traceback says where it was. Raise the limit, then use --retry failed.",
                trace=trace or reason,
            )
        return failure(
            spec,
            "WorkerDied",
            "The worker process was killed or ended itself in the middle of the trial; "
            "the usual cause is that the machine ran out of memory.",
            hint="Give it more memory or fewer --jobs, then use --retry failed.",
            trace=reason,
        )

    def deliver(self, number: int, record: Record, member: int = 0) -> None:
        """Pass a trial's record on, once."""
        if (number, member) in self.delivered or self.error is not None:
            return
        self.delivered.add((number, member))
        try:
            self._job.listener.finished(record)
        except LnlbenchError as error:
            # Raised here it would be wrapped in Tune's own; the stopper ends the run.
            self.error = error


def _why(trial: Any) -> str:
    """Return what Ray says about the end of a Tune trial."""
    # Not trial.get_error(): that looks where the file is copied to when the run ends.
    path = Path(trial.error_file) if trial.error_file is not None else None
    return path.read_text(encoding="utf-8") if path is not None and path.exists() else "no reason was given"


class _StopEarly(tune.Stopper):
    """End the run when a result cannot be saved, or when an interruption has been obeyed."""

    def __init__(self, deliver: Deliver, flag: Path | None) -> None:
        self._deliver = deliver
        self._flag = flag

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._deliver.error is not None:
            return True
        return requested(self._flag) and not self._deliver.running


def _homeless(spec: TrialSpec) -> Record:
    return failure(
        spec,
        "NodeDied",
        f"{NODES_LOST} nodes were lost while they ran the trial.",
        hint="See the cluster's logs (a node that runs out of memory is lost), then use --retry failed.",
    )
