"""The runner: what one more linear-probing trial costs under Ray and in-process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lnlbench.records.record import Record
from lnlbench.running.execute import execute
from lnlbench.running.job import Job, Resources
from lnlbench.running.listener import Listener
from lnlbench.running.preflight import extract_features
from lnlbench.running.worker import Limits
from lnlbench.spec import PhaseSpec, TrialSpec
from lnlbench.trials.workspace import RunSettings, Workspace

from .measure import Line, interleave
from .trials import BACKBONE, QUICK_BACKBONE, describe_backbone, digits_trial, require_done

AIM = 0.3
# The first n of 3n trials are the warm-up: Ray starts, a worker imports torch, the caches fill.
WARM_UP, QUICK_WARM_UP = 8, 1
ROUNDS, QUICK_ROUNDS = 3, 1


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield one line."""
    warm_up = QUICK_WARM_UP if quick else WARM_UP
    per_class = 3 if quick else 20
    backbone = QUICK_BACKBONE if quick else BACKBONE
    specs = tuple(
        digits_trial("ce", PhaseSpec("lp", epochs=1), backbone, per_class=per_class, seed=seed)
        for seed in range(3 * warm_up)
    )
    with tempfile.TemporaryDirectory() as folder:
        inline = RunSettings(data=None, cache=Path(folder), threads=threads)
        extract_features(specs, Workspace(inline), Listener())
        times = interleave(
            {
                "ray": lambda: seconds_per_trial(specs, replace(inline, executor="ray"), warm_up),
                "inline": lambda: seconds_per_trial(specs, inline, warm_up),
            },
            QUICK_ROUNDS if quick else ROUNDS,
            warm_up=False,
        )
    yield Line(
        "ray",
        "one more LP trial under Ray − in-process",
        f"CE on {10 * per_class} digits, {describe_backbone(backbone)}, 1 epoch, features cached; "
        f"trials {warm_up + 1} to {3 * warm_up} of a run",
        {name: times.median(name) for name in times.values},
        times.differences("ray", "inline"),
        unit="s",
        aim=AIM,
    )


class Arrivals(Listener):
    """Notes when records come in."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.records: list[Record] = []

    def finished(self, record: Record) -> None:
        self.times.append(time.perf_counter())
        self.records.append(record)


def seconds_per_trial(specs: tuple[TrialSpec, ...], settings: RunSettings, warm_up: int) -> float:
    """Run trials one after the other; return the mean time between two records after the warm-up."""
    arrivals = Arrivals()
    limits = Limits(isolated=settings.executor == "ray")
    execute(specs, Job(settings, Resources(jobs=1, cpus=settings.threads), limits, arrivals))
    for record in arrivals.records:
        require_done(record)
    return (arrivals.times[-1] - arrivals.times[warm_up - 1]) / (len(specs) - warm_up)
