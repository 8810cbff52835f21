"""Part ``faults``: trials that break, and what becomes of those after them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lnlbench.plugins import registry
from lnlbench.records.record import Record, Status
from lnlbench.running.execute import execute
from lnlbench.running.job import Job, Resources
from lnlbench.running.listener import Listener
from lnlbench.running.worker import Limits
from lnlbench.spec import TrialSpec
from lnlbench.trials.workspace import RunSettings

from .bench import Bench
from .material import feature_vectors, trial
from .processes import in_child

PLUGINS = '''"""Methods that break a process in three ways."""

import torch

from lnlbench.methods.ce import CE


class AssertsOnTheDevice(CE):
    """Reads beyond the end of an array, on the device."""

    def loss(self, batch):
        values = torch.zeros(3, device=batch.labels.device)
        return values[batch.labels[:1] + 1_000_000].sum() + super().loss(batch)


class RunsOutOfMemory(CE):
    """Asks for more memory than there is."""

    def loss(self, batch):
        held = [torch.empty(2**44, dtype=torch.uint8, device=batch.labels.device) for _ in range(64)]
        return super().loss(batch) + len(held)


class SetsSwitches(CE):
    """Leaves the process computing otherwise."""

    def loss(self, batch):
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        torch.backends.cudnn.deterministic = True
        torch.set_num_threads(1)
        return super().loss(batch)
'''
BREAKING = {
    "asserts_on_the_device": "AssertsOnTheDevice",
    "runs_out_of_memory": "RunsOutOfMemory",
    "sets_switches": "SetsSwitches",
}
AFTER = 2  # sound trials after each
# Runs that the queue may take: a fault may end the process that trials share, not more.
RUNS = 1 + len(BREAKING)


def faults(bench: Bench) -> None:
    """Run trials that break, each before two of CE, which must be done and as if undisturbed."""
    plugins = bench.folder / "breaking.py"
    plugins.write_text(PLUGINS)
    references = tuple(f"{plugins}:{name}" for name in BREAKING.values())
    for reference in references:
        registry.add_plugin(reference)
    dataset = feature_vectors(bench.folder / "features.npz", 64 if bench.quick else 2048, 16, classes=4)
    ray = find_spec("ray") is not None and not bench.quick
    bench.note("under Ray" if ray else "without Ray: inline, in processes of which another one goes on")
    settings = RunSettings(
        data=None,
        cache=bench.folder / "cache",
        plugins=references,
        device=bench.device.type,
        executor="ray" if ray else "inline",
    )

    def spec(method: str, seed: int = 0) -> TrialSpec:
        made = trial(method, "lp", dataset, None, epochs=2, batch_size=32, seed=seed, lr=0.1)
        assert made is not None
        return made

    sound = [spec("ce", seed) for seed in range(AFTER * len(BREAKING))]
    undisturbed = run_queue(settings, sound, bench.folder / "undisturbed")
    expected = [undisturbed.get(item.trial_id) for item in sound]
    done = all(_outcome(record) == "done" for record in expected)
    bench.check("undisturbed trials are done", done, "" if done else _outcome(expected[0]))
    groups = {
        name: [spec(name), *sound[AFTER * number : AFTER * (number + 1)]]
        for number, name in enumerate(BREAKING)
    }
    records = run_queue(settings, [item for group in groups.values() for item in group], bench.folder / "all")
    for name, (breaking, *after) in groups.items():
        first = _outcome(records.get(breaking.trial_id))
        bench.row(fault=name, becomes=first, after=[_outcome(records.get(item.trial_id)) for item in after])
        if name != "sets_switches":
            bench.check(f"{name}: is recorded as failed", first.startswith("failed"), first)
        for item in after:
            found = records.get(item.trial_id)
            outcome = _outcome(found)
            bench.check(f"{name}: CE after it is done (seed {item.seed})", outcome == "done", outcome)
            same = _essence(found) == _essence(undisturbed.get(item.trial_id))
            bench.check(f"{name}: CE after it is as if undisturbed (seed {item.seed})", same)


def run_queue(settings: RunSettings, queue: Sequence[TrialSpec], folder: Path) -> dict[str, Record]:
    """Run trials as a user would, who repeats a command that was cut short; return records by trial."""
    folder.mkdir()
    for _ in range(RUNS):
        done = _records(folder)
        left = [spec for spec in queue if spec.trial_id not in done]
        if not left:
            break
        in_child(_execute, left, settings, folder, timeout=60.0)
    return _records(folder)


class _ToFiles(Listener):
    """Writes every record to a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, record: Record) -> None:
        (self.folder / f"{record.trial_id}.json").write_text(json.dumps(record.to_dict()))


def _execute(queue: Sequence[TrialSpec], settings: RunSettings, folder: Path) -> None:
    gpus = 1.0 if settings.device == "cuda" else 0.0
    limits = Limits(isolated=settings.executor == "ray")
    execute(queue, Job(settings, Resources(gpus=gpus), limits, _ToFiles(folder)))


def _records(folder: Path) -> dict[str, Record]:
    return {path.stem: Record.from_dict(json.loads(path.read_text())) for path in folder.glob("*.json")}


def _outcome(record: Record | None) -> str:
    if record is None:
        return "no record"
    if record.status is Status.DONE:
        return "done"
    return f"failed: {str((record.error or {}).get('message')).splitlines()[0][:90]}"


def _essence(record: Record | None) -> Any:
    """Return what must be the same of two runs: losses and accuracies."""
    if record is None:
        return None
    return [(entry["loss"], entry["validation"], entry["test"]) for entry in record.history]
