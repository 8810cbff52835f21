"""The plan of a run in words: what would be run, what is missing, what it would cost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lnlbench.run import find_missing
from lnlbench.spec import split_reference

if TYPE_CHECKING:
    from lnlbench.plan import Plan
    from lnlbench.run import Pending
    from lnlbench.spec import TrialSpec
    from lnlbench.workspace import Setting


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
    missing = find_missing(plan, setting)
    lines += [f"  missing: {sentence}" for sentence in missing]
    lines.append("")
    lines += [f"  {spec.trial_id}  {spec.describe()}  {_budget(spec)}" for spec in pending.todo]
    lines.append("")
    lines.append(_cost(pending.todo, setting) if not missing else "  cost: unknown until the data are there")
    lines.append(f"  results would go to {out}")
    return "\n".join(lines)


def _budget(spec: TrialSpec) -> str:
    return " + ".join(
        f"{phase.epochs} {phase.kind} epochs ({phase.optimizer}, lr {phase.lr:g}, batch {phase.batch_size})"
        for phase in spec.phases
    )


def _cost(todo: tuple[TrialSpec, ...], setting: Setting) -> str:
    """Estimate the passes through backbones; the basis is said along with the number."""
    from lnlbench import registry
    from lnlbench.workspace import Workspace

    workspace = Workspace(setting)
    loaded = {
        name: registry.methods().load(name) for name in dict.fromkeys(spec.method.name for spec in todo)
    }
    training = 0.0
    extraction: dict[tuple[object, ...], float] = {}
    for spec in todo:
        if split_reference(spec.dataset.name)[0] == "features":
            continue
        method = loaded[spec.method.name]
        dataset = workspace.dataset(spec.dataset)
        samples = len(dataset.train)
        for phase in spec.phases:
            if phase.kind == "fft":
                training += phase.epochs * samples * method.fft_units
            elif phase.cache:
                for kind, count in (
                    ("plain", 1),
                    ("weak", method.views.weak),
                    ("strong", method.views.strong),
                ):
                    for number in range(count):
                        extraction[spec.dataset, spec.backbone, kind, number] = samples
            else:
                training += phase.epochs * samples * (1 + method.views.weak + method.views.strong)
    return (
        f"  cost: about {training:,.0f} units of training and {sum(extraction.values()):,.0f} of feature "
        "extraction\n  (a unit is one image forward through the backbone; backward counts two; "
        "selecting methods are taken to keep half of the samples)"
    )
