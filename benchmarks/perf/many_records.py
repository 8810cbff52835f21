"""Many records: what the verbs take beside reading every file."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lnlbench
from lnlbench.basics import files
from lnlbench.cli.status import describe
from lnlbench.cli.table import make_table
from lnlbench.grids.plan import Plan
from lnlbench.records.beside import details
from lnlbench.records.index import SETTLED_NS
from lnlbench.records.reading.folders import joined, read_results
from lnlbench.records.record import Record, Status
from lnlbench.records.store import Store
from lnlbench.spec import TrialSpec

from .measure import Line, interleave, seconds

COUNT, QUICK_COUNT = 10_000, 60
ROUNDS, QUICK_ROUNDS = 5, 1
MORE = 10  # times as many: are they read in ten times the time?
# Seconds for the full count.
AIMS = {"status": 1.0, "table": 2.0, "run": 3.0}

GRID = """
schema = 1
title = "Many trials"
dataset = "cifar100"
backbone = "efficientnet_lite0"
noise = ["symmetric-0.2", "symmetric-0.6", "asymmetric-0.4", "instance-0.4"]
seeds = [0]
[[rows]]
tuning = "lp"
method = ["ce", "gce", "elr", "turn", "dividemix"]
[lp]
epochs = 20
"""
PER_SEED = 20
EVERY_FILE = "every file"


def run(threads: int, quick: bool) -> Iterator[Line]:
    """Measure; yield two lines for each verb. Threads make no difference here."""
    count, rounds = (QUICK_COUNT, QUICK_ROUNDS) if quick else (COUNT, ROUNDS)
    with _filled(count) as few:
        measured = interleave(few.actions, rounds)
        for verb, aim in AIMS.items():
            yield Line(
                "records",
                f"{_title(verb)} beside reading every file as JSON",
                few.setting,
                {name: measured.median(name) for name in (verb, EVERY_FILE)},
                measured.values[verb],
                unit="s",
                aim=aim,
            )
        with _filled(count * MORE) as many:
            # In turns, too: the machine does not work at one speed for as long as many records take.
            folders = few, many
            competitors = {_of(verb, each): each.actions[verb] for verb in AIMS for each in folders}
            measured = interleave(competitors, rounds)
    for verb in AIMS:
        yield Line(
            "records",
            f"{_title(verb)}, with {MORE} times as many records",
            many.setting,
            {f"{each.count:,}": measured.median(_of(verb, each)) for each in folders},
            measured.ratios(_of(verb, many), _of(verb, few)),
            aim=MORE * 1.15,
        )


def _of(verb: str, folder: _Folder) -> str:
    return f"{verb} of {folder.count}"


def _title(verb: str) -> str:
    return f"{verb}{' with nothing to do' if verb == 'run' else ''}"


@dataclass(frozen=True)
class _Folder:
    """An output folder that is full of records, and what is timed there; each action returns its seconds."""

    count: int
    setting: str
    actions: Mapping[str, Callable[[], float]]


@contextmanager
def _filled(count: int) -> Iterator[_Folder]:
    """Make a folder of so many records, and remove it afterwards."""
    with TemporaryDirectory() as folder:
        grid, out = Path(folder) / "many.toml", Path(folder) / "out"
        grid.write_text(GRID)
        seeds = f"0-{count // PER_SEED - 1}"
        size = _fill(out, lnlbench.plan(grid, seeds=seeds))

        def nothing_to_do() -> None:
            result = lnlbench.run(grid, out, seeds=seeds, executor="inline")
            make_table(joined([result.store]), [result.plan.grid], warn=False)

        actions: dict[str, Callable[[], Any]] = {
            "status": lambda: describe(Store.open(out)),
            "table": lambda: make_table(read_results([out]), ["many"]),
            "run": nothing_to_do,
            EVERY_FILE: lambda: _read(out),
        }
        yield _Folder(
            count,
            f"{count:,} records of {size / 1e3:.0f} kB, files in the page cache, start-up not counted",
            {name: partial(seconds, act) for name, act in actions.items()},
        )


def _fill(out: Path, plan: Plan) -> float:
    """Write a record for every trial of a plan; returns their mean size in bytes."""
    store, draw = Store.open(out, create=True), random.Random(0)
    store.put_plan(plan.to_dict())
    (out / "trials").mkdir()
    for planned in plan.planned:
        record = _record(planned.spec, draw)
        # As the store does it, without waiting for the disk. What lies beside records (selections, noise by
        # class) is left out: none of the verbs reads that here.
        thin = details.split(record.to_dict()).record
        files.write_checked(out / "trials" / f"{record.trial_id}.json", thin, durable=False)
    time.sleep(SETTLED_NS / 1e9)
    sizes = [path.stat().st_size for path in (out / "trials").iterdir()]
    return sum(sizes) / len(sizes)


def _record(spec: TrialSpec, draw: random.Random) -> Record:
    accuracies = [draw.uniform(50, 90) for _ in range(spec.epochs)]
    passes = {name: draw.randrange(10**6) for name in ("backbone_forward", "head_forward")}
    passes |= {f"{part}_{way}": 0 for part in ("backbone", "head") for way in ("forward_grad", "backward")}
    return Record.from_dict(
        {
            "spec": spec.to_dict(),
            "status": Status.DONE,
            "metrics": {"best": max(accuracies), "last": accuracies[-1], "oracle": max(accuracies)},
            "history": [
                {"phase": "lp", "epoch": epoch, "loss": draw.random(), "validation": value, "test": value}
                for epoch, value in enumerate(accuracies)
            ],
            "times": {"train_s": draw.random(), "eval_s": draw.random(), "wall_s": draw.random()},
            "ledger": {"training": passes},
            "noise": {"labels_sha256": f"{spec.noise.label} {spec.seed}"},
            "finished": "2025-01-01T00:00:00+00:00",
        }
    )


def _read(out: Path) -> None:
    for path in (out / "trials").iterdir():
        json.loads(path.read_bytes())
