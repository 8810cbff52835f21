"""What makes the records of a run: the code and the data as they are now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lnlbench.plugins import registry
from lnlbench.records.record import Record, Status
from lnlbench.records.staleness import Present, installed
from lnlbench.spec import DatasetSpec, TrialSpec, split_reference

if TYPE_CHECKING:
    from lnlbench.trials.workspace import Workspace


def look_up(specs: Iterable[TrialSpec], workspace: Workspace) -> Present:
    """Return code and data, as they are now, of trials.

    Data that are not on this machine are left out.

    Raises
    ------
    DataError
        If data are there, but cannot be read.
    """
    specs = tuple(specs)
    data = {
        dataset: workspace.dataset(dataset).fingerprint
        for dataset in dict.fromkeys(spec.dataset for spec in specs)
        if _is_here(dataset, workspace)
    }
    return replace(installed(specs), data=data)


def complete(record: Record, present: Present) -> Record:
    """Return the record of a failed trial with what is known of its code and data.

    A trial whose process is gone could not tell.
    """
    if record.status is not Status.FAILED:
        return record
    fingerprint = present.data.get(record.spec.dataset)
    return replace(
        record,
        plugin={**present.methods.get(record.spec.method.name, {}), **record.plugin},
        data={**({"fingerprint": fingerprint} if fingerprint else {}), **record.data},
    )


def _is_here(dataset: DatasetSpec, workspace: Workspace) -> bool:
    scheme, path = split_reference(dataset.name)
    return registry.datasets().load(scheme)().missing(path, workspace.setting.data) is None
