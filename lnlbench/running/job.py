"""A job: where and with what trials run, what each gets, what it must obey, and who is told of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch

from lnlbench.basics.paths import absolute, working_folder
from lnlbench.deploy.model_files import FOLDER as MODELS
from lnlbench.errors import UsageError
from lnlbench.inputs.feature_cache import default_cache_folder
from lnlbench.inputs.loader import default_workers
from lnlbench.plugins import registry
from lnlbench.running.listener import Listener
from lnlbench.running.worker import Limits
from lnlbench.spec import TrialSpec, has_images
from lnlbench.trials.workspace import RunSettings


@dataclass(frozen=True, slots=True)
class Resources:
    """What trials get.

    Attributes
    ----------
    jobs : int
        Trials at the same time.
    cpus, gpus : float
        Per trial, or per process of one that several share.
    probing : float or None
        GPUs of a trial that only probes features which are extracted before; None for those of any trial.
    address : str or None
        An existing Ray cluster, as ``ray.init`` takes it; None starts Ray on this machine.
    """

    jobs: int = 1
    cpus: float = 1
    gpus: float = 0
    probing: float | None = None
    address: str | None = None

    def gpus_of(self, spec: TrialSpec) -> float:
        """Return how many GPUs a trial gets."""
        if self.probing is None:
            return self.gpus
        cached = (registry.phase_kinds().load(phase.kind).is_cached(phase) for phase in spec.phases)
        return self.probing if not has_images(spec) or all(cached) else self.gpus

    @property
    def least(self) -> float:
        """The GPUs of a trial that gets fewest."""
        return self.gpus if self.probing is None else self.probing


@dataclass(frozen=True, slots=True)
class Job:
    """How a plan is run; what is run is the plan's alone.

    Attributes
    ----------
    settings : RunSettings
    resources : Resources
    limits : Limits
    listener : Listener
    """

    settings: RunSettings
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    listener: Listener = field(default_factory=Listener)

    def advice(self) -> list[str]:
        """Say if trials ask for more than this machine has; a cluster may have it."""
        if self.resources.address is not None:
            return []
        said, jobs, threads = [], self.resources.jobs, self.settings.threads
        share, least = self.resources.gpus, self.resources.least
        cores, gpus, processes = available_cores(), torch.cuda.device_count(), self.settings.processes
        if jobs * processes * threads > cores:
            each = f"{processes} processes of " if processes > 1 else ""
            said.append(
                f"{jobs} jobs of {each}{threads} threads share {cores} cores and wait for each other: use "
                f"--jobs {max(1, cores // (processes * threads))}, or fewer --cpus-per-trial."
            )
        if share > 1:
            said.append(
                f"a trial computes on one GPU: --gpus-per-trial {share:g} leaves the others of it idle."
            )
        if self.resources.probing is None:
            least *= processes
        if jobs * least > gpus > 0:
            fitting = max(1, int(gpus / least))
            said.append(
                f"{jobs} jobs ask for {least:g} GPUs each, and there are {gpus}: {fitting} run at a time. "
                f"Use --jobs {fitting}, or let them share: --gpus-per-trial {gpus / jobs:.2g}."
            )
        return said


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_plugins(plugins: Iterable[str | Path]) -> None:
    """Make plugins of any kind known that are given by path, ``FILE.py[:CLASS]``.

    Raises
    ------
    PluginError
        For one that cannot be added.
    """
    for plugin in plugins:
        registry.add_plugin(str(plugin))


def make_job(
    out: Path,
    *,
    data: str | Path | None = None,
    cache: str | Path | None = None,
    jobs: int | None = None,
    cpus_per_trial: int | None = None,
    gpus_per_trial: float | None = None,
    gpus_per_probing: float | None = None,
    workers: int | None = None,
    cache_images: bool = False,
    verdicts: bool = False,
    save_models: bool = False,
    deterministic: bool = False,
    processes_per_trial: int = 1,
    batched: bool = False,
    ray_address: str | None = None,
    executor: str = "ray",
    trial_timeout: float | None = None,
    checkpoints: str | Path | None = None,
    listener: Listener | None = None,
) -> Job:
    """Check options, and return the job that they describe.

    Parameters
    ----------
    out : Path
        Output folder.
    data, cache, ... :
        As :func:`lnlbench.run` takes them.

    Raises
    ------
    UsageError
        For options that exclude each other, a GPU where there is none, or Ray where it is not installed.
    """
    if executor not in ("ray", "inline"):
        raise UsageError(f"There is no executor '{executor}'.", "Use ray or inline.")
    if executor == "ray" and find_spec("ray") is None:
        raise UsageError(
            "Trials run under Ray, which is not installed.",
            "Install ray[tune], or run them one after the other with --executor inline.",
        )
    if executor == "inline" and ((jobs or 1) > 1 or ray_address):
        raise UsageError(
            "--executor inline runs one trial at a time, here.", "Drop --jobs and --ray-address."
        )
    if executor == "inline" and trial_timeout is not None:
        raise UsageError(
            "--trial-timeout ends the process of a trial, which --executor inline shares.",
            "Drop one of the two.",
        )
    if checkpoints is None and ray_address is None:
        checkpoints = out / "checkpoints"
    folder = absolute(checkpoints) if checkpoints else None
    device, gpus = _device(gpus_per_trial, elsewhere=ray_address is not None)
    _check_processes(processes_per_trial, gpus, elsewhere=ray_address is not None)
    if gpus_per_probing is not None and not 0 < gpus_per_probing <= min(1, gpus):
        raise UsageError(
            f"--gpus-per-probing {gpus_per_probing:g} is no share of the {gpus:g} GPUs of a trial.",
            "Give a number above 0, and not above 1 or --gpus-per-trial; without a GPU drop the option.",
        )
    if jobs is None:
        alone = executor == "inline" or ray_address is not None
        jobs = 1 if alone else _as_many_as_fit(gpus_per_probing or processes_per_trial * gpus)
    threads = cpus_per_trial or max(1, available_cores() // (jobs * processes_per_trial))
    settings = RunSettings(
        data=absolute(data) if data else None,
        cache=absolute(cache or default_cache_folder()),
        folder=working_folder(),
        plugins=tuple(registry.references()),
        device=device,
        threads=threads,
        executor=executor,
        jobs=jobs,
        workers=default_workers(device, threads) if workers is None else workers,
        cache_images=cache_images,
        verdicts=verdicts,
        models=absolute(out / MODELS) if save_models else None,
        deterministic=deterministic,
        processes=processes_per_trial,
        batched=batched,
        checkpoints=folder,
    )
    return Job(
        settings,
        Resources(jobs, threads, gpus, gpus_per_probing, ray_address),
        _limits(folder, trial_timeout, isolated=executor == "ray", local=ray_address is None),
        listener or Listener(),
    )


def _device(gpus_per_trial: float | None, *, elsewhere: bool) -> tuple[str, float]:
    """Return the device of the trials, and how many GPUs each gets.

    Those that run ``elsewhere``, on a cluster, may have GPUs that are not here.
    """
    available = torch.cuda.is_available()
    gpus = (1.0 if available else 0.0) if gpus_per_trial is None else gpus_per_trial
    if gpus and not available and not elsewhere:
        raise UsageError("--gpus-per-trial asks for a GPU, and there is none here.", "Drop the option.")
    return ("cuda" if gpus else "cpu"), gpus


def _check_processes(processes: int, gpus: float, *, elsewhere: bool) -> None:
    """Raise if processes that share a trial cannot each have a GPU of their own, where they use any."""
    if processes < 1:
        raise UsageError(f"--processes-per-trial is {processes}; it must be at least 1.")
    if processes == 1 or not gpus:
        return
    if gpus != int(gpus):
        raise UsageError(
            f"Each of {processes} processes of a trial computes on a GPU of its own, and --gpus-per-trial "
            f"{gpus:g} is a share of one.",
            "Use --gpus-per-trial 1 or drop --processes-per-trial.",
        )
    here = torch.cuda.device_count()
    if not elsewhere and processes * gpus > here:
        raise UsageError(
            f"{processes} processes of {gpus:g} GPUs each do not fit on this machine, which has {here}.",
            f"Use --processes-per-trial {max(1, int(here / gpus))}.",
        )


def _as_many_as_fit(gpus: float) -> int:
    """Return how many trials the GPUs of this machine hold at a time; 1 where they use none."""
    return max(1, min(available_cores(), int(torch.cuda.device_count() / gpus))) if gpus else 1


def _limits(folder: Path | None, timeout: float | None, *, isolated: bool, local: bool) -> Limits:
    here = socket.gethostname(), os.getpid()
    return Limits(
        timeout,
        traces=folder,
        # One flag per driver, since a folder of checkpoints may be given to several runs.
        flag=folder / f".stop-{here[0]}-{here[1]}" if folder is not None else None,
        # Inline the driver is the worker itself. On a cluster it may be on another machine.
        driver=here if local else None,
        isolated=isolated,
    )
