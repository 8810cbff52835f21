"""A search in words before it is run: how much, what is missing, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lnlbench.cli.dry_run import describe_cost
from lnlbench.run import find_missing
from lnlbench.search.write import show

if TYPE_CHECKING:
    from lnlbench.plan import Plan
    from lnlbench.run import Pending
    from lnlbench.search.design import Search
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
    if pending.todo:
        lines += describe_cost(pending.todo, setting)
    lines += ["", f"  results would go to {out}"]
    return "\n".join(lines)
