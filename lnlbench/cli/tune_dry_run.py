"""A search in words before it is run: how much, what is missing, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lnlbench.run import find_missing, needs_backbone
from lnlbench.search.write import show

if TYPE_CHECKING:
    from lnlbench.plan import Plan
    from lnlbench.run import Pending
    from lnlbench.search.design import Search
    from lnlbench.spec import TrialSpec
    from lnlbench.workspace import Setting


def describe_search(
    plan: Plan, searches: Sequence[Search], pending: Pending, setting: Setting, out: Path
) -> str:
    """Return the search as text; see ``lnlbench tune --dry-run``."""
    space = searches[0].space
    lines = [f"{plan.grid}: {plan.title}", f"  space of {space.size} configurations:"]
    width = max(map(len, space.values))
    lines += [f"    {name:<{width}}  {', '.join(map(show, values))}" for name, values in space.values.items()]
    for search in searches:
        seeds = ", ".join(str(spec.seed) for spec in search.base)
        lines.append(
            f"  {search.base[0].describe().rpartition(' seed ')[0]}: {len(search.configurations)} "
            f"configurations of {search.epochs} epochs, seed {seeds}"
        )
    ended = sum(planned.skip is not None for planned in plan.planned)
    lines.append(
        f"  {len(plan.planned)} trials: {pending.done} done, {pending.failed} failed, {ended} ended early, "
        f"{len(pending.todo)} to run"
    )
    missing = find_missing(plan, setting)
    lines += [f"  missing: {sentence}" for sentence in missing]
    lines.append("  cost: unknown until the data are there" if missing else _cost(pending.todo, setting))
    lines.append(f"  results would go to {out}")
    return "\n".join(lines)


def _cost(todo: Sequence[TrialSpec], setting: Setting) -> str:
    """Count the passes of the trials, if all run to the end."""
    from lnlbench.splits import required_views
    from lnlbench.workspace import Workspace

    workspace = Workspace(setting)
    backbone = head = 0.0
    extracted: dict[object, int] = {}
    for spec in todo:
        method, _ = workspace.method(spec.method.name)
        dataset = workspace.dataset(spec.dataset)
        samples, phase = len(dataset.train), spec.phases[0]
        if phase.kind == "fft":
            backbone += phase.epochs * samples * method.fft_units
        elif needs_backbone(spec) and not phase.cache:
            backbone += phase.epochs * samples * (1 + method.views.weak + method.views.strong)
        else:
            head += phase.epochs * samples
            if needs_backbone(spec):
                held_out = "train" if dataset.validation is None else "validation"
                for part, view in required_views(phase, method, dataset, held_out):
                    extracted[spec.dataset, spec.backbone, part, view] = len(getattr(dataset, part))
    parts = [f"{backbone:,.0f} units of training"] if backbone else []
    if extracted:
        parts.append(f"{sum(extracted.values()):,} units of feature extraction, once for all configurations")
    if head:
        parts.append(f"{head:,.0f} samples through heads alone")
    return (
        f"  cost: at most {' and '.join(parts) or 'nothing'}\n"
        "  (a unit is one image forward through the backbone; backward counts two)"
    )
