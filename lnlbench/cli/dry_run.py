"""The plan of a run in words: what would be run, what is missing, what it would cost."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lnlbench import cost, registry
from lnlbench.run import find_missing
from lnlbench.spec import DatasetSpec, split_reference
from lnlbench.workspace import Workspace

if TYPE_CHECKING:
    from lnlbench.api import Method
    from lnlbench.plan import Plan
    from lnlbench.run import Pending
    from lnlbench.spec import TrialSpec
    from lnlbench.workspace import Setting

# Up to this many, every trial has a line of its own.
LISTED = 20

# Headers of columns that hold numbers.
NUMBERS = ("trials", "units each", "units", "training", "evaluation", "features", "GPU hours")

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def describe_plan(plan: Plan, pending: Pending, setting: Setting, out: Path) -> str:
    """Return the plan as text; see ``lnlbench run --dry-run``."""
    skips = Counter(planned.skip for planned in plan.planned if planned.skip is not None)
    lines = [
        f"{plan.grid}: {plan.title}",
        f"  {len(plan.planned)} trials: {pending.done} done, {pending.failed} failed, "
        f"{len(pending.todo)} to run, {sum(skips.values())} skipped",
    ]
    lines += [f"  skipped {count}: {reason}" for reason, count in skips.items()]
    lines += [f"  stale {trial_id}: {reason}" for trial_id, reason in pending.stale.items()]
    lines += _hyperparameters(plan)
    lines += [f"  missing: {sentence}" for sentence in find_missing(plan, setting)]
    if pending.todo:
        lines += _work(_Estimate.of(pending.todo, setting))
        lines += _settings(pending.todo)
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


def describe_cost(specs: tuple[TrialSpec, ...], setting: Setting) -> list[str]:
    """Return lines that say what trials would cost by backbone, and what the estimate rests on."""
    estimate = _Estimate.of(specs, setting)
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
    """

    specs: tuple[TrialSpec, ...]
    methods: dict[str, type[Method]]
    sizes: dict[DatasetSpec, cost.Sizes]
    official: frozenset[DatasetSpec]

    @classmethod
    def of(cls, specs: tuple[TrialSpec, ...], setting: Setting) -> _Estimate:
        """Look the methods up, and count the data."""
        names = dict.fromkeys(spec.method.name for spec in specs)
        workspace = Workspace(setting)
        sizes: dict[DatasetSpec, cost.Sizes] = {}
        official = set()
        for spec in dict.fromkeys(spec.dataset for spec in specs):
            scheme, path = split_reference(spec.name)
            source = registry.datasets().load(scheme)()
            if source.missing(path, setting.data) is None:
                data = workspace.dataset(spec)
                parts = {"train": data.train, "validation": data.validation, "test": data.test}
                counts = {name: len(part) for name, part in parts.items() if part is not None}
                sizes[spec] = cost.sizes_of(spec, counts)
            elif source.official and spec.train_per_class is None and spec.test_per_class is None:
                sizes[spec] = cost.sizes_of(spec, source.official)
                official.add(spec)
        loaded = {name: registry.methods().load(name) for name in names}
        return cls(specs, loaded, sizes, frozenset(official))

    def units(self, specs: Iterable[TrialSpec]) -> list[cost.Units]:
        """Return the units of each trial whose data set has a known size."""
        return [
            cost.expected_units(spec, self.methods[spec.method.name], self.sizes[spec.dataset])
            for spec in specs
            if spec.dataset in self.sizes
        ]


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
    """Return units and GPU hours for each backbone, and in all."""
    extraction = cost.expected_extraction(estimate.specs, estimate.methods, estimate.sizes)
    rows = []
    totals, hours_known = [0.0, 0.0, 0.0, 0.0], True
    for backbone, specs in _grouped(estimate.specs, lambda spec: spec.backbone).items():
        specs = [spec for spec in specs if split_reference(spec.dataset.name)[0] != "features"]
        if not specs:
            continue
        units = sum(estimate.units(specs), cost.Units())
        features = extraction.get(backbone, 0.0)
        hours = cost.gpu_hours(units.training + units.evaluation + features, backbone)
        rows.append(
            [backbone.label, *map(_count, (units.training, units.evaluation, features)), _hours(hours)]
        )
        hours_known &= hours is not None
        numbers = (units.training, units.evaluation, features, hours or 0.0)
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
    if not rows or not estimate.sizes:
        return []
    if len(rows) > 1:
        rows.append(["all", *map(_count, totals[:3]), _hours(totals[3] if hours_known else None)])
    return ["", *_aligned([["backbone", "training", "evaluation", "features", "GPU hours"], *rows])]


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
            f"labels, one minus the noise rate ({cost.UNKNOWN_SHARE:g} for real labels and noise files)."
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


def _count(units: float) -> str:
    """Write a number of units: 12,300, 4.56 M."""
    if units < 1e6:
        return f"{units:,.0f}"
    return f"{units / 1e6:,.2f} M"


def _hours(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2f}" if hours >= 0.005 else "< 0.01"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table with its header; numbers are set to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [column[0] in NUMBERS for column in columns]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        lines.append(f"    {'  '.join(cells)}".rstrip())
    return lines
