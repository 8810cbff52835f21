"""``lnlbench run --processes-per-trial 2`` on real digits, with batch normalisation: inline and under Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.records.record import Record, Status
from lnlbench.records.store import Store

KILLED = f"{Path(__file__).parent / 'troubled_methods.py'}:Killed"
NORMALISED = f"{Path(__file__).parent / 'double_backbone.py'}:Normalised"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    text = SMALL_GRID.replace('tuning = "lp"', 'tuning = ["fft", "lp"]').replace(', "gce"', "")
    text = text.replace("epochs = 1", "epochs = 2\nbatch_size = 20\nlr = 1e-3")
    text = text.replace("efficientnet_lite0", "normalised")
    text = text.replace("image_size = 32", 'image_size = 12\nweights = "none"')
    path = tmp_path / "shared.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run(grid: Path, cache: Path, out: str, executor: str, *more: str) -> int:
    options = ["--cache-dir", str(cache), "--cpus-per-trial", "1", "--out", out, "--executor", executor]
    return main(["run", "--grid", str(grid), "--plugin", NORMALISED, *options, *more])


def records(out: str) -> dict[str, Record]:
    return {record.spec.tuning: record for record in Store.open(Path(out)).records()}


def assert_alike(out: str, other: str) -> None:
    """Numbers in single precision differ in their rounding, counts do not."""
    for tuning, record in records(out).items():
        one = records(other)[tuning]
        assert record.status is one.status is Status.DONE
        assert record.ledger == one.ledger
        losses = [entry["loss"] for entry in record.history], [entry["loss"] for entry in one.history]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        assert record.execution.get("processes") == (2 if tuning == "fft" else None)


def test_a_grid_inline(grid: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(grid, cache, "one", "inline") == ExitCode.OK
    assert run(grid, cache, "two", "inline", "--processes-per-trial", "2") == ExitCode.OK
    assert "2 processes of 1 threads" in " ".join(capsys.readouterr().out.split())
    assert_alike("two", "one")
    frame = lnlbench.load("two").set_index("tuning")
    assert frame["processes"]["fft"] == 2
    assert frame["processes"].isna()["lp"]


def test_a_grid_under_ray_and_a_process_that_is_killed(grid: Path, cache: Path) -> None:
    assert run(grid, cache, "one", "inline", "--where", "tuning=fft") == ExitCode.OK
    options = ["--processes-per-trial", "2", "--where", "tuning=fft", "--plugin", KILLED]
    code = run(grid, cache, "two", "ray", "--set", "method=killed,ce", *options)
    assert code == ExitCode.INCOMPLETE
    found = {record.spec.method.name: record for record in Store.open(Path("two")).records()}
    error = found["killed"].error
    assert error is not None
    assert error["type"] == "ProcessDied"
    assert "Process 2 of the 2" in error["message"]
    assert found["ce"].status is Status.DONE
    assert found["ce"].execution["processes"] == 2
    (one,) = Store.open(Path("one")).records()
    assert found["ce"].ledger == one.ledger
    assert [entry["loss"] for entry in found["ce"].history] == pytest.approx(
        [entry["loss"] for entry in one.history], rel=1e-3
    )


def test_methods_that_do_not_say_so_are_declined_before_anything_runs(
    grid: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--set", "method=ce,sce", "--processes-per-trial", "2"]
    for more in ([], ["--dry-run"]):
        assert run(grid, cache, "none", "inline", *asked, *more) == ExitCode.USAGE
        said = " ".join(capsys.readouterr().err.split())
        assert "sce does not say that 2 processes can share a trial" in said
        assert "Add --where method=ce, or drop --processes-per-trial." in said
    assert not Path("none").exists()
