"""Records and plans as a tidy frame: one row per trial of each grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lnlbench.basics.allocator import patient_collector
from lnlbench.records.costs import add_costs
from lnlbench.records.entry import Entry, entry_of, spec_of
from lnlbench.records.frame_columns import CURVE_SCHEMA, read_selection, read_spec
from lnlbench.records.metric_columns import curve_columns, read_curve, schema
from lnlbench.records.record import Record, Status
from lnlbench.records.staleness import Present, installed, specs_of, staleness
from lnlbench.records.store import Store


class DamagedRecordWarning(UserWarning):
    """A file of an output folder is damaged, and its trial counts as pending."""


def load_frame(out: str | Path) -> pd.DataFrame:
    """Load an output folder as a frame.

    Parameters
    ----------
    out : str or Path
        Folder that ``lnlbench run`` wrote.

    Returns
    -------
    pandas.DataFrame
        See :func:`build_frame`.

    Raises
    ------
    lnlbench.errors.StoreError
        If the folder is not one of lnlbench's, or of another format version.

    Warns
    -----
    DamagedRecordWarning
        Once per damaged file.
    """
    store = Store.open(out)
    entries, damaged = store.look()
    for path, reason in damaged + store.damaged_plans():
        warnings.warn(f"{path}: {reason}", DamagedRecordWarning, stacklevel=2)
    return build_frame(store.plans(), entries, installed(specs_of(entries)))


@patient_collector()
def build_frame(
    plans: Mapping[str, Mapping[str, Any]],
    records: Iterable[Record | Entry],
    present: Present | None = None,
) -> pd.DataFrame:
    """Put plans and records into one frame.

    Parameters
    ----------
    plans : mapping
        Plans by grid name, as :meth:`lnlbench.records.store.Store.plans` returns them.
    records : iterable of Record or Entry
    present : Present, optional
        What ``stale`` compares with, see :func:`lnlbench.records.staleness.staleness`.

    Returns
    -------
    pandas.DataFrame
        One row per planned trial of every plan, in the plan's order; then one row, with an
        empty ``grid``, per record that is in no plan. The columns are those of
        :func:`lnlbench.records.metric_columns.columns`, which says what each of them is.
    """
    by_id = {entry.trial_id: entry for entry in map(entry_of, records)}
    stale = staleness(by_id.values(), present)
    settings: dict[str, dict[str, Any]] = {}

    def columns(setting: str, seed: int) -> dict[str, Any]:
        if setting not in settings:
            settings[setting] = read_spec(spec_of(setting, seed))
        return settings[setting] | {"seed": seed}

    rows: list[dict[str, Any]] = []
    planned: set[str] = set()
    for grid, plan in plans.items():
        for trial in plan["trials"]:
            trial_id, skip = trial["trial_id"], trial.get("skip")
            planned.add(trial_id)
            entry = by_id.get(trial_id)
            status = entry.status if entry else Status.SKIPPED if skip else Status.PENDING
            row = {"grid": grid, "trial_id": trial_id, "status": str(status), "skip": skip}
            row["reference_epochs"] = trial.get("reference_epochs")
            rows.append(row | columns(trial["setting"], trial["seed"]) | (entry.facts if entry else {}))
    for trial_id, entry in by_id.items():
        if trial_id not in planned:
            row = {"grid": "", "trial_id": trial_id, "status": str(entry.status)}
            rows.append(row | columns(entry.setting, entry.seed) | entry.facts)
    for row in rows:
        row["stale"] = stale.get(row["trial_id"])
    add_costs(rows)
    kinds = schema()
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def curves(out: str | Path) -> pd.DataFrame:
    """Load the learning curves of an output folder; see :func:`curves_of`."""
    store = Store.open(out)
    return curves_of(map(store.whole, store.records()))


def curves_of(records: Iterable[Record]) -> pd.DataFrame:
    """Put the epochs of records into one frame.

    Parameters
    ----------
    records : iterable of Record
        With their details, as :meth:`lnlbench.records.store.Store.whole` returns them; without, the columns
        of metrics and selections are empty.

    Returns
    -------
    pandas.DataFrame
        One row per record and epoch: identity of the trial, ``phase``, ``epoch`` counted
        from 0 over all phases, ``loss``, ``validation`` and ``test`` in percent,
        ``train_s``, ``eval_s``, the selection metrics, and ``validation_`` and ``test_`` of every metric.
    """
    rows = []
    for record in records:
        spec = read_spec(record.spec)
        for epoch, entry in enumerate(record.history):
            selection = read_selection(entry.get("selection"))
            numbers = entry | selection | read_curve(entry)
            rows.append({"trial_id": record.trial_id} | spec | numbers | {"epoch": epoch})
    kinds = CURVE_SCHEMA | curve_columns()
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
