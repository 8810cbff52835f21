"""A run from its plan to its records: read :func:`run_plan` top to bottom.

folder ─▶ pending ─▶ preflight ─▶ extract ─▶ plan stored ─▶ execute ─▶ records kept, one by one
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnlbench.basics.interruption import Interruption
from lnlbench.grids.plan import Plan
from lnlbench.launching.team_size import check_shared
from lnlbench.records.record import Record, Status
from lnlbench.records.staleness import Present
from lnlbench.records.store import Store
from lnlbench.running.execute import execute
from lnlbench.running.job import Job, available_cores
from lnlbench.running.listener import Listener, Listeners
from lnlbench.running.pending import Pending, find_pending, merge_plans, tidy
from lnlbench.running.preflight import extract_features, preflight
from lnlbench.running.provenance import complete, look_up
from lnlbench.running.seconds import expected_seconds, longest_first, sizes_here
from lnlbench.spec import TrialSpec
from lnlbench.trials.checkpoint import Checkpoints
from lnlbench.trials.measuring.mode_shift import shift_warning
from lnlbench.trials.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """What there is when a run is over.

    Attributes
    ----------
    plan : Plan
    store : Store
        The folder of the results.
    statuses : mapping of str to Status
        Of the plan's trials that have a record, of earlier runs too, by trial id and in the plan's order.
    warnings : tuple of str
        What listeners were warned of.
    """

    plan: Plan
    store: Store
    statuses: Mapping[str, Status]
    warnings: tuple[str, ...] = ()

    @property
    def out(self) -> Path:
        """Folder of the results."""
        return self.store.root

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Records of the plan's trials, in its order; those of earlier runs too. Read when asked for."""
        return tuple(self.store.read(self.statuses))

    @cached_property
    def failed(self) -> tuple[Record, ...]:
        """Records of trials that failed; ``record.error`` says why."""
        return tuple(self.store.read(key for key, status in self.statuses.items() if status is Status.FAILED))

    @property
    def complete(self) -> bool:
        """Whether every trial that the plan does not skip is done."""
        done = {key for key, status in self.statuses.items() if status is Status.DONE}
        return all(p.skip is not None or p.spec.trial_id in done for p in self.plan.planned)

    def frame(self) -> pd.DataFrame:
        """Return the records as a tidy frame, one row per trial; see :func:`lnlbench.load`."""
        from lnlbench.records.frame import load_frame

        frame = load_frame(self.out)
        return frame[frame["trial_id"].isin(list(self.statuses))].reset_index(drop=True)


def run_plan(
    plan: Plan,
    out: Path,
    job: Job,
    retry: str | None = None,
    run_trials: Callable[[Pending, Job], None] | None = None,
) -> RunResult:
    """Run what is pending of a plan.

    Parameters
    ----------
    plan : Plan
    out : Path
        Output folder; made if it is missing, and removed again if no trial was started.
    job : Job
    retry : {"failed", "stale", "all"} or None
        Which recorded trials to run again.
    run_trials : callable, optional
        Instead of :func:`~lnlbench.running.execute.execute`: a search with a scheduler.

    Raises
    ------
    LnlbenchError
        If another run holds the folder, for what would fail every trial, and if a result cannot be
        saved.
    KeyboardInterrupt
        If the run was interrupted, when all that could be saved has been.
    """
    listeners = job.listener if isinstance(job.listener, Listeners) else Listeners([job.listener])
    saved = Checkpoints(job.settings.checkpoints)
    keep = _Keep(listeners, saved)
    try:
        with _output_folder(out, keep) as store, store.lock(), ExitStack() as session:
            for text in job.advice():
                listeners.warned(text)
            listeners.doing(f"looking at {out}")
            entries, notes = tidy(store, saved)
            for note in notes:
                listeners.warned(note)
            # Before the trials nothing else runs, so this takes all cores.
            workspace = Workspace(replace(job.settings, threads=available_cores()))
            pending = find_pending(plan, entries, workspace, retry)
            if (warning := pending.warning()) is not None:
                listeners.warned(warning)
            listeners.planned(plan, pending, store.root)
            if pending.todo:
                check_shared(pending.todo, job.settings.processes)
                preflight(pending.todo, workspace, listeners)
                if job.resources.address is None:  # a cluster's nodes extract what they need themselves
                    _extract(pending.todo, workspace, job, listeners, session)
                expected = _expect(pending.todo, workspace, job)
                listeners.expected(expected, job.resources.jobs)
                if job.resources.jobs > 1 and run_trials is None:
                    pending = replace(pending, todo=longest_first(pending.todo, expected))
            keep.present = look_up(pending.todo, workspace)
            del workspace  # data and weights; trials load their own
            known = store.plans().get(plan.grid)
            if (merged := merge_plans(known, plan)) != known:
                store.put_plan(merged)
            listeners.doing("")
            if pending.todo:
                keep.store = store
                job = replace(job, listener=keep)
                # The first Ctrl-C makes a file, which workers look for after each epoch.
                with Interruption(listeners.interrupted, job.limits.flag) as interruption:
                    if run_trials is None:
                        execute(pending.todo, job)
                    else:
                        run_trials(pending, job)
                    if interruption.requested:
                        raise KeyboardInterrupt
    finally:
        listeners.ended()
    found = {entry.trial_id: entry.status for entry in store.look()[0]}
    ids = (planned.spec.trial_id for planned in plan.planned)
    return RunResult(plan, store, {i: found[i] for i in ids if i in found}, tuple(listeners.warnings))


def _in_actors(job: Job) -> bool:
    """Whether extraction runs in processes of its own: on the CPU this one does it with all cores."""
    return job.settings.executor == "ray" and job.settings.device == "cuda"


def _extract(
    specs: Sequence[TrialSpec], workspace: Workspace, job: Job, listeners: Listeners, session: ExitStack
) -> None:
    """Bring features into the cache, and let this process keep no memory of a GPU while trials run."""
    if _in_actors(job):
        from lnlbench.running.ray_session import extract_in_actors, ray_session  # imports ray

        session.enter_context(ray_session(replace(job, listener=listeners)))  # the trials' as well
        extract_in_actors(specs, workspace, job, listeners)
    else:
        extract_features(specs, workspace, listeners)


def _expect(
    specs: Sequence[TrialSpec], workspace: Workspace, job: Job
) -> dict[TrialSpec, tuple[float | None, ...]]:
    """Return how long an epoch of each phase is expected to take, with the threads that a trial has."""
    methods = {name: workspace.method(name)[0] for name in {spec.method.name for spec in specs}}
    datasets = {spec.dataset for spec in specs}
    sizes = {dataset: sizes_here(dataset, workspace.dataset(dataset)) for dataset in datasets}
    return expected_seconds(specs, methods, sizes, Workspace(job.settings))


class _Keep(Listener):
    """Keeps a result before anything else happens with it; then the others are told."""

    store: Store
    present: Present

    def __init__(self, listeners: Listeners, saved: Checkpoints) -> None:
        self._listeners = listeners
        self._saved = saved
        self.any_started = False
        self._shifted: set[Any] = set()

    def doing(self, what: str) -> None:
        self._listeners.doing(what)

    def started(self, spec: TrialSpec) -> None:
        self.any_started = True
        self._listeners.started(spec)

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        self._listeners.epoch(spec, entry)
        about = spec.backbone, spec.dataset, spec.phases
        text = shift_warning(spec, entry)
        if text is not None and about not in self._shifted:
            self._shifted.add(about)  # once, and not for every method and seed
            self.warned(text)

    def finished(self, record: Record) -> None:
        record = complete(record, self.present)
        self.store.put(record)
        if record.status is Status.DONE:
            self._saved.remove(record.trial_id)
        if record.models is not None and "refused" in record.models:
            self._listeners.warned(
                f"The model of {record.spec.describe()} is not saved: {record.models['refused']}."
            )
        self._listeners.finished(record)

    def stopped(self, spec: TrialSpec, epochs: int) -> None:
        self._saved.remove(spec.trial_id)
        self._listeners.stopped(spec, epochs)

    def warned(self, text: str) -> None:
        self._listeners.warned(text)


@contextmanager
def _output_folder(out: Path, keep: _Keep) -> Iterator[Store]:
    """Open a folder for results; one that is made for them goes away again if no trial was started."""
    empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        yield Store.open(out, create=True)
    except BaseException:
        if empty and not keep.any_started:
            Store(out).remove_empty()
            for folder in made:
                with suppress(OSError):  # something else is in it
                    folder.rmdir()
        raise
