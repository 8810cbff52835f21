"""Some trials of published results, run again: do they give the same bits?"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnlbench.grids.plan import Plan
from lnlbench.grids.resolve import PlannedTrial
from lnlbench.records.reading.published_folder import PublishedResults
from lnlbench.records.record import Record, Status
from lnlbench.running.job import make_job
from lnlbench.running.session import run_plan

# Accuracies may differ by this many points where the machine or the versions are others: rounding
# differs, and training takes it further.
TOLERANCE = 1.0
_TIMES = ("train_s", "eval_s")
# What decides about rounding.
_EXECUTION = ("device", "precision", "layout", "threads", "processes", "batched")


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A trial that was run again.

    Attributes
    ----------
    name : str
        What it is.
    same : bool
        Whether all that does not depend on time is the same bit for bit.
    agrees : bool
        Whether it is that, or within the tolerance where rounding may differ.
    text : str
    """

    name: str
    same: bool
    agrees: bool
    text: str


def candidates(published: PublishedResults) -> list[Record]:
    """Return the records that can be made again quickly: linear probing on a CPU, in order of their ids."""
    done = [
        record for record in published.records if record.status is Status.DONE and record.spec.tuning == "lp"
    ]
    here = [record for record in done if record.execution.get("device") == "cpu"]
    return sorted(here, key=lambda record: record.trial_id)


def choose(published: PublishedResults, count: int, seed: int) -> list[Record]:
    """Return some of the :func:`candidates`, the same for the same seed."""
    found = candidates(published)
    return random.Random(seed).sample(found, min(count, len(found)))


def recompute(
    record: Record,
    *,
    data: Path | None = None,
    cache: Path | None = None,
    tolerance: float | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> Recomputed:
    """Run a trial again with its number of threads, in this process, and compare.

    Parameters
    ----------
    record : Record
    data, cache : Path, optional
        As :func:`lnlbench.run` takes them. Features that are in the cache are used.
    tolerance : float, optional
        In percentage points. Default: ``TOLERANCE``.
    told : callable
        Gets what is going on, as text.
    """
    spec = record.spec
    told(spec.describe())
    plan = Plan("recompute", "", {}, (PlannedTrial(spec, None),))
    with tempfile.TemporaryDirectory(prefix="lnlbench-recompute-") as folder:
        out = Path(folder) / "out"
        threads = record.execution.get("threads") or None
        job = make_job(
            out, data=data, cache=cache, executor="inline", cpus_per_trial=threads, gpus_per_trial=0
        )
        (again,) = run_plan(plan, out, job).records
    return compare_records(record, again, TOLERANCE if tolerance is None else tolerance)


def compare_records(stored: Record, again: Record, tolerance: float = TOLERANCE) -> Recomputed:
    """Compare a record with that of the same trial, run again."""
    name = stored.spec.describe()
    if again.status is not Status.DONE:
        error = again.error or {}
        return Recomputed(name, False, False, f"failed: {error.get('type')}: {error.get('message')}")
    differing = [part for part in _parts(stored) if _parts(stored)[part] != _parts(again)[part]]
    if not differing:
        return Recomputed(name, True, True, "the same, bit for bit")
    ours, theirs = again.metrics, stored.metrics
    gap = max(abs(ours["best"] - theirs["best"]), abs(ours["last"] - theirs["last"]))
    reasons = other_rounding(stored, again)
    text = f"{', '.join(differing)} differ; accuracy by {gap:.4f} points"
    if not reasons:
        return Recomputed(name, False, False, f"{text}, on the same machine with the same versions")
    agrees = gap <= tolerance
    verdict = "within" if agrees else "more than"
    text = f"{text}, {verdict} the tolerance of {tolerance:g}: {'; '.join(reasons)}"
    return Recomputed(name, False, agrees, text)


def other_rounding(stored: Record, again: Record) -> list[str]:
    """Return why two records of a trial may differ: other machine, versions, settings or code."""
    pairs: list[tuple[str, Any, Any]] = [
        (name, stored.execution.get(name), again.execution.get(name)) for name in _EXECUTION
    ]
    pairs.append(("cpu", stored.environment.get("cpu"), again.environment.get("cpu")))
    there_are, here_are = (each.environment.get("versions", {}) for each in (stored, again))
    pairs += [(name, there_are.get(name), here_are.get(name)) for name in ("torch", "numpy", "scipy")]
    marks = [str(each.plugin.get("fingerprint"))[:10] for each in (stored, again)]
    pairs.append(("code of the method", marks[0], marks[1]))
    return [f"{name} {there} there, {here} here" for name, there, here in pairs if there != here]


def _parts(record: Record) -> Mapping[str, Any]:
    """Return what must not depend on the time a trial takes."""
    history = [
        {
            key: _without_classes(value) if key == "selection" else value
            for key, value in epoch.items()
            if key not in _TIMES
        }
        for epoch in record.history
    ]
    return {
        "accuracies": record.metrics,
        "epochs": history,
        "selection": record.selection,
        "noise": record.noise,
        "ledger": record.ledger.get("training"),
        "events": record.events,
    }


def _without_classes(selection: Any) -> Any:
    return {key: value for key, value in (selection or {}).items() if key != "per_class"}
