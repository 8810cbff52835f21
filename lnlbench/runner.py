"""Trials under Ray Tune. The only module that imports ray.

The store decides what to run; Ray only executes it, in actors that are used again for the next
trial. Results travel back as JSON and are written by the driver, one by one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

from lnlbench.errors import LnlbenchError  # noqa: E402
from lnlbench.record import Record  # noqa: E402
from lnlbench.spec import TrialSpec  # noqa: E402
from lnlbench.trial import attempt_trial, failure  # noqa: E402
from lnlbench.workspace import Setting, Workspace  # noqa: E402


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


def _trainable(config: dict[str, Any], specs: list[dict[str, Any]], setting: Setting) -> None:
    if setting not in _workspaces:
        _workspaces[setting] = Workspace(setting)
    spec = TrialSpec.from_dict(specs[config["trial"]])
    tune.report({"record": attempt_trial(spec, _workspaces[setting]).to_dict()})


class _Deliver(Callback):
    """Hand records to the driver's code as they come in."""

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        started: Callable[[TrialSpec], None],
        finished: Callable[[Record], None],
    ) -> None:
        self._specs = specs
        self._started = started
        self._finished = finished
        self._delivered: set[int] = set()
        self.error: LnlbenchError | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that we never make.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._started(self._specs[trial.config["trial"]])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "record" in result:
            self._deliver(trial, Record.from_dict(result["record"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # What a trial raises is a record already; here its whole process is gone.
        reason = str(trial.get_error()) if trial.get_error() is not None else "no reason was given"
        self._deliver(
            trial,
            failure(
                self._specs[trial.config["trial"]],
                "WorkerDied",
                "The worker process ended in the middle of the trial "
                "(killed, out of memory, or crashed in native code).",
                hint="Give it more memory or fewer --jobs, then use --retry failed.",
                trace=reason,
            ),
        )

    def _deliver(self, trial: Any, record: Record) -> None:
        number = trial.config["trial"]
        if number in self._delivered or self.error is not None:
            return
        self._delivered.add(number)
        try:
            self._finished(record)
        except LnlbenchError as error:
            # Raised here it would be wrapped in Tune's own; the stopper ends the run.
            self.error = error


class _StopOnError(tune.Stopper):
    def __init__(self, deliver: _Deliver) -> None:
        self._deliver = deliver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._deliver.error is not None


def run_with_ray(
    specs: Sequence[TrialSpec],
    setting: Setting,
    resources: Resources,
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
    started, finished : callable
        Called in this process, the second exactly once per trial.

    Raises
    ------
    LnlbenchError
        Whatever ``finished`` raised: the run stops at the first result that cannot be saved.
    """
    with _ray(resources), _scratch() as scratch:
        deliver = _Deliver(specs, started, finished)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trainable, specs=[spec.to_dict() for spec in specs], setting=setting),
                {"cpu": resources.cpus, "gpu": resources.gpus},
            ),
            param_space={"trial": tune.grid_search(list(range(len(specs))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=resources.jobs, reuse_actors=True),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                callbacks=[deliver],
                stop=_StopOnError(deliver),
                verbose=0,
            ),
        )
        tuner.fit()
    if deliver.error is not None:
        raise deliver.error


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
    try:
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
