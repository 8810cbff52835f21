"""lnlbench: learning with noisy labels on pre-trained models, compared fairly.

From Python as from the command line: :func:`plan` and :func:`run` a grid, :func:`load` its records; a
:class:`Listener` hears of epochs and results. Importing the package imports nothing heavy: the functions
bring in what they need when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnlbench._version import __version__
from lnlbench.running.listener import Listener, Listeners

if TYPE_CHECKING:
    import pandas as pd

    from lnlbench.analysis.ranking.standings import Standings
    from lnlbench.deploy.saved_model import SavedModel
    from lnlbench.grids.plan import Plan
    from lnlbench.running.session import RunResult

__all__ = ["Listener", "__version__", "load", "load_model", "plan", "rank", "run"]


def plan(
    grid: str | Path,
    *,
    where: Mapping[str, Any] | Iterable[str] = (),
    sets: Mapping[str, Any] | Iterable[str] = (),
    seeds: str | Iterable[int] | None = None,
    plugins: Iterable[str | Path] = (),
) -> Plan:
    """Resolve a grid to its trials, and run nothing.

    Parameters
    ----------
    grid : str or Path
        Name of a grid, or path of a ``.toml`` file.
    where : mapping, or iterable of str
        Trials to keep: ``{"method": ["turn", "ce"]}``, or ``["method=turn,ce"]`` as for ``--where``.
    sets : mapping, or iterable of str
        Settings and axes to change: ``{"lp.epochs": 5, "noise": ["symmetric-0.2", "symmetric-0.6"]}``, or
        ``["lp.epochs=5"]`` as for ``--set``. True, False and None are ``true``, ``false`` and ``none``.
    seeds : str, or iterable of int
        Instead of the grid's: ``range(5)``, ``[0, 2]`` or ``"0-4"``.
    plugins : iterable of str or Path
        Methods that are not installed, ``FILE.py`` or ``FILE.py:CLASS``.

    Returns
    -------
    lnlbench.grids.plan.Plan
        Its ``planned`` are the trials, each with its ``spec`` and why it is skipped, if it is.

    Raises
    ------
    lnlbench.errors.GridError, lnlbench.errors.UsageError, lnlbench.errors.PluginError
        For any mistake that can be known before running.
    lnlbench.errors.NothingSelectedError
        If the filters leave no trial.
    """
    from dataclasses import replace

    from lnlbench.grids.plan import plan as make_plan
    from lnlbench.running.job import add_plugins

    plugins = [str(plugin) for plugin in plugins]
    add_plugins(plugins)
    if seeds is not None and not isinstance(seeds, str):
        seeds = ",".join(str(seed) for seed in seeds)
    made = make_plan(str(grid), _conditions(where), _conditions(sets), seeds)
    return replace(made, source={**made.source, "plugins": plugins}) if plugins else made


def run(
    grid: str | Path | Plan,
    out: str | Path | None = None,
    *,
    where: Mapping[str, Any] | Iterable[str] = (),
    sets: Mapping[str, Any] | Iterable[str] = (),
    seeds: str | Iterable[int] | None = None,
    plugins: Iterable[str | Path] = (),
    retry: str | None = None,
    listener: Listener | Iterable[Listener] = (),
    executor: str = "ray",
    jobs: int | None = None,
    cpus_per_trial: int | None = None,
    gpus_per_trial: float | None = None,
    gpus_per_probing: float | None = None,
    processes_per_trial: int = 1,
    workers: int | None = None,
    data: str | Path | None = None,
    cache: str | Path | None = None,
    cache_images: bool = False,
    verdicts: bool = False,
    save_models: bool = False,
    deterministic: bool = False,
    batched: bool = False,
    checkpoints: str | Path | None = None,
    ray_address: str | None = None,
    trial_timeout: float | None = None,
) -> RunResult:
    """Run a grid, or continue it: what ``lnlbench run`` does, with the same numbers.

    The same call continues where it stopped: finished trials are kept, failed ones too unless ``retry``
    says otherwise, and unfinished ones go on after their last epoch. Nothing is printed.

    Parameters
    ----------
    grid : str, Path or Plan
        Name of a grid, path of a ``.toml`` file, or what :func:`plan` returned.
    out : str or Path, optional
        Folder for results. Default: ``runs/GRID``.
    where, sets, seeds, plugins
        See :func:`plan`; a plan has its own, and takes plugins only.
    retry : {"failed", "stale", "all"}, optional
        Also run these trials again.
    listener : Listener, or iterable of Listener
        Who is told what happens.
    executor : {"ray", "inline"}
        ``inline`` runs the trials in this process, one after the other.
    jobs : int, optional
        Trials at the same time. Default: as many as the GPUs of this machine hold, else 1.
    cpus_per_trial : int, optional
        Default: the cores divided by ``jobs``.
    gpus_per_trial : float, optional
        Default: 1 with CUDA, else 0.
    gpus_per_probing : float, optional
        Of trials that only probe features which are extracted before. Default: ``gpus_per_trial``.
    processes_per_trial : int
        That share a trial where images pass through a backbone, each with its own CPUs and GPUs; for methods
        with ``distributed = True``.
    workers : int, optional
        Processes per trial that decode image files. Default: 0; with a GPU, one per CPU thread.
    data : str or Path, optional
        Data folder. Default: the environment variable ``LNLBENCH_DATA``.
    cache : str or Path, optional
        For features. Default: ``LNLBENCH_CACHE``, else ``lnlbench`` in the user's cache folder.
    cache_images : bool
        Keep images that ``dataset_options.resize`` made in the cache.
    deterministic : bool
        Use only algorithms that give the same bits every time, also on a GPU. An operator that has none
        fails its trial.
    batched : bool
        Train linear probing of trials together that see the same batches: many times as fast, and the same
        up to rounding. Records say ``execution.batched``. Methods need ``Method.head_losses``.
    verdicts : bool
        Keep a file beside each record with what the trained method says of every training sample, see
        :meth:`lnlbench.records.store.Store.verdicts`. Of trials that are run now.
    save_models : bool
        Keep the trained networks, see :func:`load_model`. Of trials that are run now.
    checkpoints : str or Path, optional
        Where unfinished trials are saved after every epoch. Default: ``OUT/checkpoints``; with
        ``ray_address`` none.
    ray_address : str, optional
        An existing Ray cluster: ``auto``, or ``HOST:PORT`` of its head.
    trial_timeout : float, optional
        End a trial that takes longer, in seconds; it is recorded as failed.

    Returns
    -------
    lnlbench.running.session.RunResult
        With ``records``, ``failed``, ``complete``, ``warnings`` and ``frame()``.

    Raises
    ------
    lnlbench.errors.LnlbenchError
        For mistakes, before any trial runs, and if a result cannot be saved. A trial that fails raises
        nothing: it is a record with its reason.
    KeyboardInterrupt
        If the run was interrupted. The first Ctrl-C lets the epochs that run finish and saves them.
    """
    import os

    from lnlbench.errors import UsageError
    from lnlbench.grids.plan import Plan
    from lnlbench.running.job import add_plugins, make_job
    from lnlbench.running.session import run_plan

    if retry not in (None, "failed", "stale", "all"):
        raise UsageError(f"retry is '{retry}'.", "Use failed, stale or all.")
    if not isinstance(grid, Plan):
        grid = plan(grid, where=where, sets=sets, seeds=seeds, plugins=plugins)
    elif where or sets or seeds is not None:
        raise UsageError("A plan says which trials there are.", "Give where, sets and seeds to plan().")
    else:
        add_plugins(plugins)
    out = Path(out) if out is not None else Path("runs") / grid.grid
    job = make_job(
        out,
        data=data or os.environ.get("LNLBENCH_DATA") or None,
        cache=cache,
        jobs=jobs,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        gpus_per_probing=gpus_per_probing,
        processes_per_trial=processes_per_trial,
        workers=workers,
        cache_images=cache_images,
        verdicts=verdicts,
        save_models=save_models,
        deterministic=deterministic,
        batched=batched,
        ray_address=ray_address,
        executor=executor,
        trial_timeout=trial_timeout,
        checkpoints=checkpoints,
        listener=listener if isinstance(listener, Listener) else Listeners(listener),
    )
    return run_plan(grid, out, job, retry)


def load_model(path: str | Path, epoch: str | None = None) -> SavedModel:
    """Load a model that was saved with ``lnlbench run --save-models``.

    Parameters
    ----------
    path : str or Path
        Its folder, or an output folder that holds models of one trial.
    epoch : {"best", "last"}, optional
        Where ``path`` does not say it. Default: ``best``, that of highest validation accuracy.

    Returns
    -------
    lnlbench.deploy.saved_model.SavedModel
        A torch module in eval mode, from inputs ``[B, 3, S, S]`` to logits ``[B, C]``, with ``transform``
        (from an image or its file to an input), ``preprocessing`` and ``classes``.

    Raises
    ------
    lnlbench.errors.UsageError
        If there is no model, or there are several.
    lnlbench.errors.WeightsError
        If it is damaged, of another format, or does not fit what is installed.
    """
    from lnlbench.deploy import saved_model

    return saved_model.load_model(path, epoch)


def load(out: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Load the records of output folders as a tidy frame.

    Parameters
    ----------
    out : str, Path, or iterable of them
        Folders that :func:`run` or ``lnlbench run`` wrote.

    Returns
    -------
    pandas.DataFrame
        One row per trial, with the columns of ``lnlbench export``.

    Raises
    ------
    lnlbench.errors.StoreError
        If the folder holds no records, or records of another format version.
    """
    from lnlbench.records.reading.folders import load_frames

    return load_frames([out] if isinstance(out, (str, Path)) else out)


def rank(
    frame: pd.DataFrame, metric: str = "best", *, by: Iterable[str] = (), unit: str = "auto"
) -> Standings:
    """Rank methods across the settings (data set, noise, backbone) of a frame.

    Parameters
    ----------
    frame : pandas.DataFrame
        As :func:`load` returns it, or some rows of it.
    metric : str, default "best"
        Any number of the frame. Where less of it is better, the lowest is ahead, else the highest.
    by : iterable of str
        Columns, ``params.NAME`` or ``KIND.NAME`` that tell methods apart. Default: ``tuning`` and ``method``.
    unit : {"auto", "settings", "seeds"}
        What one observation of a signed-rank test is. ``auto``: a setting, or a seed of a setting where
        settings are too few for any difference to be significant.

    Returns
    -------
    lnlbench.analysis.ranking.standings.Standings
        ``frame()`` has a row per method: average rank with its interval, wins, regret, cost. ``pairs``
        are the comparisons of two, ``friedman`` the test of all, ``concordances`` whether rankings agree.

    Raises
    ------
    lnlbench.errors.UsageError
        For an unknown metric, axis or unit.
    lnlbench.errors.NothingSelectedError
        If no two methods have results in the same setting.
    """
    from lnlbench.analysis.ranking.standings import rank as rank_frame

    return rank_frame(frame, metric, by, unit)


def _conditions(given: Mapping[str, Any] | Iterable[str]) -> list[str]:
    """Return changes or filters as they stand on the command line."""
    if not isinstance(given, Mapping):
        return [given] if isinstance(given, str) else list(given)
    return [f"{key}={_text(value)}" for key, value in given.items()]


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
