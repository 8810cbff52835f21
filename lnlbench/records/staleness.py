"""Which records were made by code or data that has changed since: the one place that says so.

What can be looked up is compared with what there is now (:class:`Present`): the code of methods,
which is parsed and not imported, the version, and data where a command reads them anyway. The rest is
compared with the newest record of its kind.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lnlbench._version import __version__
from lnlbench.basics.facts import CodeFacts
from lnlbench.errors import PluginError
from lnlbench.plugins import registry
from lnlbench.plugins.fingerprint import COVERAGE
from lnlbench.plugins.registry import Registry
from lnlbench.records.entry import (
    DATA,
    KINDS,
    LABELS,
    METHOD,
    VERSION,
    WEIGHTS,
    Entry,
    entry_of,
    kinds_mark,
    short,
    spec_of,
)
from lnlbench.records.record import Record
from lnlbench.spec import DatasetSpec, TrialSpec

_SHOWN = 3  # reasons in a warning


@dataclass(frozen=True, slots=True)
class Present:
    """Code and data as they are now, as far as they are known.

    Attributes
    ----------
    methods : mapping of str to dict
        Origin and fingerprint of methods by name.
    kinds : mapping of str to str
        Fingerprints of kinds of phases by name.
    data : mapping of DatasetSpec to str
        Fingerprints of data sets.
    version : str
        Of lnlbench; empty if it is not to be compared with.
    """

    methods: Mapping[str, CodeFacts] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[DatasetSpec, str] = field(default_factory=dict)
    version: str = ""


def stale_warning(reasons: Mapping[str, str]) -> str | None:
    """Return a sentence about stale records, if there are any, with the first few reasons.

    Parameters
    ----------
    reasons : mapping of str to str
        By trial id, see :func:`staleness`.
    """
    if not reasons:
        return None
    different = list(dict.fromkeys(reasons.values()))
    more = f"; and {len(different) - _SHOWN} more reasons" if len(different) > _SHOWN else ""
    listed = "; ".join(different[:_SHOWN])
    noun = "record is" if len(reasons) == 1 else "records are"
    return f"{len(reasons):,} {noun} stale: {listed}{more}. Run them again with --retry stale."


def installed(specs: Iterable[TrialSpec]) -> Present:
    """Look up what made trials: the version, and the methods and kinds that this process knows.

    Cheap: nothing is imported, and every file is parsed once.
    """
    specs = tuple(specs)
    methods = _fingerprints(registry.methods(), {spec.method.name for spec in specs})
    kinds = _fingerprints(registry.phase_kinds(), {phase.kind for spec in specs for phase in spec.phases})
    return Present(methods, {name: code["fingerprint"] for name, code in kinds.items()}, version=__version__)


def _fingerprints(known: Registry[Any], names: Iterable[str]) -> dict[str, CodeFacts]:
    found: dict[str, CodeFacts] = {}
    for name in names:
        try:
            found[name] = known.fingerprint(name)
        except PluginError:
            continue  # not here, or twice: its records are compared with one another
    return found


def staleness(records: Iterable[Record | Entry], present: Present | None = None) -> dict[str, str]:
    """Return the reason, by trial id, for every record that is stale.

    A record is stale if there is another version of lnlbench or other code of its method, or if
    trials of the same data set, of the same data set, noise and seed, or of the same backbone (with
    the same options) see other data, other noisy labels (a noise file that was replaced, say) or
    start from other weights. Unknown fingerprints are not compared.

    Parameters
    ----------
    records : iterable of Record or Entry
    present : Present, optional
        What to compare with, where it says so; all else is compared with the newest record. Without,
        only records are compared: what they have in common is a fact about them, and a table of them
        is the same everywhere.
    """
    present = present or Present()
    entries = sorted(map(entry_of, records), key=lambda entry: entry.finished)
    compared = {
        setting: _Compared(spec_of(setting, 0), present) for setting in {entry.setting for entry in entries}
    }
    reasons: dict[str, str] = {}
    for what in (METHOD, KINDS, VERSION, DATA, LABELS, WEIGHTS):
        marked = [
            (entry, compared[entry.setting].kind(what, entry.seed), entry.marks[what])
            for entry in entries
            if what in entry.marks
        ]
        reference = {kind: compared[entry.setting].now.get(what) or mark for entry, kind, mark in marked}
        for entry, kind, mark in marked:
            if mark != reference[kind]:
                reason = _reason(what, entry.spec, mark, reference[kind])
                reasons[entry.trial_id] = "; ".join(filter(None, (reasons.get(entry.trial_id), reason)))
    return reasons


def specs_of(records: Iterable[Record | Entry]) -> list[TrialSpec]:
    """Return a trial for each setting of records: of trials that differ in their seed alone, one."""
    return [spec_of(setting, 0) for setting in dict.fromkeys(entry_of(record).setting for record in records)]


class _Compared:
    """What is compared of the trials of one setting, each thing computed once."""

    def __init__(self, spec: TrialSpec, present: Present) -> None:
        settings = spec.canonical()
        # Of what may have changed: between which trials it should not.
        self._kinds: dict[str, Hashable] = {
            METHOD: spec.method.name,
            KINDS: spec.tuning,
            VERSION: spec.method.name,
            DATA: json.dumps(settings["dataset"], sort_keys=True),
            LABELS: json.dumps([settings["dataset"], settings["noise"]], sort_keys=True),
            WEIGHTS: json.dumps(settings["backbone"], sort_keys=True),
        }
        # Labels are drawn with the seed; so are weights where they are drawn at random.
        self._seeded = {LABELS, WEIGHTS} if spec.backbone.weights == "none" else {LABELS}
        # What it is now, where that can be looked up.
        self.now: dict[str, str] = {
            METHOD: str(present.methods.get(spec.method.name, {}).get("fingerprint") or ""),
            KINDS: kinds_mark(spec, present.kinds),
            VERSION: present.version,
            DATA: str(present.data.get(spec.dataset) or ""),
        }

    def kind(self, what: str, seed: int) -> Hashable:
        """Return what the trials have in common that should not differ."""
        return self._kinds[what], seed if what in self._seeded else None


def _reason(what: str, spec: TrialSpec, own: str, now: str) -> str:
    if what == METHOD and now.startswith(COVERAGE) and not own.startswith(COVERAGE):
        # Whether the code has changed cannot be told: that record knows of one file only.
        return f"made by an earlier lnlbench, which did not see all of the code of '{spec.method.name}'"
    if what == KINDS:
        return f"{what} changed: {own}, now {now}"
    names = {METHOD: spec.method.name, DATA: spec.dataset.label, WEIGHTS: spec.backbone.label}
    whose = f" ({names[what]})" if what in names else ""
    return f"{what} changed{whose}: {short(own)}, now {short(now)}"
