"""A Ray session: its environment, what it gives to trials, and its end. Imported before ray.

:mod:`lnlbench.runner` executes the trials of a plan in one, :mod:`lnlbench.search.asha` those of a
search with a scheduler.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
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
    # An actor is used again once its last trial has ended, however long that takes.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # Workers are niced by 15 otherwise, and whatever else runs is billed to their trials.
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

from lnlbench.errors import UsageError  # noqa: E402
from lnlbench.worker import Limits, end_with_driver  # noqa: E402
from lnlbench.workspace import Setting, Workspace  # noqa: E402

CONNECT_TIMEOUT = 10.0  # seconds for a first answer of a cluster's head

_LOG = logging.getLogger(__name__)


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


def workspace_for(setting: Setting, limits: Limits) -> Workspace:
    """Return the workspace of this worker process, which ends with its driver."""
    if setting not in _workspaces:
        end_with_driver(limits)
        _workspaces[setting] = Workspace(setting)
    return _workspaces[setting]


@contextmanager
def ray_session(resources: Resources) -> Iterator[None]:
    """Hold a Ray session during the ``with`` block: the one there is, or one of its own.

    Raises
    ------
    UsageError
        If there is no cluster at the address, or it does not let us in.
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {
        "configure_logging": True,
        "logging_level": "error",
        "log_to_driver": False,
    }
    if resources.address is not None:
        _join(resources.address, quiet)
        _warn_if_too_small(resources)
    else:
        ray.init(
            address="local",  # never a cluster that happens to run here: that is --ray-address
            num_cpus=max(1, round(resources.jobs * resources.cpus)),
            include_dashboard=False,
            **quiet,
        )
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


def _warn_if_too_small(resources: Resources) -> None:
    """Say so if no node could run a trial now; one that can may join later."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        has = node["Resources"] if node["Alive"] else {}
        if has.get("CPU", 0) >= resources.cpus and has.get("GPU", 0) >= resources.gpus:
            return
    wanted = f"{resources.cpus:g} CPUs" + (f" and {resources.gpus:g} GPUs" if resources.gpus else "")
    _LOG.warning(
        "Warning: no node of the cluster has %s for a trial; all trials wait until one joins. "
        "See ray status, and --cpus-per-trial and --gpus-per-trial.",
        wanted,
    )


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder for the files that Tune insists on; nothing in it is ever read."""
    folder = tempfile.mkdtemp(prefix="lnlbench-ray-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
