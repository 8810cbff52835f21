"""Runs that reproduce a table of the paper, or miss it in a stated way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from results_factory import PHASES, fill, make_plan, make_record

from lnlbench.analysis.paper.comparison import Comparison, compare
from lnlbench.analysis.paper.matching import Run, make_runs
from lnlbench.analysis.paper.published import (
    PublishedCell,
    PublishedTable,
    read_published,
    read_sizes,
)
from lnlbench.records.frame import build_frame
from lnlbench.records.record import Record
from lnlbench.records.store import Store
from lnlbench.spec import BackboneSpec, DatasetSpec, MethodSpec, NoiseSpec, TrialSpec

Change = Callable[[TrialSpec], TrialSpec]
Measure = Callable[[PublishedCell, int], dict[str, Any] | None]


def make_spec(table: PublishedTable, cell: PublishedCell, seed: int = 0) -> TrialSpec:
    """Return a trial at the place of a published cell."""
    place = dict(zip(table.keys, (*cell.setting, *cell.entrant), strict=True))
    params: dict[str, Any] = {"cleansing": place.get("cleansing", "multiple")}
    params["tau"] = float(place.get("tau", 0.6))
    method = place.get("method", "turn")
    tuning = place.get("tuning", "lp-fft" if method == "turn" else "fft")
    return TrialSpec(
        dataset=DatasetSpec(place.get("dataset", "cifar100")),
        noise=NoiseSpec.parse(place.get("noise", "symmetric-0.6")),
        backbone=BackboneSpec(place.get("backbone", "vit_b16")),
        tuning=tuning,
        method=MethodSpec(method, tuple(params.items()) if method == "turn" else ()),
        seed=seed,
        phases=PHASES[tuning],
    )


def as_published(table: PublishedTable) -> Measure:
    """Measure exactly what is published."""
    return lambda cell, seed: dict(
        zip((quantity.source for quantity in table.quantities), cell.values, strict=True)
    )


def make_record_of(spec: TrialSpec, numbers: dict[str, Any], **changes: Any) -> Record:
    """Return a record with these numbers: accuracies, training time, selection."""
    metrics = {"best": 0.0, "last": 0.0, "oracle": 0.0} | {
        name: value for name, value in numbers.items() if name in ("best", "last")
    }
    selected, purity = numbers.get("selected"), numbers.get("purity")
    selection = None if selected is None else {"size": selected, "purity": purity}
    times = {"train_s": numbers.get("train_s", 1.0)}
    return make_record(spec, metrics=metrics, selection=selection, times=times, **changes)


def simulate(
    table: PublishedTable,
    measure: Measure | None = None,
    change: Change | None = None,
    seeds: Iterable[int] = (0,),
    cells: Sequence[PublishedCell] | None = None,
    **changes: Any,
) -> tuple[list[TrialSpec], list[Record]]:
    """Return the trials of a table and the records of those that were measured.

    Parameters
    ----------
    measure : callable, optional
        Numbers by cell and seed; None for a trial that is pending. Default: what is published.
    change : callable, optional
        What the runs do differently.
    cells : sequence of PublishedCell, optional
        Default: all.
    changes
        For the records; see :func:`results_factory.make_record`.
    """
    measure = measure or as_published(table)
    specs, records = {}, []
    for cell in cells if cells is not None else read_published(table):
        for seed in seeds:
            spec = make_spec(table, cell, seed)
            spec = change(spec) if change else spec
            numbers = measure(cell, seed)
            # Where many places of the paper become one, the first one's numbers count.
            if spec.trial_id not in specs and numbers is not None:
                records.append(make_record_of(spec, numbers, **changes))
            specs.setdefault(spec.trial_id, spec)
    return list(specs.values()), records


def paper_runs(table: PublishedTable) -> list[Run]:
    """Return the trials of a paper grid, none of them run."""
    plan = make_plan([make_spec(table, cell) for cell in read_published(table)], grid=table.grid)
    return make_runs(build_frame({table.grid: plan}, ()), plan)


def compare_simulated(
    table: PublishedTable, fixed: float | None = None, narrowed: bool = False, **arguments: Any
) -> Comparison:
    """Compare simulated runs with a table; ``arguments`` are those of :func:`simulate`."""
    specs, records = simulate(table, **arguments)
    plan = make_plan(specs, grid=table.grid)
    runs = make_runs(build_frame({table.grid: plan}, records), plan, records)
    return compare(table, read_published(table), runs, paper_runs(table), read_sizes(), fixed, narrowed)


def store_simulated(folder: Path, table: PublishedTable, **arguments: Any) -> Store:
    """Save simulated runs as ``lnlbench run`` would."""
    specs, records = simulate(table, **arguments)
    return fill(folder, records, make_plan(specs, grid=table.grid))


def on_other_data(spec: TrialSpec) -> TrialSpec:
    """Move a trial to CIFAR-10 and EfficientNet-Lite0."""
    return replace(spec, dataset=DatasetSpec("cifar10"), backbone=BackboneSpec("efficientnet_lite0"))
