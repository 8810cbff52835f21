"""Options of the commands that run trials: where data and caches are, what runs them, how many at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lnlbench.cli.options import FiniteRange, cache_option, data_option
from lnlbench.errors import UsageError

if TYPE_CHECKING:
    from lnlbench.ray_session import Resources
    from lnlbench.workspace import Setting

MOST = 9999  # jobs, cores, processes and GPUs: larger numbers are mistakes

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    data_option,
    cache_option,
    click.option(
        "--plugin",
        "plugins",
        multiple=True,
        metavar="FILE.py[:CLASS]",
        help="A method that is not installed.",
    ),
    click.option(
        "--jobs", type=click.IntRange(1, MOST), default=1, show_default=True, help="Trials at the same time."
    ),
    click.option(
        "--cpus-per-trial", type=click.IntRange(1, MOST), help="[default: the cores divided by --jobs]"
    ),
    click.option("--gpus-per-trial", type=FiniteRange(0, MOST), help="[default: 1 with CUDA, else 0]"),
    click.option(
        "--workers",
        type=click.IntRange(0, MOST),
        help="Processes per trial that decode image files [default: 0; with a GPU, one per CPU thread].",
    ),
    click.option(
        "--cache-images", is_flag=True, help="Keep images that dataset_options.resize made in the cache."
    ),
    click.option("--ray-address", help="Run on an existing Ray cluster: auto, or HOST:PORT of its head."),
    click.option(
        "--executor",
        type=click.Choice(["ray", "inline"]),
        default="ray",
        show_default=True,
        help="inline runs the trials in this process, for debugging.",
    ),
    click.option(
        "--trial-timeout",
        type=FiniteRange(0, 10**9, min_open=True),
        metavar="SECONDS",
        help="End a trial that takes longer; it is recorded as failed.",
    ),
    click.option(
        "--checkpoints",
        type=click.Path(path_type=Path),
        help="Folder where unfinished trials are saved after every epoch "
        "[default: OUT/checkpoints; with --ray-address none].",
    ),
)


def execution_options(function: F) -> F:
    """Add the options; they arrive as the keyword arguments of :func:`read_execution`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Execution:
    """What the options say.

    Attributes
    ----------
    setting : Setting
        Of the trials.
    cores : int
        What this process may use; feature extraction, which runs before the trials, takes all.
    gpus : float
        Per trial.
    ray_address : str or None
    timeout : float or None
        Seconds that a trial may take.
    """

    setting: Setting
    cores: int
    gpus: float
    ray_address: str | None
    timeout: float | None

    @property
    def resources(self) -> Resources | None:
        """What Ray gives to trials; None for trials in this process. Imports ray."""
        if self.setting.executor != "ray":
            return None
        from lnlbench.ray_session import Resources

        return Resources(self.setting.jobs, self.setting.threads, self.gpus, self.ray_address)


def read_execution(
    out: Path,
    *,
    data: Path | None,
    cache_dir: Path | None,
    plugins: tuple[str, ...],
    jobs: int,
    cpus_per_trial: int | None,
    gpus_per_trial: float | None,
    workers: int | None,
    cache_images: bool,
    ray_address: str | None,
    executor: str,
    trial_timeout: float | None,
    checkpoints: Path | None,
) -> Execution:
    """Check the options, add the plugins to the registry, and return what to run with.

    Parameters
    ----------
    out : Path
        Output folder.
    data, cache_dir, ... :
        What :func:`execution_options` adds.

    Raises
    ------
    UsageError
        For options that exclude each other, or a GPU where there is none.
    PluginError
        For a plugin that cannot be added.
    """
    from lnlbench import registry
    from lnlbench.data.features import default_cache_folder
    from lnlbench.data.loader import default_workers
    from lnlbench.workspace import Setting

    if executor == "inline" and (jobs > 1 or ray_address):
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
    for plugin in plugins:
        registry.methods().add_path(plugin)
    device, gpus = _device(gpus_per_trial, elsewhere=ray_address is not None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = cpus_per_trial or max(1, cores // jobs)
    setting = Setting(
        data=data.absolute() if data else None,
        cache=(cache_dir or default_cache_folder()).absolute(),
        plugins=tuple(registry.references()),
        device=device,
        threads=threads,
        executor=executor,
        jobs=jobs,
        workers=default_workers(device, threads) if workers is None else workers,
        cache_images=cache_images,
        checkpoints=checkpoints.absolute() if checkpoints else None,
    )
    return Execution(setting, cores, gpus, ray_address, trial_timeout)


def _device(gpus_per_trial: float | None, *, elsewhere: bool) -> tuple[str, float]:
    """Return the device of the trials, and how many GPUs each gets.

    Those that run ``elsewhere``, on a cluster, may have GPUs that are not here.
    """
    import torch

    available = torch.cuda.is_available()
    gpus = (1.0 if available else 0.0) if gpus_per_trial is None else gpus_per_trial
    if gpus and not available and not elsewhere:
        raise UsageError("--gpus-per-trial asks for a GPU, and there is none here.", "Drop the option.")
    return ("cuda" if gpus else "cpu"), gpus
