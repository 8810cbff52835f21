"""A Ray session: its environment, what it gives to trials, and its end. Imported before ray.

:mod:`lnlbench.running.ray_trials` executes the trials of a plan in one, :mod:`lnlbench.search.asha` those
of a search with a scheduler.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
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
    # Trials work in the folder of the command, for what plugins and libraries open there themselves.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # An actor is used again once its last trial has ended, however long that takes.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # Workers are niced by 15 otherwise, and whatever else runs is billed to their trials.
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import torch  # noqa: E402
from ray.util import ActorPool  # noqa: E402

from lnlbench.basics.allocator import settle_imports  # noqa: E402
from lnlbench.errors import CacheError, LnlbenchError, UsageError  # noqa: E402
from lnlbench.running.job import Job, Resources, available_cores  # noqa: E402
from lnlbench.running.listener import Listener  # noqa: E402
from lnlbench.running.preflight import Extraction, extract, initial_seed, wanted_features  # noqa: E402
from lnlbench.running.worker import Limits, end_with_driver  # noqa: E402
from lnlbench.spec import BackboneSpec, TrialSpec, has_images  # noqa: E402
from lnlbench.trials.workspace import RunSettings, Workspace  # noqa: E402

CONNECT_TIMEOUT = 10.0  # seconds for a first answer of a cluster's head


# One workspace per worker process, kept for all trials that its actor runs.
_workspaces: dict[RunSettings, Workspace] = {}


def workspace_for(settings: RunSettings, limits: Limits) -> Workspace:
    """Return the workspace of this worker process, which ends with its driver."""
    if settings not in _workspaces:
        end_with_driver(limits)
        settle_imports()
        # The same for all trials of this process: an actor is used again for those that ask for as much.
        given: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
        gpus = given.get("GPU", 0.0)
        if settings.device == "cuda" and 0 < gpus < 1:
            torch.cuda.set_per_process_memory_fraction(gpus)  # which Ray does not see to
        _workspaces[settings] = Workspace(replace(settings, gpus=gpus or None), clean_workers=True)
    return _workspaces[settings]


@contextmanager
def ray_session(job: Job) -> Iterator[None]:
    """Hold a Ray session during the ``with`` block: the one there is, or one of its own.

    The listener is told of the start, which takes seconds, and of a cluster that is too small.

    Raises
    ------
    UsageError
        If there is no cluster at the address, or it does not let us in.
    """
    if ray.is_initialized():
        yield
        return
    resources = job.resources
    job.listener.doing("starting Ray")
    quiet: dict[str, Any] = {
        "configure_logging": True,
        "logging_level": "error",
        "log_to_driver": False,
    }
    if resources.address is not None:
        _join(resources.address, quiet)
        _warn_if_too_small(resources, job.settings.processes, job.listener)
    else:
        ray.init(
            address="local",  # never a cluster that happens to run here: that is --ray-address
            num_cpus=max(1, round(resources.jobs * resources.cpus * job.settings.processes)),
            include_dashboard=False,
            **quiet,
        )
    job.listener.doing("")
    # A worker that dies is a record, with its reason; Tune would print a traceback as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Ray reports dead workers on standard output, which is the table's; the last of it when it ends.
    with redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """Raise a UsageError for what cannot be the address of a cluster, or where nobody listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(
            f"'{address}' is no address of a Ray cluster that a run can join.",
            "Give auto, or HOST:PORT of its head, on a machine that all nodes can reach.",
        )
    try:  # Ray itself would try for two minutes
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT).close()
    except OSError as error:
        raise UsageError(
            f"No Ray cluster answers at {address}: {error}.",
            "Start one with: ray start --head, or see docs/cluster.md.",
        ) from error


def _join(address: str, quiet: dict[str, Any]) -> None:
    check_address(address)
    try:
        ray.init(address=address, **quiet)
    # Ray ends the process when it waits in vain; a token that is missing comes as a ConnectionError.
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
        reason = "it does not answer" if isinstance(error, SystemExit) else str(error).partition("\n")[0]
        raise UsageError(
            f"The Ray cluster at {address} cannot be joined: {reason}.",
            "It must run the same versions of Ray and Python. If it asks for a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here as on its nodes.",
        ) from error


def _warn_if_too_small(resources: Resources, processes: int, listener: Listener) -> None:
    """Say so if no node could run a trial now, or they could not all its processes; one may join later."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    room = 0
    for node in nodes:
        has = node["Resources"] if node["Alive"] else {}
        fits = has.get("CPU", 0) // resources.cpus if resources.cpus else processes
        if resources.gpus:
            fits = min(fits, has.get("GPU", 0) // resources.gpus)
        room += int(fits)
    if room >= processes:
        return
    wanted = f"{resources.cpus:g} CPUs" + (f" and {resources.gpus:g} GPUs" if resources.gpus else "")
    who = "no node of the cluster has" if processes == 1 else f"the cluster has not {processes} times"
    listener.warned(
        f"{who} {wanted} for a trial; all trials wait until a node joins. "
        "See ray status, and --cpus-per-trial and --gpus-per-trial."
    )


class _Extractor:
    """Calibrates and extracts in a process of its own, with a GPU of its own where there are some."""

    def __init__(self, settings: RunSettings, limits: Limits) -> None:
        self._workspace = workspace_for(settings, limits)

    def calibrate(self, asked: tuple[BackboneSpec, int, str]) -> None:
        self._workspace.execution(*asked)

    def extract(self, wanted: Extraction) -> None:
        extract(wanted, self._workspace)


def extract_in_actors(specs: Sequence[TrialSpec], workspace: Workspace, job: Job, listener: Listener) -> None:
    """Calibrate, and fill the feature cache, on all GPUs at once; needs a session.

    The processes that do it end with it, so that the memory of the GPUs is the trials'; this one uses no
    GPU. Without GPUs there is one such process.

    Raises
    ------
    LnlbenchError
        Whatever extraction raises, and a CacheError if a process ended.
    """
    wanted = wanted_features(specs, workspace)
    asked = dict.fromkeys(
        (spec.backbone, initial_seed(spec), spec.precision) for spec in specs if has_images(spec)
    )
    if not asked:
        return
    gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    places = min(max(1, gpus), max(len(asked), len(wanted)))
    settings = replace(job.settings, threads=max(1, available_cores() // places))
    extractor: Any = ray.remote(num_gpus=min(1, gpus), num_cpus=0)(_Extractor)
    actors = [extractor.remote(settings, job.limits) for _ in range(places)]
    pool = ActorPool(actors)
    try:
        # All of these first: the arrays of a backbone would wait for each other, and hold their GPUs.
        listener.doing("calibrating")
        for _ in pool.map_unordered(lambda actor, each: actor.calibrate.remote(each), list(asked)):
            pass
        if wanted:
            listener.extraction(0, len(wanted))
        done = pool.map_unordered(lambda actor, each: actor.extract.remote(each), wanted)
        for number, _ in enumerate(done, start=1):
            listener.extraction(number, len(wanted))
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, LnlbenchError) else error) from None
    except ray.exceptions.RayActorError as error:
        raise CacheError(
            "A process that extracts features was killed or ended itself.",
            "The usual cause is that the machine ran out of memory. The same command continues.",
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder for the files that Tune insists on; nothing in it is ever read."""
    folder = tempfile.mkdtemp(prefix="lnlbench-ray-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
