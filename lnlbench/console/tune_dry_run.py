"""A search in words before it is run: how much, what is missing, and what it would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnlbench.console.dry_run import describe_cost, look
from lnlbench.search.write import show

if TYPE_CHECKING:
    from lnlbench.running.job import Job
    from lnlbench.search.search_run import SearchRun


def describe_search(search: SearchRun, job: Job, retry: str | None) -> str:
    """Return the search as text; see ``lnlbench tune --dry-run``."""
    plan, searches = search.plan(), search.searches
    pending, missing = look(plan, search.out, job, retry)
    space = searches[0].space
    lines = [f"{plan.grid}: {plan.title}", f"  space of {space.size} configurations:"]
    width = max(map(len, space.values))
    lines += [f"    {name:<{width}}  {', '.join(map(show, values))}" for name, values in space.values.items()]
    for one in searches:
        seeds = ", ".join(str(spec.seed) for spec in one.base)
        lines.append(
            f"  {one.base[0].describe().rpartition(' seed ')[0]}: {len(one.configurations)} "
            f"configurations of {one.epochs} epochs, seed {seeds}"
        )
    ended = sum(planned.skip is not None for planned in plan.planned)
    lines.append(
        f"  {len(plan.planned)} trials: {pending.done} done, {pending.failed} failed, {ended} ended early, "
        f"{len(pending.todo)} to run"
    )
    lines += [f"  missing: {sentence}" for sentence in missing]
    if pending.todo:
        lines += describe_cost(pending.todo, job)
    lines += ["", f"  results would go to {search.out}"]
    return "\n".join(lines)
