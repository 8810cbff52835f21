"""The command: exit codes, refusals, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from verify_factory import Measure, as_published, make_spec, on_other_data, store_simulated

from lnlbench.analysis.paper.published import TABLES, PublishedCell, read_published
from lnlbench.cli import verify
from lnlbench.errors import ExitCode, NothingSelectedError, StoreError, UsageError
from lnlbench.grids.plan import Plan, PlannedTrial
from lnlbench.spec import TrialSpec

TABLE = TABLES["paper_table5"]
GRID = TABLE.grid


@pytest.fixture(autouse=True)
def _plain_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the paper's grid be the one that the simulated runs come from."""

    def plan(grid: str) -> Plan:
        table = TABLES[grid]
        trials = (PlannedTrial(make_spec(table, cell)) for cell in read_published(table))
        return Plan(grid, "", {}, tuple(trials), {})

    monkeypatch.setattr("lnlbench.grids.plan.plan", plan)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(verify.command, [str(argument) for argument in arguments])


def simulated(folder: Path, **arguments: Any) -> Path:
    return store_simulated(folder / "out", TABLE, **arguments).root


def turn_at(value: float) -> Measure:
    def measure(cell: PublishedCell, seed: int) -> dict[str, Any] | None:
        turn = cell.entrant[1] == "turn"
        return {"best": value, "last": value} if turn else as_published(TABLE)(cell, seed)

    return measure


def test_agreement_exits_with_0(tmp_path: Path) -> None:
    result = run("--grid", GRID, "--out", simulated(tmp_path))
    assert result.exit_code == ExitCode.OK
    assert "18 cells: 18 agree, 0 differ, 0 missing." in result.stdout
    assert "mean Kendall's τ 1.00 over 2 settings" in result.stdout


def test_missing_numbers_exit_with_1(tmp_path: Path) -> None:
    out = simulated(tmp_path, cells=read_published(TABLE)[:9])
    result = run("--grid", GRID, "--out", out)
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "all 9 cells are missing: not in the plan" in result.stdout


def test_a_selection_can_be_complete(tmp_path: Path) -> None:
    out = simulated(tmp_path, cells=read_published(TABLE)[:9])
    assert run("--grid", GRID, "--out", out, "--where", "backbone=vit_l16").exit_code == ExitCode.OK


def test_a_mismatch_exits_with_4(tmp_path: Path) -> None:
    result = run("--grid", GRID, "--out", simulated(tmp_path, measure=turn_at(50.0)))
    assert result.exit_code == ExitCode.MISMATCH
    assert "Mismatch: 2 of 18 cells differ" in result.stdout
    # Also if there are missing numbers as well: more runs do not bring these two together.
    some = [cell for cell in read_published(TABLE) if cell.entrant[1] != "ce"]
    out = simulated(tmp_path / "some", measure=turn_at(50.0), cells=some)
    assert run("--grid", GRID, "--out", out).exit_code == ExitCode.MISMATCH


def test_the_tolerance_decides(tmp_path: Path) -> None:
    out = simulated(tmp_path, measure=turn_at(85.0))  # published: 87.02 / 85.90 and 81.17 / 81.17
    assert run("--grid", GRID, "--out", out).exit_code == ExitCode.MISMATCH
    assert run("--grid", GRID, "--out", out, "--tolerance", "4").exit_code == ExitCode.OK
    assert run("--grid", GRID, "--out", out, "--tolerance", "-1").exit_code == ExitCode.USAGE


def shorter(spec: TrialSpec) -> TrialSpec:
    phases = tuple(replace(phase, epochs=1, lr=0.5) for phase in spec.phases)
    return replace(on_other_data(spec), phases=phases)


def test_another_protocol_is_refused_by_name(tmp_path: Path) -> None:
    result = run("--grid", GRID, "--out", simulated(tmp_path, change=shorter))
    error = result.exception
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    for difference in (
        "dataset: cifar10, in the paper cifar100",
        "backbone: efficientnet_lite0, in the paper vit_l16 and clip_vit_l14",
        "lp.epochs: 1, in the paper 20",
        "fft.epochs: 1, in the paper 5 and 4",
        "lp.lr: 0.5, in the paper 0.01",
        "--allow-different-protocol",
    ):
        assert difference in str(error)
    assert "\n" not in str(error)


def test_rankings_of_another_protocol_can_be_seen(tmp_path: Path) -> None:
    out = simulated(tmp_path, change=shorter)
    result = run("--grid", GRID, "--out", out, "--allow-different-protocol")
    # The numbers are those of ViT-L/16: its cells agree, CLIP's do not, and no lead is lost.
    assert result.exit_code == ExitCode.OK
    assert "MEASURED UNDER ANOTHER PROTOCOL" in result.stdout
    worse = simulated(tmp_path / "worse", change=shorter, measure=turn_at(50.0))
    assert run("--grid", GRID, "--out", worse, "--allow-different-protocol").exit_code == ExitCode.MISMATCH


def test_pending_trials_of_another_protocol_are_refused_too(tmp_path: Path) -> None:
    out = simulated(tmp_path, change=shorter, measure=lambda cell, seed: None)
    assert isinstance(run("--grid", GRID, "--out", out).exception, UsageError)


def test_an_order_can_be_asked_for(tmp_path: Path) -> None:
    out = simulated(tmp_path, change=on_other_data)
    arguments = ("--grid", GRID, "--out", out, "--allow-different-protocol", "--min-tau")
    assert run(*arguments, "0.99").exit_code == ExitCode.MISMATCH
    assert run(*arguments, "0.1").exit_code == ExitCode.OK


def test_nothing_measured_exits_with_5(tmp_path: Path) -> None:
    out = simulated(tmp_path, measure=lambda cell, seed: None)
    error = run("--grid", GRID, "--out", out).exception
    assert isinstance(error, NothingSelectedError)
    assert error.exit_code == 5
    assert f"lnlbench run --grid {GRID}" in str(error)
    nothing = run("--grid", GRID, "--out", out, "--where", "method=none").exception
    assert isinstance(nothing, NothingSelectedError)


def test_grids_without_published_numbers_are_refused(tmp_path: Path) -> None:
    error = run("--grid", "quickstart", "--out", simulated(tmp_path)).exception
    assert isinstance(error, UsageError)
    assert "The paper prints no numbers for the grid 'quickstart'" in str(error)


def test_a_folder_without_the_grid_is_refused(tmp_path: Path) -> None:
    out = simulated(tmp_path)
    assert "no grid 'paper_table2'" in str(run("--grid", "paper_table2", "--out", out).exception)
    assert isinstance(run("--grid", GRID, "--out", tmp_path / "none").exception, StoreError)


def test_results_go_to_a_file(tmp_path: Path) -> None:
    target = tmp_path / "verify.json"
    result = run("--grid", GRID, "--out", simulated(tmp_path), "--format", "json", "--output", target)
    assert result.stdout == ""
    assert json.loads(target.read_text(encoding="utf-8"))["complete"] is True


def test_damaged_records_are_named(tmp_path: Path) -> None:
    out = simulated(tmp_path)
    next((out / "trials").iterdir()).write_bytes(b"{")
    result = run("--grid", GRID, "--out", out)
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "is damaged" in result.stderr


def test_budgets_of_one_phase_count(tmp_path: Path) -> None:
    def change(spec: TrialSpec) -> TrialSpec:
        phases = tuple(
            replace(phase, batch_size=64) if phase.kind == "fft" else phase for phase in spec.phases
        )
        return replace(spec, phases=phases)

    error = run("--grid", GRID, "--out", simulated(tmp_path, change=change)).exception
    assert "fft.batch_size: 64, in the paper 128" in str(error)
    assert "lp." not in str(error)
