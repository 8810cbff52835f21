"""Trials under Ray Tune. The only module that imports ray.

The store decides what to run; Ray only executes it, in actors that are used again for the next
trial. Results travel back as JSON and are written by the driver, one by one.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read by Ray when it is imported or started.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ctrl-C is ours to handle: the driver's records are already on disk.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's own snapshots are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # Workers are niced by 15 otherwise, and whatever else runs is billed to their trials.
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune import Callback  # noqa: E402

from lnlbench.errors import LnlbenchError, StoreError  # noqa: E402
from lnlbench.interruption import requested  # noqa: E402
from lnlbench.record import Record  # noqa: E402
from lnlbench.spec import TrialSpec  # noqa: E402
from lnlbench.trial import failure  # noqa: E402
from lnlbench.worker import Limits, end_with_driver, work  # noqa: E402
from lnlbench.workspace import Setting, Workspace  # noqa: E402

# A trial that loses its node is run elsewhere; one that loses this many probably does not fit.
NODES_LOST = 3

# How faulthandler starts its report of a crash; it ends a line of its own for a time limit.
_CRASH = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Resources:
    """What Ray gives to trials.

    Attributes
    ----------
    jobs : int
        Trials at the same time.
    cpus, gpus : float
        Per trial.
    address : str or None
        An existing cluster, as ``ray.init`` takes it; None starts Ray on this machine.
    """

    jobs: int = 1
    cpus: float = 1
    gpus: float = 0
    address: str | None = None


# One workspace per worker process, kept for all trials that its actor runs.
_workspaces: dict[Setting, Workspace] = {}


def _trainable(config: dict[str, Any], specs: list[dict[str, Any]], setting: Setting, limits: Limits) -> None:
    if setting not in _workspaces:
        end_with_driver(limits)
        _workspaces[setting] = Workspace(setting)
    spec = TrialSpec.from_dict(specs[config["trial"]])
    try:
        record = work(spec, _workspaces[setting], limits)
    except StoreError as error:
        tune.report({"record": None, "unsaved": [error.message, error.hint]})
        return
    tune.report({"record": record.to_dict() if record is not None else None})


class _Deliver(Callback):
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
            self._deliver(trial.config["trial"], Record.from_dict(result["record"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # What a trial raises is a record already; here its whole process is gone.
        number = trial.config["trial"]
        self.running.discard(number)
        reason = str(trial.get_error()) if trial.get_error() is not None else "no reason was given"
        if "node has died" in reason or "node was terminated" in reason:
            self.lost.add(number)
            return
        self._deliver(number, self._lost_process(number, reason))

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

    def _deliver(self, number: int, record: Record) -> None:
        if number in self.delivered or self.error is not None:
            return
        self.delivered.add(number)
        try:
            self._finished(record)
        except LnlbenchError as error:
            # Raised here it would be wrapped in Tune's own; the stopper ends the run.
            self.error = error


class _StopEarly(tune.Stopper):
    """End the run when a result cannot be saved, or when an interruption has been obeyed."""

    def __init__(self, deliver: _Deliver, flag: Path | None) -> None:
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
    with _ray(resources):
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
) -> _Deliver:
    """Run trials once; what became of them is in the result."""
    deliver = _Deliver(specs, limits, started, finished)
    with _scratch() as scratch:
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
                stop=_StopEarly(deliver, limits.flag),
                verbose=0,
            ),
        ).fit()
    return deliver


@contextmanager
def _ray(resources: Resources) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {
        "configure_logging": True,
        "logging_level": "error",
        "log_to_driver": False,
    }
    if resources.address is not None:
        ray.init(address=resources.address, **quiet)
    else:
        ray.init(
            address="local",  # never a cluster that happens to run here: that is --ray-address
            num_cpus=max(1, round(resources.jobs * resources.cpus)),
            include_dashboard=False,
            **quiet,
        )
    # A worker that dies is a record, with its reason; Tune would print a traceback as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        # Ray reports dead workers on standard output, which is the table's.
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


@contextmanager
def _scratch() -> Iterator[str]:
    """A folder for the files that Tune insists on; nothing in it is ever read."""
    folder = tempfile.mkdtemp(prefix="lnlbench-tune-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
