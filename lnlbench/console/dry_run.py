"""The plan of a run in words: what would be run, what is missing, what it would cost."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lnlbench.basics.columns import columns
from lnlbench.console.mode_check import upscaled
from lnlbench.launching.team_size import check_shared
from lnlbench.plugins import registry
from lnlbench.records.store import Store
from lnlbench.running import cost
from lnlbench.running.pending import find_pending
from lnlbench.running.preflight import check_noise, data_are_here, find_missing
from lnlbench.running.seconds import expected_seconds, sizes_here, units_per_second
from lnlbench.spec import DatasetSpec, has_images, split_reference
from lnlbench.trials.workspace import Workspace

if TYPE_CHECKING:
    from lnlbench.api import Method
    from lnlbench.grids.plan import Plan
    from lnlbench.running.job import Job
    from lnlbench.running.pending import Pending
    from lnlbench.spec import BackboneSpec, TrialSpec

# Up to this many, every trial has a line of its own.
LISTED = 20

# Headers of columns that hold numbers.
NUMBERS = ("trials", "units each", "units", "training", "evaluation", "features", "GPU hours", "minutes here")

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def look(plan: Plan, out: Path, job: Job, retry: str | None) -> tuple[Pending, list[str]]:
    """Return what a run would find in its folder, and what is missing; nothing is written."""
    empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    entries = [] if empty else Store.open(out).look()[0]
    workspace = Workspace(job.settings)
    pending = find_pending(plan, entries, workspace, retry)
    check_shared(pending.todo, job.settings.processes)
    check_noise((spec for spec in pending.todo if data_are_here(spec, job.settings)), workspace)
    return pending, find_missing(plan, job.settings)


def describe_plan(plan: Plan, out: Path, job: Job, retry: str | None) -> str:
    """Return the plan as text; see ``lnlbench run --dry-run``."""
    pending, missing = look(plan, out, job, retry)
    skips = Counter(planned.skip for planned in plan.planned if planned.skip is not None)
    lines = [
        f"{plan.grid}: {plan.title}",
        f"  {len(plan.planned)} trials: {pending.done} done, {pending.failed} failed, "
        f"{len(pending.todo)} to run, {sum(skips.values())} skipped",
    ]
    lines += [f"  skipped {count}: {reason}" for reason, count in skips.items()]
    lines += [f"  stale {trial_id}: {reason}" for trial_id, reason in pending.stale.items()]
    lines += _hyperparameters(plan)
    lines += [f"  missing: {sentence}" for sentence in missing]
    if pending.todo:
        lines += _work(_Estimate.of(pending.todo, job))
        lines += _settings(pending.todo)
        for sentence in upscaled(pending.todo):
            lines += ["", textwrap.fill(sentence, 100, initial_indent="  ", subsequent_indent="  ")]
        if len(pending.todo) <= LISTED:
            variants = _variants(pending.todo)
            lines += ["", "  trials"]
            lines += [f"    {spec.trial_id}  {spec.describe()}{variants[spec]}" for spec in pending.todo]
    lines += ["", f"  results would go to {out}"]
    return "\n".join(lines)


def _hyperparameters(plan: Plan) -> list[str]:
    file = plan.source.get("hyperparameters")
    if file is None:
        return []
    without = ", ".join(file["without"])
    note = f"; it has none for {without}, so the grid's own settings apply there" if without else ""
    return [f"  hyperparameters: {file['name']}{note}"]


def describe_cost(specs: tuple[TrialSpec, ...], job: Job) -> list[str]:
    """Return lines that say what trials would cost by backbone, and what the estimate rests on."""
    estimate = _Estimate.of(specs, job)
    return _by_backbone(estimate) + _basis(estimate)


@dataclass(frozen=True)
class _Estimate:
    """Trials with what is needed to say what they cost.

    Attributes
    ----------
    specs : tuple of TrialSpec
    methods : dict of str to type of Method
    sizes : dict of DatasetSpec to Sizes
        Where they are known.
    official : frozenset of DatasetSpec
        Data sets that are missing here; their sizes are those of the complete data.
    workspace : Workspace
    jobs : int
    """

    specs: tuple[TrialSpec, ...]
    methods: dict[str, type[Method]]
    sizes: dict[DatasetSpec, cost.Sizes]
    official: frozenset[DatasetSpec]
    workspace: Workspace
    jobs: int

    @classmethod
    def of(cls, specs: tuple[TrialSpec, ...], job: Job) -> _Estimate:
        """Look the methods up, and count the data."""
        names = dict.fromkeys(spec.method.name for spec in specs)
        workspace = Workspace(job.settings)
        sizes: dict[DatasetSpec, cost.Sizes] = {}
        official = set()
        for spec in dict.fromkeys(spec.dataset for spec in specs):
            scheme, path = split_reference(spec.name)
            source = registry.datasets().load(scheme)()
            if source.missing(path, job.settings.data) is None:
                sizes[spec] = sizes_here(spec, workspace.dataset(spec))
            elif source.official and spec.train_per_class is None and spec.test_per_class is None:
                sizes[spec] = cost.sizes_of(spec, source.official)
                official.add(spec)
        loaded = {name: registry.methods().load(name) for name in names}
        return cls(specs, loaded, sizes, frozenset(official), workspace, job.resources.jobs)

    def units(self, specs: Iterable[TrialSpec]) -> list[cost.Units]:
        """Return the units of each trial whose data set has a known size."""
        return [
            cost.expected_units(spec, self.methods[spec.method.name], self.sizes[spec.dataset])
            for spec in specs
            if spec.dataset in self.sizes
        ]

    def minutes(self, backbone: BackboneSpec, specs: Sequence[TrialSpec], extraction: float) -> float | None:
        """Return how long trials of one backbone take here; None where its speed was not measured."""
        expected = expected_seconds(specs, self.methods, self.sizes, self.workspace)
        seconds = 0.0
        if extraction:
            speed = units_per_second(backbone, specs[0].precision, self.workspace)
            if speed is None:
                return None
            seconds += extraction / speed
        for spec, phases in expected.items():
            for phase, each in zip(spec.phases, phases, strict=True):
                if each is None:
                    return None
                seconds += phase.epochs * each / min(self.jobs, len(specs))
        return seconds / 60


def _work(estimate: _Estimate) -> list[str]:
    """Return what the trials cost: by what they do, then by backbone."""
    variants = _variants(estimate.specs)
    rows = []
    groups = _grouped(
        estimate.specs,
        lambda spec: (
            spec.dataset.label,
            spec.tuning,
            spec.method.name + variants[spec],
            _epochs(spec),
            _batches(spec),
        ),
    )
    datasets = {key[0] for key in groups}
    for (dataset, tuning, method, epochs, batches), specs in groups.items():
        units = [item.training for item in estimate.units(specs)]
        each = _span(units) if len(units) == len(specs) else "unknown"
        whole = _count(sum(units)) if len(units) == len(specs) else "unknown"
        row = [str(len(specs)), tuning, method, epochs, batches, each, whole]
        rows.append([dataset, *row] if len(datasets) > 1 else row)
    header = ["trials", "tuning", "method", "epochs", "batch", "units each", "units"]
    lines = ["", *_aligned([["data set", *header] if len(datasets) > 1 else header, *rows])]
    return lines + _by_backbone(estimate) + _basis(estimate)


def _by_backbone(estimate: _Estimate) -> list[str]:
    """Return units, GPU hours and minutes on this machine for each backbone, and in all."""
    extraction = cost.expected_extraction(estimate.specs, estimate.methods, estimate.sizes)
    rows: list[tuple[str, list[float | None]]] = []
    for backbone, specs in _grouped(estimate.specs, lambda spec: spec.backbone).items():
        if not has_images(specs[0]):
            continue
        units = sum(estimate.units(specs), cost.Units())
        features = extraction.get(backbone, 0.0)
        hours = cost.gpu_hours(units.training + units.evaluation + features, backbone)
        minutes = estimate.minutes(backbone, specs, features)
        rows.append((backbone.label, [units.training, units.evaluation, features, hours, minutes]))
    if not rows or not estimate.sizes:
        return []
    if len(rows) > 1:
        totals = [
            sum(value for value in column if value is not None) if None not in column else None
            for column in zip(*(values for _, values in rows), strict=True)
        ]
        rows.append(("all", totals))
    header = ["backbone", "training", "evaluation", "features", "GPU hours", "minutes here"]
    shown = [[name, *map(_count, values[:3]), *map(_time, values[3:])] for name, values in rows]
    lines = ["", *_aligned([header, *shown])]
    if any(values[-1] is None for _, values in rows):
        lines.append("    Minutes here are unknown until a first run has measured the speed of this machine.")
    return lines


def _basis(estimate: _Estimate) -> list[str]:
    """Return what the estimate rests on."""
    sentences = [
        "A unit is one image forward through the backbone; backward counts two. Cached features are "
        "extracted once for all trials, and probing on them costs no units.",
        f"GPU hours are for {cost.SUSTAINED / 1e12:g} TFLOP/s sustained, of the order of an RTX 3090 or a "
        "V100 with mixed precision.",
    ]
    selecting = dict.fromkeys(
        spec.method.name
        for spec in estimate.specs
        if cost.depends_on_share(spec, estimate.methods[spec.method.name])
    )
    if selecting:
        sentences.append(
            f"What {', '.join(selecting)} will select is not known before; assumed is the share of right "
            f"labels, one minus the noise rate ({cost.UNKNOWN_SHARE:g} where the noise has no rate)."
        )
    sentences += [
        f"{spec.label} is not here: its size is that of the complete data set."
        for spec in sorted(estimate.official, key=lambda spec: spec.label)
    ]
    sentences += [
        f"The cost on {spec.label} is unknown until the data are there."
        for spec in dict.fromkeys(spec.dataset for spec in estimate.specs)
        if spec not in estimate.sizes
    ]
    return [
        "",
        *(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  ") for text in sentences),
    ]


def _settings(specs: Sequence[TrialSpec]) -> list[str]:
    """Return what the optimisers are set to, by backbone and phase."""
    groups = _grouped(
        ((spec, phase) for spec in specs for phase in spec.phases),
        lambda item: (
            item[0].backbone.label,
            item[1].kind,
            item[1].optimizer,
            f"{item[1].lr:g}",
            f"{item[1].weight_decay:g}",
            item[1].schedule,
        ),
    )
    header = ["backbone", "phase", "optimizer", "lr", "weight decay", "schedule"]
    return ["", *_aligned([header, *map(list, groups)])]


def _variants(specs: Iterable[TrialSpec]) -> dict[TrialSpec, str]:
    """Return the parameters in which trials of one method differ: `` (tau 0.3)``; "" for none."""
    specs = tuple(specs)
    values: dict[tuple[str, str], set[str]] = {}
    for spec in specs:
        for name, value in spec.method.params:
            values.setdefault((spec.method.name, name), set()).add(json.dumps(value))
    variants = {}
    for spec in specs:
        differing = [
            f"{name} {value}" for name, value in spec.method.params if len(values[spec.method.name, name]) > 1
        ]
        variants[spec] = f" ({', '.join(differing)})" if differing else ""
    return variants


def _epochs(spec: TrialSpec) -> str:
    return " + ".join(f"{phase.epochs} {phase.kind}" for phase in spec.phases)


def _batches(spec: TrialSpec) -> str:
    return " + ".join(dict.fromkeys(str(phase.batch_size) for phase in spec.phases))


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _span(values: Sequence[float]) -> str:
    low, high = _count(min(values)), _count(max(values))
    return low if low == high else f"{low} to {high}"


def _count(units: float | None) -> str:
    """Write a number of units: 12,300, 4.56 M."""
    if units is None:
        return "unknown"
    if units < 1e6:
        return f"{units:,.0f}"
    return f"{units / 1e6:,.2f} M"


def _time(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2f}" if hours >= 0.005 else "< 0.01"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table with its header; numbers are set to the right."""
    return columns(rows, "    ", [position for position, head in enumerate(rows[0]) if head in NUMBERS])
