"""Run a plan: see what is pending, check what can be known before, execute, keep every result."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnlbench import noise, registry
from lnlbench.checkpoint import Checkpoints
from lnlbench.errors import DataError, NoiseError
from lnlbench.interruption import Interruption
from lnlbench.plan import Plan
from lnlbench.provenance import Present
from lnlbench.record import Record, Status
from lnlbench.spec import TrialSpec, split_reference
from lnlbench.splits import required_views
from lnlbench.store import Store
from lnlbench.worker import Limits, work
from lnlbench.workspace import Setting, Workspace

if TYPE_CHECKING:
    from lnlbench.ray_session import Resources


@dataclass(frozen=True, slots=True)
class Pending:
    """What a run finds in its output folder.

    Attributes
    ----------
    todo : tuple of TrialSpec
    done, failed : int
        Kept as they are.
    stale : dict of str to str
        Records that other code or other data made, by trial id, with the reason.
    """

    todo: tuple[TrialSpec, ...]
    done: int
    failed: int
    stale: Mapping[str, str] = field(default_factory=dict)


def find_pending(
    plan: Plan, records: Iterable[Record], retry: str | None, look: Callable[[Iterable[TrialSpec]], Present]
) -> Pending:
    """Compare a plan with what has been recorded.

    Parameters
    ----------
    plan : Plan
    records : iterable of Record
    retry : {"failed", "stale", "all"} or None
        Which recorded trials to run again.
    look : callable
        Returns code and data, as they are now, of the trials that have a record.
    """
    planned_ids = {planned.spec.trial_id for planned in plan.planned}
    known = {record.trial_id: record for record in records if record.trial_id in planned_ids}
    present = look(record.spec for record in known.values())
    stale = {key: reason for key, record in known.items() if (reason := present.why_stale(record))}
    todo, done, failed = [], 0, 0
    for planned in plan.planned:
        if planned.skip is not None:
            continue
        record = known.get(planned.spec.trial_id)
        again = record is None or retry == "all"
        if record is not None and retry == "failed":
            again = record.status is Status.FAILED
        if record is not None and retry == "stale":
            again = record.trial_id in stale
        if again:
            todo.append(planned.spec)
        elif record is not None and record.status is Status.DONE:
            done += 1
        else:
            failed += 1
    return Pending(tuple(todo), done, failed, stale)


def find_missing(plan: Plan, setting: Setting) -> list[str]:
    """Return what data and weights the plan needs that are not on this machine, as sentences."""
    specs = [planned.spec for planned in plan.planned if planned.skip is None]
    missing: dict[str, None] = {}
    missing.update(dict.fromkeys(_missing_data(specs, setting)))
    missing.update(dict.fromkeys(_missing_noise(specs)))
    for backbone in dict.fromkeys(spec.backbone for spec in specs if needs_backbone(spec)):
        scheme, reference = split_reference(backbone.name)
        source = registry.backbones().load(scheme)()
        source.options(backbone)  # a slip in an option is no missing file
        reason = source.missing(reference, backbone)
        if reason:
            missing[reason] = None
    return list(missing)


def _missing_data(specs: Iterable[TrialSpec], setting: Setting) -> Iterator[str]:
    for dataset in dict.fromkeys(spec.dataset for spec in specs):
        scheme, path = split_reference(dataset.name)
        reason = registry.datasets().load(scheme)().missing(path, setting.data)
        if reason:
            yield reason


def _missing_noise(specs: Iterable[TrialSpec]) -> Iterator[str]:
    for options in dict.fromkeys(spec.noise.options for spec in specs if spec.noise.type == "file"):
        path = Path(str(dict(options)["path"]))
        if not path.is_file():
            yield f"There is no noise file '{path}'. Check the path, which is relative to the working folder."


def needs_backbone(spec: TrialSpec) -> bool:
    """Whether a trial looks at images; a data set of features brings its own representation."""
    return split_reference(spec.dataset.name)[0] != "features"


def preflight(specs: Iterable[TrialSpec], workspace: Workspace) -> None:
    """Raise now what would otherwise fail every trial later.

    Raises
    ------
    DataError, WeightsError, NoiseError
        For data or weights that are missing or unreadable, and for noise that is impossible.
    """
    specs = tuple(specs)
    for reason in _missing_data(specs, workspace.setting):
        raise DataError(reason)
    for reason in _missing_noise(specs):
        raise NoiseError(reason)
    for backbone in dict.fromkeys(spec.backbone for spec in specs if needs_backbone(spec)):
        workspace.backbone(backbone)  # hub weights are downloaded here, once, if they can be
    for dataset_spec, noise_spec in dict.fromkeys((spec.dataset, spec.noise) for spec in specs):
        dataset = workspace.dataset(dataset_spec)
        noise.check(noise_spec, dataset.family, len(dataset.classes))


def extract_features(
    specs: Iterable[TrialSpec], workspace: Workspace, progress: Callable[[int, int], None]
) -> None:
    """Fill the feature cache with all that cached linear probing will ask for.

    Done once, with all threads, before the trials: those would otherwise wait for each other.

    Parameters
    ----------
    specs : iterable of TrialSpec
    workspace : Workspace
    progress : callable
        Called with the arrays that are done and their total.
    """
    wanted: dict[Any, None] = {}
    for spec in specs:
        if not needs_backbone(spec):
            continue
        dataset = workspace.dataset(spec.dataset)
        method, _ = workspace.method(spec.method.name)
        held_out = "train" if dataset.validation is None else "validation"
        for phase in spec.phases:
            if phase.kind == "lp" and phase.cache:
                seed = spec.seed if spec.backbone.weights == "none" else 0
                for part, view in required_views(phase, method, dataset, held_out):
                    wanted[spec.dataset, spec.backbone, seed, spec.precision, part, view] = None
    for number, (dataset_spec, backbone_spec, seed, precision, part, view) in enumerate(wanted):
        progress(number, len(wanted))
        backbone = workspace.backbone(backbone_spec, seed)
        execution = workspace.execution(backbone_spec, seed, precision)
        workspace.features(workspace.dataset(dataset_spec), part, backbone, view, execution)
    progress(len(wanted), len(wanted))


def merge_plans(old: Mapping[str, Any] | None, new: Plan) -> dict[str, Any]:
    """Return the plan to store: the new one, with what was asked for before.

    Runs of one grid that differ in ``--where`` or ``--seeds`` add up; another grid file, another
    hyperparameter file or other ``--set`` values are another comparison, and start afresh.
    """
    value = new.to_dict()
    if old is None:
        return value

    def identity(source: Mapping[str, Any]) -> tuple[Any, ...]:
        sets = [text for text in source["overrides"] if text.startswith("--set")]
        return source["sha256"], source.get("hyperparameters", {}).get("sha256"), tuple(sets)

    if identity(old["source"]) != identity(value["source"]):
        return value
    present = {trial["trial_id"] for trial in value["trials"]}
    kept = [trial for trial in old["trials"] if trial["trial_id"] not in present]
    return {**value, "trials": value["trials"] + kept}


@contextmanager
def supervised(
    setting: Setting, resources: Resources | None, timeout: float | None, interrupted: Callable[[], None]
) -> Iterator[Limits]:
    """Catch Ctrl-C while trials run, and say what they must obey.

    Parameters
    ----------
    setting : Setting
    resources : Resources or None
        None for trials in this process.
    timeout : float or None
        Seconds that a trial may take.
    interrupted : callable
        Called at the first Ctrl-C, when trials are asked to stop after their epoch.

    Yields
    ------
    Limits

    Raises
    ------
    KeyboardInterrupt
        If the run was interrupted, when all that could be saved has been.
    """
    here = socket.gethostname(), os.getpid()
    folder = setting.checkpoints
    # One flag per driver, since a folder of checkpoints may be given to several runs.
    flag = folder / f".stop-{here[0]}-{here[1]}" if folder is not None else None
    local = resources is None or resources.address is None
    with Interruption(interrupted, flag) as interruption:
        yield Limits(
            timeout,
            traces=folder,
            flag=flag,
            driver=here if local else None,
            isolated=resources is not None,
        )
        if interruption.requested:
            raise KeyboardInterrupt


def execute(
    specs: Sequence[TrialSpec],
    setting: Setting,
    resources: Resources | None,
    limits: Limits,
    *,
    started: Callable[[TrialSpec], None],
    finished: Callable[[Record], None],
) -> None:
    """Run trials under Ray, or in this process if there are no resources for it.

    ``started`` and ``finished`` are called for each trial, the second with its record.
    """
    if resources is not None:
        from lnlbench.runner import run_with_ray

        run_with_ray(specs, setting, resources, limits, started=started, finished=finished)
        return
    workspace = Workspace(setting)
    for spec in specs:
        started(spec)
        record = work(spec, workspace, limits)
        if record is None:  # interrupted
            return
        finished(record)


def tidy(store: Store, checkpoints: Checkpoints) -> tuple[list[Record], list[str]]:
    """Read the records of a folder that is locked; move damaged files aside and name them.

    Checkpoints of trials that are done go away: the run that finished them was killed before it
    could remove them.

    Returns
    -------
    records, notes
    """
    records, damaged = store.read_all()
    notes = []
    consequences = (
        (damaged, "the trial runs again"),
        (store.damaged_plans(), "it is made again when its grid is run"),
        (checkpoints.damaged(), "the trial starts from its first epoch"),
    )
    for items, consequence in consequences:
        for item in items:
            moved = store.set_aside(item)
            notes.append(f"{item.path} is damaged ({item.reason}); moved to {moved}, {consequence}.")
    done = {record.trial_id for record in records if record.status is Status.DONE}
    for trial_id in done.intersection(checkpoints.saved()):
        checkpoints.remove(trial_id)
    return records, notes
