"""Which records were made by code or data that has changed since.

The code itself is not looked at (that would import it): records are compared with the newest
of their kind. ``lnlbench run`` compares with the code that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lnlbench.record import Record
from lnlbench.spec import TrialSpec

_VERSION = "lnlbench"


def staleness(records: Iterable[Record], installed: str | None = None) -> dict[str, str]:
    """Return the reason, by trial id, for every record that is stale.

    A record is stale if a newer one of the same method has another fingerprint or was made
    by another version of lnlbench, or if a newer one of the same data set, noise and seed, or
    backbone (with the same options) saw other data, other noisy labels (a noise file that was
    replaced, say) or started from other weights. Unknown fingerprints are not compared.

    Parameters
    ----------
    records : iterable of Record
    installed : str, optional
        Version of lnlbench that all records are compared with, instead of the newest's: that of a
        table's records is a fact about the table, that of the program says what to run again.
    """
    ordered = sorted(records, key=lambda record: record.finished)
    # Computed once: it is most of the work for thousands of records.
    settings = {record.trial_id: record.spec.canonical() for record in ordered}
    reasons: dict[str, str] = {}
    for what, kind, mark in _COMPARISONS:
        marked = [
            (record.trial_id, json.dumps(kind(record.spec, settings[record.trial_id]), sort_keys=True), own)
            for record in ordered
            if (own := mark(record))
        ]
        newest = {its_kind: own for _, its_kind, own in marked}
        if what == _VERSION and installed is not None:
            newest = dict.fromkeys(newest, installed)
        for trial_id, its_kind, own in marked:
            if own != newest[its_kind]:
                reason = f"{what} changed: {own[:12]}, now {newest[its_kind][:12]}"
                reasons[trial_id] = "; ".join(filter(None, (reasons.get(trial_id), reason)))
    return reasons


def _method(spec: TrialSpec, settings: Mapping[str, Any]) -> Any:
    return spec.method.name


def _dataset(spec: TrialSpec, settings: Mapping[str, Any]) -> Any:
    return settings["dataset"]


def _noise(spec: TrialSpec, settings: Mapping[str, Any]) -> Any:
    return [settings["dataset"], settings["noise"], spec.seed]


def _backbone(spec: TrialSpec, settings: Mapping[str, Any]) -> Any:
    # Weights drawn at random are those of a seed.
    return [settings["backbone"], spec.seed if spec.backbone.weights == "none" else None]


def _text(values: Mapping[str, object], name: str) -> str:
    return str(values.get(name) or "")


# What may have changed, between which trials it should not, and what shows it.
_Kind = Callable[[TrialSpec, Mapping[str, Any]], Any]
_COMPARISONS: tuple[tuple[str, _Kind, Callable[[Record], str]], ...] = (
    ("method", _method, lambda record: _text(record.plugin, "fingerprint")),
    (_VERSION, _method, lambda record: _text(record.environment, "lnlbench")),
    ("data", _dataset, lambda record: _text(record.data, "fingerprint")),
    ("noisy labels", _noise, lambda record: _text(record.noise, "labels_sha256")),
    ("weights", _backbone, lambda record: _text(record.plugin, "backbone")),
)
