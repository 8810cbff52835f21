"""Trials under Ray Tune.

The store decides what to run; Ray only executes it, in actors that are used again for the next
trial. Results travel back as JSON and are written by the driver, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# First, because it sets what Ray reads when it is imported.
from lnlbench.ray_session import Resources, ray_session, scratch_folder, workspace_for

# isort: split
from ray import tune
from ray.tune import Callback

from lnlbench.errors import LnlbenchError
from lnlbench.record import Record
from lnlbench.spec import TrialSpec
from lnlbench.trial import attempt_trial, failure
from lnlbench.workspace import Setting

__all__ = ["Deliver", "Resources", "StopOnError", "run_with_ray"]


def _trainable(config: dict[str, Any], specs: list[dict[str, Any]], setting: Setting) -> None:
    spec = TrialSpec.from_dict(specs[config["trial"]])
    tune.report({"record": attempt_trial(spec, workspace_for(setting)).to_dict()})


class Deliver(Callback):
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
            self.deliver(trial, Record.from_dict(result["record"]))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        # What a trial raises is a record already; here its whole process is gone.
        reason = str(trial.get_error()) if trial.get_error() is not None else "no reason was given"
        self.deliver(
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

    def deliver(self, trial: Any, record: Record) -> None:
        """Pass a trial's record on, once."""
        number = trial.config["trial"]
        if number in self._delivered or self.error is not None:
            return
        self._delivered.add(number)
        try:
            self._finished(record)
        except LnlbenchError as error:
            # Raised here it would be wrapped in Tune's own; the stopper ends the run.
            self.error = error


class StopOnError(tune.Stopper):
    """End the run when a result cannot be saved."""

    def __init__(self, deliver: Deliver) -> None:
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
    with ray_session(resources), scratch_folder() as scratch:
        deliver = Deliver(specs, started, finished)
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
                stop=StopOnError(deliver),
                verbose=0,
            ),
        )
        tuner.fit()
    if deliver.error is not None:
        raise deliver.error
