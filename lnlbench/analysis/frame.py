"""Records and plans as a tidy frame: one row per trial of each grid."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lnlbench.analysis.stale import staleness
from lnlbench.record import Record, Status
from lnlbench.spec import BackboneSpec, DatasetSpec, TrialSpec
from lnlbench.store import Store

_TEXT, _NUMBER, _COUNT, _FLAG = "string", "float64", "Int64", "boolean"

# Column names in order, with their types. Everything can be missing but the first seven.
SCHEMA: dict[str, str] = {
    "grid": _TEXT,
    "trial_id": _TEXT,
    "status": _TEXT,
    "dataset": _TEXT,
    "noise": _TEXT,
    "rate": _NUMBER,
    "realised_rate": _NUMBER,
    "backbone": _TEXT,
    "tuning": _TEXT,
    "method": _TEXT,
    "seed": _COUNT,
    "epochs": _COUNT,
    "best": _NUMBER,
    "last": _NUMBER,
    "oracle": _NUMBER,
    "best_epoch": _COUNT,
    "setup_s": _NUMBER,
    "features_s": _NUMBER,
    "features_shared": _FLAG,
    "train_s": _NUMBER,
    "eval_s": _NUMBER,
    "wall_s": _NUMBER,
    "backbone_forward": _COUNT,
    "backbone_forward_grad": _COUNT,
    "backbone_backward": _COUNT,
    "head_forward": _COUNT,
    "head_forward_grad": _COUNT,
    "head_backward": _COUNT,
    "features_backbone_forward": _COUNT,
    "cost_units": _COUNT,
    "selected": _COUNT,
    "purity": _NUMBER,
    "recall": _NUMBER,
    "auc": _NUMBER,
    "events": _TEXT,
    "cached": _FLAG,
    "validation_labels": _TEXT,
    "preset": _TEXT,
    "noise_aware": _FLAG,
    "precision": _TEXT,
    "layout": _TEXT,
    "device": _TEXT,
    "threads": _COUNT,
    "shared_device": _FLAG,
    "method_origin": _TEXT,
    "method_fingerprint": _TEXT,
    "data_fingerprint": _TEXT,
    "standin": _FLAG,
    "backbone_fingerprint": _TEXT,
    "commit": _TEXT,
    "dirty": _FLAG,
    "version": _TEXT,
    "stale": _TEXT,
    "skip": _TEXT,
    "error": _TEXT,
    "noise_label": _TEXT,
    "params": _TEXT,
    "phases": _TEXT,
    "dataset_options": _TEXT,
    "noise_options": _TEXT,
    "backbone_options": _TEXT,
    "setting": _TEXT,
    "finished": _TEXT,
}

_CURVE_SCHEMA: dict[str, str] = {
    **{
        name: SCHEMA[name]
        for name in ("trial_id", "dataset", "noise", "rate", "backbone", "tuning", "method")
    },
    "seed": _COUNT,
    "phase": _TEXT,
    "epoch": _COUNT,
    "loss": _NUMBER,
    "validation": _NUMBER,
    "test": _NUMBER,
    "train_s": _NUMBER,
    "eval_s": _NUMBER,
    "selected": _COUNT,
    "purity": _NUMBER,
    "recall": _NUMBER,
    "auc": _NUMBER,
}


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
    records, damaged = store.read_all()
    for path, reason in damaged + store.damaged_plans():
        warnings.warn(f"{path}: {reason}", DamagedRecordWarning, stacklevel=2)
    return build_frame(store.plans(), records)


def build_frame(plans: Mapping[str, Mapping[str, Any]], records: Iterable[Record]) -> pd.DataFrame:
    """Put plans and records into one frame.

    Parameters
    ----------
    plans : mapping
        Plans by grid name, as :meth:`lnlbench.store.Store.plans` returns them.
    records : iterable of Record

    Returns
    -------
    pandas.DataFrame
        One row per planned trial of every plan, in the plan's order; then one row, with an
        empty ``grid``, per record that is in no plan. The columns are those of ``SCHEMA``:
        accuracies, purity and recall in percent, times (``_s``) in seconds, passes in
        samples. ``cost_units`` counts passes through the backbone, a forward as 1 and a
        backward as 2, including those that the features in use stand for (protocol,
        section 6). ``setting`` is shared by trials that differ in their seed alone.
        ``params``, ``phases`` and the options of data set, noise and backbone are JSON.
    """
    by_id = {record.trial_id: record for record in records}
    stale = staleness(by_id.values())
    rows: list[dict[str, Any]] = []
    planned: set[str] = set()
    for grid, plan in plans.items():
        for trial in plan["trials"]:
            trial_id, skip = trial["trial_id"], trial.get("skip")
            planned.add(trial_id)
            spec = TrialSpec.from_dict(trial["spec"])
            record = by_id.get(trial_id)
            status = record.status if record else Status.SKIPPED if skip else Status.PENDING
            row = {"grid": grid, "trial_id": trial_id, "status": str(status), "skip": skip}
            rows.append(row | _of_spec(spec) | (_of_record(record) if record else {}))
    for trial_id, record in by_id.items():
        if trial_id not in planned:
            row = {"grid": "", "trial_id": trial_id, "status": str(record.status)}
            rows.append(row | _of_spec(record.spec) | _of_record(record))
    for row in rows:
        row["stale"] = stale.get(row["trial_id"])
    return pd.DataFrame(rows, columns=list(SCHEMA)).astype(SCHEMA)


def curves(out: str | Path) -> pd.DataFrame:
    """Load the learning curves of an output folder.

    Returns
    -------
    pandas.DataFrame
        One row per record and epoch: identity of the trial, ``phase``, ``epoch`` counted
        from 0 over all phases, ``loss``, ``validation`` and ``test`` in percent,
        ``train_s``, ``eval_s`` and the selection metrics.
    """
    rows = []
    for record in Store.open(out).records():
        spec = _of_spec(record.spec)
        for epoch, entry in enumerate(record.history):
            selection = _of_selection(entry.get("selection"))
            rows.append({"trial_id": record.trial_id} | spec | entry | selection | {"epoch": epoch})
    return pd.DataFrame(rows, columns=list(_CURVE_SCHEMA)).astype(_CURVE_SCHEMA)


def _of_spec(spec: TrialSpec) -> dict[str, Any]:
    lp_phases = [phase for phase in spec.phases if phase.kind == "lp"]
    canonical = {name: value for name, value in spec.canonical().items() if name != "seed"}
    return {
        "dataset": spec.dataset.label,
        "noise": spec.noise.type,
        "rate": spec.noise.rate,
        "backbone": spec.backbone.label,
        "tuning": spec.tuning,
        "method": spec.method.name,
        "seed": spec.seed,
        "epochs": spec.epochs,
        "cached": all(phase.cache for phase in lp_phases) if lp_phases else None,
        "validation_labels": spec.dataset.validation_labels,
        "preset": spec.method.preset,
        "noise_aware": spec.method.noise_aware,
        "noise_label": spec.noise.label,
        "params": json.dumps(dict(spec.method.params)),
        "phases": json.dumps([dataclasses.asdict(phase) for phase in spec.phases]),
        "dataset_options": json.dumps(_without_name(spec.dataset)),
        "noise_options": json.dumps(dict(spec.noise.options)),
        "backbone_options": json.dumps(_without_name(spec.backbone) | dict(spec.backbone.options)),
        "setting": hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:16],
    }


def _without_name(spec: DatasetSpec | BackboneSpec) -> dict[str, Any]:
    values = dataclasses.asdict(spec)
    return {name: value for name, value in values.items() if name not in ("name", "options")}


def _of_record(record: Record) -> dict[str, Any]:
    training = record.ledger.get("training", {})
    features_forward = record.ledger.get("features", {}).get("backbone_forward", 0)
    execution, environment, error = record.execution, record.environment, record.error
    return {
        "realised_rate": record.noise.get("realised_rate"),
        **{name: record.metrics.get(name) for name in ("best", "last", "oracle", "best_epoch")},
        **{name: record.times.get(name) for name in ("setup_s", "features_s", "features_shared")},
        **{name: record.times.get(name) for name in ("train_s", "eval_s", "wall_s")},
        **training,
        "features_backbone_forward": features_forward if training else None,
        "cost_units": _cost_units(training, features_forward) if training else None,
        **_of_selection(record.selection),
        "events": ", ".join(f"{name}={count}" for name, count in sorted(record.events.items())) or None,
        **{
            name: execution.get(name)
            for name in ("precision", "layout", "device", "threads", "shared_device")
        },
        "method_origin": record.plugin.get("origin"),
        "method_fingerprint": record.plugin.get("fingerprint"),
        "data_fingerprint": record.data.get("fingerprint"),
        "standin": record.data.get("standin"),
        # Weights drawn at random differ with the seed, and should.
        "backbone_fingerprint": None
        if record.spec.backbone.weights == "none"
        else record.plugin.get("backbone"),
        **{name: environment.get(name) for name in ("commit", "dirty")},
        "version": environment.get("lnlbench"),
        "error": f"{error['type']}: {error['message']}" if error else None,
        "finished": record.finished or None,
    }


def _of_selection(selection: Mapping[str, Any] | None) -> dict[str, Any]:
    selection = selection or {}
    return {
        "selected": selection.get("size"),
        **{name: selection.get(name) for name in ("purity", "recall", "auc")},
    }


def _cost_units(training: Mapping[str, int], features_forward: int) -> int:
    forward = training["backbone_forward"] + training["backbone_forward_grad"]
    return forward + 2 * training["backbone_backward"] + features_forward
