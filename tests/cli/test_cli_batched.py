"""The real commands with trials that are trained together, beside the same without."""

from __future__ import annotations

import json
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import given_plugins
import pytest
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.records.record import Record, Status
from lnlbench.records.store import Store

GRID = (
    SMALL_GRID.replace("train_per_class = 8", "train_per_class = 20")
    .replace("test_per_class = 4", "test_per_class = 4\nvalidation_fraction = 0.3")
    .replace("[lp]\nepochs = 2", "[lp]\nepochs = 3")
    .replace('method = ["ce", "gce"]', 'method = ["ce", "gce", "elr", "ncm"]')
)
SPACE = ["lr=0.1,0.01", "optimizer=sgd,adamw", "weight_decay=1e-4", "batch_size=32,64"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def call(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Call a command on the small grid; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    Path("small.toml").write_text(GRID)

    def call(*options: str, executor: str = "inline") -> tuple[int, str, str]:
        given_plugins.forget()
        common = ["--cache-dir", str(cache), "--cpus-per-trial", "1", "--executor", executor]
        code = main([*options, "--grid", "small.toml", *common])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def records(out: str) -> dict[str, Record]:
    return {record.trial_id: record for record in Store.open(Path(out)).records()}


def assert_alike(one: dict[str, Record], other: dict[str, Record]) -> None:
    """Records agree in all but times, up to rounding."""
    assert one.keys() == other.keys()
    for trial_id, record in one.items():
        alone = other[trial_id]
        assert record.status is alone.status is Status.DONE
        assert record.spec == alone.spec
        for entry, expected in zip(record.history, alone.history, strict=True):
            if record.spec.method.name != "ncm":  # which takes no step
                assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-4)
            assert entry["test"] == pytest.approx(expected["test"], abs=2.6)  # one of 40
            assert entry["validation"] == pytest.approx(expected["validation"], abs=1.7)  # one of 60
        for name in ("ledger", "noise", "data", "plugin", "events"):
            assert getattr(record, name) == getattr(alone, name)


def batched(found: dict[str, Record]) -> list[tuple[str, int]]:
    return sorted((r.spec.method.name, r.execution.get("batched", 0)) for r in found.values())


def test_a_search_trains_configurations_together_and_finds_the_same(call: Any) -> None:
    options = ["tune", "--tuning", "lp", *(word for text in SPACE for word in ("--space", text))]
    code, out, err = call(*options, "--out", "together")
    assert code == ExitCode.OK, err
    code, other, err = call(*options, "--out", "alone", "--no-batched")
    assert code == ExitCode.OK, err
    together, alone = records("together"), records("alone")
    assert batched(together) == [("ce", 4)] * 8  # two batch sizes
    assert batched(alone) == [("ce", 0)] * 8
    assert_alike(together, alone)
    assert "8 configurations: 8 done" in out
    chosen = [tomllib.loads(Path(f"{o}/hyperparameters.toml").read_text()) for o in ("together", "alone")]
    assert chosen[0]["backbone"] == chosen[1]["backbone"]
    assert "8 configurations: 8 done" in other
    # The command that status proposes keeps what was asked for.
    plans = json.loads(next(Path("alone").glob("plans/*.json")).read_text())
    assert "--no-batched" in json.dumps(plans)
    code, _, err = call(*options, "--out", "together", "--no-batched")
    assert "0 trials to run; 8 done" in err


def test_a_search_with_asha_is_not_batched(call: Any) -> None:
    code, _, err = call("tune", "--tuning", "lp", "--search", "asha", "--batched", executor="ray")
    assert code == ExitCode.USAGE
    assert "--search asha ends trials one by one" in err


@pytest.fixture
def alone(call: Any) -> dict[str, Record]:
    code, _, err = call("run", "--out", "alone")
    assert code == ExitCode.OK, err
    return records("alone")


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_run_trains_together_what_can_be(call: Any, alone: dict[str, Record], executor: str) -> None:
    code, out, err = call("run", "--batched", "--out", "together", executor=executor)
    assert code == ExitCode.OK, err
    assert [method for method, _ in batched(alone)] == ["ce", "elr", "gce", "ncm"]
    together = records("together")
    assert batched(together) == [("ce", 3), ("elr", 3), ("gce", 3), ("ncm", 0)]
    assert_alike(together, alone)
    assert "were trained together" in out
    column = lnlbench.load("together").set_index("method")["batched"]
    assert column.dropna().to_dict() == {"ce": 3, "gce": 3, "elr": 3}


class Interrupts(lnlbench.Listener):
    """Presses Ctrl-C in the first epoch that it hears of, and counts what is over."""

    def __init__(self) -> None:
        self.pressed = False
        self.over: list[str] = []

    def epoch(self, *_: object) -> None:
        if not self.pressed:
            self.pressed = True
            signal.raise_signal(signal.SIGINT)

    def finished(self, record: Record) -> None:
        self.over.append(record.spec.method.name)


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_ctrl_c_saves_what_is_unfinished_and_the_same_call_continues(
    call: Any, cache: Path, alone: dict[str, Record]
) -> None:
    options: dict[str, Any] = {"executor": "inline", "cpus_per_trial": 1, "cache": cache, "batched": True}
    with pytest.raises(KeyboardInterrupt):
        lnlbench.run("small.toml", "together", listener=(first := Interrupts()), **options)
    assert first.over == []
    assert len(list(Path("together/checkpoints").glob("*.ckpt"))) == 3
    result = lnlbench.run("small.toml", "together", **options)
    assert result.complete
    together = records("together")
    assert batched(together) == [("ce", 3), ("elr", 3), ("gce", 3), ("ncm", 0)]
    assert [len(r.execution["continued"]) for r in together.values() if r.execution.get("batched")] == [1] * 3
    assert_alike(together, alone)
