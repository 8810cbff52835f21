"""What of a record is per epoch or per class, apart from it: so it stays small with any number of classes.

A record on disk keeps accuracies and metrics at the chosen epochs. Beside it lie, in files that check
themselves::

    details/<trial_id>.json    metrics and selections of every epoch
    noise/<labels' hash>.json  noise by class and between classes, once for all trials with these labels

and its history is by column, so that no name is written for every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lnlbench.basics.facts import EpochFacts
from lnlbench.basics.files import Damaged, read_checked, write_checked
from lnlbench.records.beside.history_columns import columns_of

DETAILS, NOISE = "details", "noise"

_OF_CLASSES = ("per_class", "transitions")


class Parts(NamedTuple):
    """A record in parts; the last two may be empty."""

    record: dict[str, Any]
    details: dict[str, Any]
    noise: dict[str, Any]


def split(value: Mapping[str, Any]) -> Parts:
    """Part a record's JSON value, as :meth:`lnlbench.records.record.Record.to_dict` returns it."""
    history: list[EpochFacts] = value["history"]
    selections = [entry.get("selection") for entry in history]
    details: dict[str, Any] = {}
    if any(entry.get("metrics") for entry in history):
        details["metrics"] = {name: _by_metric(history, name) for name in ("validation", "test")}
    if any(selections):
        details["selections"] = selections
    kept = [{k: v for k, v in entry.items() if k not in ("metrics", "selection")} for entry in history]
    noise = value["noise"]
    matrices = {name: noise[name] for name in _OF_CLASSES if noise.get(name) and "labels_sha256" in noise}
    record = {
        **value,
        "history": columns_of(kept),
        "noise": {name: part for name, part in noise.items() if name not in matrices},
    }
    if value.get("selection") and details.get("selections"):
        record["selection"] = {k: v for k, v in value["selection"].items() if k != "per_class"}
    if details:
        details["trial_id"] = value["trial_id"]
    if matrices:
        matrices["labels_sha256"] = noise["labels_sha256"]
    return Parts(record, details, matrices)


def write_parts(out: Path, parts: Parts) -> None:
    """Write what lies beside a record.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if parts.details:
        _write(out / DETAILS / f"{parts.details['trial_id']}.json", parts.details)
    if parts.noise:
        path = _noise_path(out, parts.noise["labels_sha256"])
        if read_checked(path) != parts.noise:
            _write(path, parts.noise)


def read_details(out: Path, trial_id: str) -> dict[str, Any]:
    """Return the details of a trial; empty where there are none, or what there is was damaged."""
    found = read_checked(out / DETAILS / f"{trial_id}.json")
    return {} if isinstance(found, Damaged) or found.get("trial_id") != trial_id else found


def read_noise(out: Path, labels_sha256: str) -> dict[str, Any]:
    """Return noise by class and between classes; empty as for :func:`read_details`."""
    found = read_checked(_noise_path(out, labels_sha256))
    if isinstance(found, Damaged) or found.get("labels_sha256") != labels_sha256:
        return {}
    return {name: found[name] for name in _OF_CLASSES if name in found}


def merge(history: Sequence[EpochFacts], details: Mapping[str, Any]) -> list[EpochFacts]:
    """Return a history with the metrics and selections of its epochs."""
    merged = []
    for epoch, entry in enumerate(history):
        whole = entry.copy()
        if "metrics" in details:
            whole["metrics"] = {
                split_name: {name: values[epoch] for name, values in by_name.items()}
                for split_name, by_name in details["metrics"].items()
            }
        selection = details["selections"][epoch] if "selections" in details else None
        if selection is not None:
            whole["selection"] = selection
        merged.append(whole)
    return merged


def _by_metric(history: Sequence[EpochFacts], part: str) -> dict[str, list[float | None]]:
    entries = [entry.get("metrics", {}).get(part, {}) for entry in history]
    names = dict.fromkeys(name for entry in entries for name in entry)
    return {name: [entry.get(name) for entry in entries] for name in names}


def _noise_path(out: Path, labels_sha256: str) -> Path:
    return out / NOISE / f"{labels_sha256[:32]}.json"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    write_checked(path, content)
