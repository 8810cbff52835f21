"""Options of the commands that run trials: where data and caches are, what runs them, how many at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lnlbench.console.options import FiniteRange, data_option

MOST = 9999  # jobs, cores, processes and GPUs: larger numbers are mistakes

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    data_option,
    click.option(
        "--cache-dir",
        "cache",
        type=click.Path(path_type=Path),
        help="Cache for features [env: LNLBENCH_CACHE].",
    ),
    click.option(
        "--plugin",
        "plugins",
        multiple=True,
        metavar="FILE.py[:CLASS]",
        help="A method, backbone, data set or kind of phase that is not installed.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1, MOST),
        help="Trials at the same time [default: as many as the GPUs hold, else 1].",
    ),
    click.option(
        "--cpus-per-trial", type=click.IntRange(1, MOST), help="[default: the cores divided by --jobs]"
    ),
    click.option("--gpus-per-trial", type=FiniteRange(0, MOST), help="[default: 1 with CUDA, else 0]"),
    click.option(
        "--gpus-per-probing",
        type=FiniteRange(0, 1, min_open=True),
        help="Of trials that only probe cached features [default: as --gpus-per-trial].",
    ),
    click.option(
        "--processes-per-trial",
        type=click.IntRange(1, MOST),
        default=1,
        help="Processes that share a trial, each with its CPUs and GPUs; for methods that can [default: 1].",
    ),
    click.option(
        "--workers",
        type=click.IntRange(0, MOST),
        help="Processes per trial that decode image files [default: 0; with a GPU, one per CPU thread].",
    ),
    click.option(
        "--cache-images", is_flag=True, help="Keep images that dataset_options.resize made in the cache."
    ),
    click.option(
        "--deterministic",
        is_flag=True,
        help="Use only algorithms that give the same bits every time, also on a GPU; slower there.",
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

listeners_option = click.option(
    "--listener",
    "listeners",
    multiple=True,
    metavar="KIND:WHERE",
    help="Also send epochs and results to tensorboard:FOLDER, mlflow:FOLDER (or URI) or wandb:PROJECT "
    "(repeatable).",
)


def running_options(function: F) -> F:
    """Add the options; they arrive as keyword arguments that :func:`lnlbench.run` takes."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
