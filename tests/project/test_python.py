"""lnlbench from Python: the same records as the command's, and what listeners hear in which order."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import DataError, ExitCode, UsageError
from lnlbench.grids.plan import Plan
from lnlbench.records.record import Record
from lnlbench.running.job import make_job
from lnlbench.running.pending import Pending
from lnlbench.spec import TrialSpec

GRID = SMALL_GRID.replace("[lp]\nepochs = 2", "[lp]\nepochs = 3")
MEASURED = ["trial_id", "best", "last", "oracle", "head_backward", "realised_rate"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def options(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    Path("small.toml").write_text(GRID)
    return {"executor": "inline", "cpus_per_trial": 1, "cache": cache}


class Recorder(lnlbench.Listener):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def planned(self, plan: Plan, pending: Pending, out: Path) -> None:
        self.heard.append(("planned", len(pending.todo)))

    def started(self, spec: TrialSpec) -> None:
        self.heard.append(("started", spec.method.name))

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        self.heard.append(("epoch", entry["epoch"]))

    def finished(self, record: Record) -> None:
        self.heard.append(("finished", record.spec.method.name))

    def ended(self) -> None:
        self.heard.append(("ended", None))


def test_python_and_the_command_give_the_same_records(
    options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = lnlbench.run("small.toml", seeds=range(1), **options)
    assert capsys.readouterr() == ("", "")  # nothing is printed unless a listener does
    assert (result.out, result.complete, result.failed) == (Path("runs/small"), True, ())
    command = ["run", "--grid", "small.toml", "--out", "command", "--cache-dir", str(options["cache"])]
    assert main([*command, "--executor", "inline", "--cpus-per-trial", "1"]) == ExitCode.OK
    ours, its = (
        lnlbench.load(out).sort_values("trial_id")[MEASURED].to_dict("list")
        for out in ("runs/small", "command")
    )
    assert ours == its
    assert sorted(result.frame()["trial_id"]) == its["trial_id"]
    again = lnlbench.run(Path("small.toml"), listener=(recorder := Recorder()), **options)
    assert again.records == result.records
    assert recorder.heard == [("planned", 0), ("ended", None)]


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_listener_hears_of_every_epoch_in_order(options: dict[str, Any], executor: str) -> None:
    recorder = Recorder()
    lnlbench.run("small.toml", listener=recorder, **options | {"executor": executor})
    epochs = [("epoch", number) for number in range(3)]
    trials = [event for name in ("ce", "gce") for event in (("started", name), *epochs, ("finished", name))]
    assert recorder.heard == [("planned", 2), *trials, ("ended", None)]


class Raises(Recorder):
    """Fails at the first epoch that it hears of."""

    def epoch(self, spec: TrialSpec, entry: Mapping[str, Any]) -> None:
        super().epoch(spec, entry)
        raise OSError("no room for curves")


def test_a_listener_that_raises_is_left_out_and_loses_nothing(options: dict[str, Any]) -> None:
    broken, other = Raises(), Recorder()
    result = lnlbench.run("small.toml", listener=[broken, other], **options)
    assert result.complete
    assert broken.heard == [("planned", 2), ("started", "ce"), ("epoch", 0)]
    assert len(other.heard) == 2 + 2 * 5
    (warning,) = result.warnings
    assert "Raises failed and is left out from now on: OSError: no room for curves" in warning


class Interrupts(lnlbench.Listener):
    """Presses Ctrl-C when an event comes."""

    def __init__(self, event: str) -> None:
        setattr(self, event, self.interrupt)

    def interrupt(self, *_: object) -> None:
        signal.raise_signal(signal.SIGINT)  # in this thread, and so before anything else happens


def test_an_interrupted_run_continues_after_its_epoch(options: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        lnlbench.run("small.toml", listener=Interrupts("epoch"), **options)
    assert len(list(Path("runs/small/checkpoints").glob("*.ckpt"))) == 1
    result = lnlbench.run("small.toml", **options)
    assert result.complete
    assert sorted(len(record.execution["continued"]) for record in result.records) == [0, 1]


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """Heed SIGINT, which a shell has its processes in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_a_run_that_starts_no_trial_leaves_no_folder(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        lnlbench.run("small.toml", "a/b", sets={"dataset": "npz:nowhere.npz"}, **options)
    with pytest.raises(KeyboardInterrupt):
        lnlbench.run("small.toml", "a/b", listener=Interrupts("planned"), **options)
    assert not Path("a").exists()
    Path("kept").mkdir()
    with pytest.raises(DataError):
        lnlbench.run("small.toml", "kept", sets={"dataset": "npz:nowhere.npz"}, **options)
    assert list(Path("kept").iterdir()) == []  # it was there before, so it stays
    lnlbench.run("small.toml", where={"method": "ce"}, **options)
    with pytest.raises(DataError):
        lnlbench.run("small.toml", sets={"dataset": "npz:nowhere.npz"}, **options)
    assert len(lnlbench.load("runs/small")) == 1


def test_changes_are_given_as_python_values(options: dict[str, Any]) -> None:
    sets = {"noise": ["symmetric-0.2", "none"], "lp.epochs": 5, "lp.cache": False, "train_per_class": None}
    texts = ["noise=symmetric-0.2,none", "lp.epochs=5", "lp.cache=false", "train_per_class=none"]
    where = {"method": ["ce"], "noise": "none"}
    plan = lnlbench.plan("small.toml", where=where, sets=sets, seeds=[0, 2])
    same = lnlbench.plan("small.toml", where=["method=ce", "noise=none"], sets=texts, seeds="0,2")
    assert plan == same
    assert len(plan.planned) == 2
    assert plan.planned[0].spec.phases[0].epochs == 5
    with pytest.raises(UsageError, match="where, sets and seeds"):
        lnlbench.run(plan, seeds=[1], **options)
    with pytest.raises(UsageError, match="no executor 'threads'"):
        lnlbench.run(plan, **options | {"executor": "threads"})
    with pytest.raises(UsageError, match="retry"):
        lnlbench.run(plan, retry="some", **options)


def test_more_jobs_than_cores_is_a_warning(tmp_path: Path) -> None:
    (advice,) = make_job(tmp_path, jobs=4096, executor="ray").advice()
    assert "4096 jobs of 1 threads share" in advice
    assert "use --jobs" in advice
    assert make_job(tmp_path, executor="inline").advice() == []
    assert make_job(tmp_path, jobs=4096, ray_address="auto").advice() == []  # a cluster may have them
