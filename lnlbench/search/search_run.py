"""A search from its options to what was chosen: what ``lnlbench tune`` does, without a word of it.

options ─▶ rule ─▶ plan ─▶ running.run_plan, with or without a scheduler ─▶ choice
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lnlbench.errors import UsageError
from lnlbench.grids.plan import Plan
from lnlbench.plugins import registry
from lnlbench.records.store import Store
from lnlbench.running.execute import execute
from lnlbench.running.job import Job
from lnlbench.running.pending import Pending, merge_plans
from lnlbench.running.session import run_plan
from lnlbench.search.design import Search, search_plan
from lnlbench.search.journal import HalvingRule, Journal
from lnlbench.search.outcome import Result, State, collect, curve_of, rank
from lnlbench.search.write import Chosen, choose


def check_strategy(
    strategy: str,
    samples: int | None,
    grace: int | None,
    reduction: int | None,
    executor: str,
    *,
    batched: bool = False,
) -> None:
    """Raise a UsageError for options of a search that exclude each other."""
    if strategy == "random" and samples is None:
        raise UsageError("--search random needs --samples.", "Write, for example, --samples 30.")
    if strategy == "grid" and samples is not None:
        raise UsageError("--search grid tries all configurations.", "Drop --samples, or use --search random.")
    if strategy != "asha" and (grace or reduction):
        raise UsageError("--grace and --reduction are options of --search asha.", "Drop them.")
    if strategy == "asha" and executor == "inline":
        raise UsageError("--search asha needs Ray's scheduler.", "Drop --executor inline.")
    if strategy == "asha" and batched:
        raise UsageError(
            "--search asha ends trials one by one, and --batched trains them together.",
            "Drop one of the two.",
        )


def halving_rule(
    searches: tuple[Search, ...], metric: str, grace: int | None, reduction: int | None
) -> HalvingRule:
    """Return the rule of a scheduler, with its defaults: a tenth of the epochs, and one in three.

    Raises
    ------
    UsageError
        If the trials cannot be compared while they run, or are shorter than ``grace``.
    """
    epochs = min(search.epochs for search in searches)
    if any(len(search.base) > 1 for search in searches):
        raise UsageError(
            "--search asha compares trials while they run, so it takes one seed.",
            "Write --seeds 0, or use --search random.",
        )
    if grace is not None and grace > epochs:
        raise UsageError(f"--grace is {grace}, but a trial has {epochs} epochs.", "Give fewer.")
    return HalvingRule(metric, grace or max(1, epochs // 10), reduction or 3)


@dataclass(frozen=True)
class SearchRun:
    """What is searched, in which folder, and what a scheduler has decided before.

    Attributes
    ----------
    base : Plan
        Of :func:`lnlbench.search.design.base_plan`.
    searches : tuple of Search
    out : Path
    metric : str
    command : str
        The command line that continues the search.
    journal : Journal or None
        None without a scheduler.
    """

    base: Plan
    searches: tuple[Search, ...]
    out: Path
    metric: str
    command: str = ""
    journal: Journal | None = None

    def with_asha(self, grace: int | None, reduction: int | None, *, fresh: bool) -> SearchRun:
        """Return the search with a scheduler, which goes on with what it decided before unless ``fresh``."""
        rule = halving_rule(self.searches, self.metric, grace, reduction)
        # Its decisions hold for the method's code.
        method = self.searches[0].base[0].method.name
        code = registry.methods().fingerprint(method)["fingerprint"]
        return replace(self, journal=Journal(self.out, rule, code, fresh=fresh))

    def plan(self) -> Plan:
        """Return the plan; trials that the scheduler has ended are skipped."""
        ended = self.journal.reasons(self.searches[0].epochs) if self.journal else {}
        return search_plan(self.base, self.searches, self.command, ended)

    def run(self, job: Job, retry: str | None = None) -> None:
        """Run what is pending; raises what :func:`lnlbench.running.session.run_plan` does."""
        run_plan(self.plan(), self.out, job, retry, self._run_trials)

    def _run_trials(self, pending: Pending, job: Job) -> None:
        if self.journal is None:
            execute(pending.todo, job)
            return
        from lnlbench.search.asha import run_asha  # imports ray

        again = {spec.trial_id for spec in pending.todo}
        known = Store.open(self.out).records()
        finished = {r.trial_id: curve_of(r).accuracies for r in known if r.trial_id not in again}
        for search in self.searches:
            run_asha(search.trials(), finished, self.journal, job)
        # Trials that the scheduler has ended are skipped from now on.
        store, plan = Store.open(self.out), self.plan()
        store.put_plan(merge_plans(store.plans().get(plan.grid), plan))

    def results(self) -> list[tuple[Search, list[Result]]]:
        """Return what is known of every configuration, by search."""
        records = Store.open(self.out).records()
        ended = self.journal.curves() if self.journal else {}
        return [(search, collect(search, records, ended)) for search in self.searches]

    def choose(self, how: str) -> tuple[list[Chosen], bool]:
        """Return the best configurations, and whether all of them gave a result.

        Parameters
        ----------
        how : str
            The search in words, for the file of settings.
        """
        chosen, complete = [], True
        for search, results in self.results():
            if ranked := rank(results, self.metric):
                chosen.append(choose(search, ranked, self.metric, how))
            lacking = any(result.state in (State.FAILED, State.PENDING) for result in results)
            complete = complete and bool(ranked) and not lacking
        return chosen, complete
