"""Trials under Ray Tune.

The store decides what to run; Ray only executes it, in actors that are used again for the next
trial. Results travel back as JSON and are written by the driver, one by one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# First, because it sets what Ray reads when it is imported.
from lnlbench.ray_session import Resources, ray_session, scratch_folder, workspace_for

# isort: split
from ray import tune
from ray.tune import Callback

from lnlbench.attempt import failure
from lnlbench.errors import LnlbenchError, StoreError
from lnlbench.interruption import requested
from lnlbench.record import Record
from lnlbench.spec import TrialSpec
from lnlbench.worker import Limits, work
from lnlbench.workspace import Setting

# A trial that loses its node is run elsewhere; one that loses this many probably does not fit.
NODES_LOST = 3

# How Ray says that a trial's node has gone, or cannot be reached: a dead node is noticed only some
# seconds after the connection to its workers is lost. A worker that dies alone is reported by its node.
_NODE_GONE = re.compile("its node has died|node was terminated|temporarily unavailable")

# How faulthandler starts its report of a crash; it ends a line of its own for a time limit.
_CRASH = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)


def _trainable(config: dict[str, Any], specs: list[dict[str, Any]], setting: Setting, limits: Limits) -> None:
    spec = TrialSpec.from_dict(specs[config["trial"]])
    try:
        record = work(spec, workspace_for(setting, limits), limits)
    except StoreError as error:
        tune.report({"record": None, "unsaved": [error.message, error.hint]})
        return
    tune.report({"record": record.to_dict() if record is not None else None})


class Deliver(Callback):
    """Hand records to the driver's code as they come in.

    Attributes
    ----------
    delivered : set of int
        Trials, by number, that have been handed over.
    lost : set of int
        Trials whose node has gone; they are to be run again.
    running : set of int
    error : LnlbenchError or None
        What ``finished`` raised, or why a worker could not save a trial.
    """

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        limits: Limits,
        started: Callable[[TrialSpec], None],
        finished: Callable[[Record], None],
    ) -> None:
        self._specs = specs
        self._limits = limits
        self._started = started
        self._finished = finished
        self._since: dict[int, float] = {}
        self.delivered: set[int] = set()
        self.lost: set[int] = set()
        self.running: set[int] = set()
        self.error: LnlbenchError | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that we never make.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["trial"]
        self.running.add(number)
        self._since[number] = time.monotonic()
        if not requested(self._limits.flag):
            self._started(self._specs[number])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.running.discard(trial.config["trial"])
        if result.get("unsaved") is not None and self.error is None:
            self.error = StoreError(*result["unsaved"])
        if result.get("record") is not None:
            self.deliver(trial.config["trial"], Record.from_dict(result["record"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.running.discard(trial.config["trial"])  # with no result, if it was stopped

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # What a trial raises is a record already; here its whole process is gone.
        number = trial.config["trial"]
        self.running.discard(number)
        reason = _why(trial)
        # Without a cluster the only node is the driver's own, and what died was a worker.
        if self._limits.driver is None and _NODE_GONE.search(reason):
            self.lost.add(number)
            return
        self.deliver(number, self._lost_process(number, reason))

    def _lost_process(self, number: int, reason: str) -> Record:
        """Say why a process ended, from what it left and from what Ray knows."""
        spec, timeout = self._specs[number], self._limits.timeout
        trace = self._limits.take_trace(spec.trial_id)
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

    def deliver(self, number: int, record: Record) -> None:
        """Pass a trial's record on, once."""
        if number in self.delivered or self.error is not None:
            return
        self.delivered.add(number)
        try:
            self._finished(record)
        except LnlbenchError as error:
            # Raised here it would be wrapped in Tune's own; the stopper ends the run.
            self.error = error


def _why(trial: Any) -> str:
    """Return what Ray says about the end of a Tune trial."""
    # Not trial.get_error(): that looks where the file is copied to when the run ends.
    path = Path(trial.error_file) if trial.error_file is not None else None
    return path.read_text(encoding="utf-8") if path is not None and path.exists() else "no reason was given"


class StopEarly(tune.Stopper):
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


def run_with_ray(
    specs: Sequence[TrialSpec],
    setting: Setting,
    resources: Resources,
    limits: Limits,
    *,
    started: Callable[[TrialSpec], None],
    finished: Callable[[Record], None],
) -> None:
    """Run trials as Tune trials; returns when all have been delivered.

    Parameters
    ----------
    specs : sequence of TrialSpec
    setting : Setting
    resources : Resources
    limits : Limits
    started, finished : callable
        Called in this process, the second exactly once per trial; not at all for trials that
        an interruption has left unfinished.

    Raises
    ------
    LnlbenchError
        Whatever ``finished`` raised, and a StoreError of a worker that could not save a checkpoint:
        the run stops at the first result that cannot be saved.
    """
    with ray_session(resources):
        todo, losses = list(specs), dict.fromkeys((spec.trial_id for spec in specs), 0)
        while todo:
            deliver = _tune(todo, setting, resources, limits, started, finished)
            if deliver.error is not None:
                raise deliver.error
            todo = [todo[number] for number in sorted(deliver.lost)]
            for spec in todo:
                losses[spec.trial_id] += 1
                if losses[spec.trial_id] == NODES_LOST:
                    finished(_homeless(spec))
            todo = [spec for spec in todo if losses[spec.trial_id] < NODES_LOST]


def _homeless(spec: TrialSpec) -> Record:
    return failure(
        spec,
        "NodeDied",
        f"{NODES_LOST} nodes were lost while they ran the trial.",
        hint="See the cluster's logs (a node that runs out of memory is lost), then use --retry failed.",
    )


def _tune(
    specs: Sequence[TrialSpec],
    setting: Setting,
    resources: Resources,
    limits: Limits,
    started: Callable[[TrialSpec], None],
    finished: Callable[[Record], None],
) -> Deliver:
    """Run trials once; what became of them is in the result."""
    deliver = Deliver(specs, limits, started, finished)
    with scratch_folder() as scratch:
        trainable = tune.with_parameters(
            _trainable, specs=[spec.to_dict() for spec in specs], setting=setting, limits=limits
        )
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
            param_space={"trial": tune.grid_search(list(range(len(specs))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=resources.jobs, reuse_actors=True),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                callbacks=[deliver],
                stop=StopEarly(deliver, limits.flag),
                verbose=0,
            ),
        ).fit()
    return deliver
