"""What a run finds in its output folder: what is damaged, what is done, and what is left to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lnlbench.basics.allocator import patient_collector
from lnlbench.grids.plan import Plan
from lnlbench.records.entry import Entry
from lnlbench.records.record import Status
from lnlbench.records.staleness import specs_of, stale_warning, staleness
from lnlbench.records.store import Store
from lnlbench.running.provenance import look_up
from lnlbench.spec import TrialSpec
from lnlbench.trials.checkpoint import Checkpoints
from lnlbench.trials.workspace import Workspace


def tidy(store: Store, checkpoints: Checkpoints) -> tuple[list[Entry], list[str]]:
    """Look at the records of a folder that is locked; move damaged files aside and name them.

    Checkpoints of trials that are done go away: the run that finished them was killed before it
    could remove them.

    Returns
    -------
    entries, notes
    """
    entries, damaged = store.look()
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
    done = {entry.trial_id for entry in entries if entry.status is Status.DONE}
    for trial_id in done.intersection(checkpoints.saved()):
        checkpoints.remove(trial_id)
    return entries, notes


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

    def warning(self) -> str | None:
        """Say that records are stale, if some are."""
        return stale_warning(self.stale)


@patient_collector()
def find_pending(
    plan: Plan, entries: Iterable[Entry], workspace: Workspace, retry: str | None = None
) -> Pending:
    """Compare a plan with what has been recorded.

    Parameters
    ----------
    plan : Plan
    entries : iterable of Entry
        Of all records in the folder, other plans' too: the newest of a kind decides what is stale.
    workspace : Workspace
        Looks up code and data, as they are now, of the trials that have a record.
    retry : {"failed", "stale", "all"} or None
        Which recorded trials to run again.
    """
    entries = tuple(entries)
    planned_ids = {planned.spec.trial_id for planned in plan.planned}
    known = {entry.trial_id: entry for entry in entries if entry.trial_id in planned_ids}
    present = look_up(specs_of(known.values()), workspace)
    reasons = staleness(entries, present)
    stale = {key: reasons[key] for key in known if key in reasons}
    todo, done, failed = [], 0, 0
    for planned in plan.planned:
        if planned.skip is not None:
            continue
        entry = known.get(planned.spec.trial_id)
        again = entry is None or retry == "all"
        if entry is not None and retry == "failed":
            again = entry.status is Status.FAILED
        if entry is not None and retry == "stale":
            again = entry.trial_id in stale
        if again:
            todo.append(planned.spec)
        elif entry is not None and entry.status is Status.DONE:
            done += 1
        else:
            failed += 1
    return Pending(tuple(todo), done, failed, stale)


@patient_collector()
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
