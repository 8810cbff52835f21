"""Which records were made by code or data that has changed since.

The code itself is not looked at (that would import it): records are compared with the newest
of their kind. ``lnlbench run`` compares with the code that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from lnlbench.record import Record

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
    reasons: dict[str, str] = {}
    for what, kind, mark in _COMPARISONS:
        newest = {kind(record): mark(record) for record in ordered if mark(record)}
        if what == _VERSION and installed is not None:
            newest = dict.fromkeys(newest, installed)
        for record in ordered:
            own = mark(record)
            if own and own != newest[kind(record)]:
                reason = f"{what} changed: {own[:12]}, now {newest[kind(record)][:12]}"
                reasons[record.trial_id] = "; ".join(filter(None, (reasons.get(record.trial_id), reason)))
    return reasons


def _dataset(record: Record) -> str:
    return json.dumps(record.spec.canonical()["dataset"], sort_keys=True)


def _backbone(record: Record) -> str:
    backbone = record.spec.canonical()["backbone"]
    # Weights drawn at random are those of a seed.
    seed = record.spec.seed if record.spec.backbone.weights == "none" else None
    return json.dumps([backbone, seed], sort_keys=True)


def _noise(record: Record) -> str:
    canonical = record.spec.canonical()
    return json.dumps([canonical["dataset"], canonical["noise"], record.spec.seed], sort_keys=True)


def _method(record: Record) -> str:
    return record.spec.method.name


def _text(values: Mapping[str, object], name: str) -> str:
    return str(values.get(name) or "")


_COMPARISONS: tuple[tuple[str, Callable[[Record], str], Callable[[Record], str]], ...] = (
    ("method", _method, lambda record: _text(record.plugin, "fingerprint")),
    (_VERSION, _method, lambda record: _text(record.environment, "lnlbench")),
    ("data", _dataset, lambda record: _text(record.data, "fingerprint")),
    ("noisy labels", _noise, lambda record: _text(record.noise, "labels_sha256")),
    ("weights", _backbone, lambda record: _text(record.plugin, "backbone")),
)
