"""What made a record, and whether that is still what is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lnlbench import registry
from lnlbench._version import __version__
from lnlbench.record import Record, Status
from lnlbench.spec import DatasetSpec, TrialSpec, split_reference

if TYPE_CHECKING:
    from lnlbench.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Present:
    """Code and data as they are now.

    Attributes
    ----------
    methods : mapping of str to dict
        Origin and fingerprint of methods by name.
    data : mapping of DatasetSpec to str
        Fingerprints of the data sets that are on this machine.
    version : str
        Of lnlbench.
    """

    methods: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    data: Mapping[DatasetSpec, str] = field(default_factory=dict)
    version: str = __version__

    def why_stale(self, record: Record) -> str | None:
        """Say how what made a record differs from what there is now.

        Returns
        -------
        str or None
            None if nothing has changed, as far as the record says and this knows.
        """
        spec, reasons = record.spec, []
        code = self.methods.get(spec.method.name)
        if code is not None and record.plugin.get("fingerprint") not in (None, code["fingerprint"]):
            reasons.append(f"the code of method '{spec.method.name}' has changed ({code['origin']})")
        if record.environment.get("lnlbench") not in (None, self.version):
            reasons.append(f"lnlbench has changed from {record.environment['lnlbench']} to {self.version}")
        seen = record.data.get("fingerprint")
        if seen is not None and self.data.get(spec.dataset, seen) != seen:
            reasons.append(f"the data of '{spec.dataset.label}' have changed")
        return " and ".join(reasons) or None

    def complete(self, record: Record) -> Record:
        """Return the record of a failed trial with what is known of its code and data.

        A trial whose process is gone could not tell.
        """
        if record.status is not Status.FAILED:
            return record
        fingerprint = self.data.get(record.spec.dataset)
        return replace(
            record,
            plugin={**self.methods.get(record.spec.method.name, {}), **record.plugin},
            data={**({"fingerprint": fingerprint} if fingerprint else {}), **record.data},
        )


def look_up(specs: Iterable[TrialSpec], workspace: Workspace) -> Present:
    """Return code and data, as they are now, of trials.

    Data that are not on this machine are left out.

    Raises
    ------
    DataError
        If data are there, but cannot be read.
    """
    methods: dict[str, Mapping[str, str]] = {}
    data: dict[DatasetSpec, str] = {}
    for spec in specs:
        name = spec.method.name
        if name not in methods:
            methods[name] = registry.fingerprint(registry.methods().entry(name))
        if spec.dataset not in data and _is_here(spec.dataset, workspace):
            data[spec.dataset] = workspace.dataset(spec.dataset).fingerprint
    return Present(methods, data)


def _is_here(dataset: DatasetSpec, workspace: Workspace) -> bool:
    scheme, path = split_reference(dataset.name)
    return registry.datasets().load(scheme)().missing(path, workspace.setting.data) is None
