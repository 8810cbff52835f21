"""``lnlbench plot``: files, formats and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from results_factory import fill, make_plan, make_record, make_spec

from lnlbench.cli import plot
from lnlbench.errors import ExitCode, NothingSelectedError, UsageError

FIGURE = {"kind": "scatter", "x": "train_s", "y": "best"}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(plot.command, [str(argument) for argument in arguments])


def filled(folder: Path, figure: dict[str, Any] | None = None, pending: bool = False) -> Path:
    specs = [make_spec(name) for name in ("ce", "gce")]
    records = [make_record(spec) for spec in specs[: 1 if pending else 2]]
    plan = make_plan(specs) | ({"figure": figure} if figure is not None else {})
    return fill(folder, records, plan).root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("ending", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_the_ending_decides_about_the_format(here: Path, ending: str, start: bytes) -> None:
    out = filled(here / "out", FIGURE)
    result = run("--out", out, "--to", f"x.{ending}")
    assert result.exit_code == ExitCode.OK, result.output
    assert (here / f"x.{ending}").read_bytes().startswith(start)
    assert "A small grid. digits" in result.stdout
    assert result.stdout.splitlines()[-1] == f"The figure is in x.{ending}."


def test_the_file_is_called_like_the_grid(here: Path) -> None:
    filled(here / "runs" / "mini", FIGURE)
    assert run("--grid", "mini").exit_code == ExitCode.OK
    assert (here / "mini.pdf").exists()


def test_a_figure_with_gaps_is_drawn_and_exits_with_one(here: Path) -> None:
    result = run("--out", filled(here / "out", FIGURE, pending=True), "--to", "x.svg")
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "Note: pending (FFT GCE)" in result.stdout
    assert (here / "x.svg").exists()


def test_where_narrows(here: Path) -> None:
    out = filled(here / "out", FIGURE, pending=True)
    assert run("--out", out, "--where", "method=ce").exit_code == ExitCode.OK
    assert isinstance(run("--out", out, "--where", "method=elr").exception, NothingSelectedError)


def test_an_ending_that_is_no_format_is_an_error(here: Path) -> None:
    out = filled(here / "out", FIGURE)
    for name in ("x", "x.jpg"):
        error = run("--out", out, "--to", name).exception
        assert isinstance(error, UsageError)
        assert ".pdf, .svg, .png" in str(error)


def test_a_grid_without_a_figure_is_an_error_that_says_what_to_do(here: Path) -> None:
    error = run("--out", filled(here / "out")).exception
    assert isinstance(error, UsageError)
    assert "'mini'" in str(error)
    assert "[figure]" in str(error)


def test_a_mistake_in_the_section_is_an_error(here: Path) -> None:
    error = run("--out", filled(here / "out", {"kind": "lines", "x": "lp.epoch"})).exception
    assert isinstance(error, UsageError)
    assert "Did you mean 'epochs'" in str(error)


def test_a_file_that_cannot_be_written_is_an_error(here: Path) -> None:
    error = run("--out", filled(here / "out", FIGURE), "--to", "no/x.pdf").exception
    assert isinstance(error, UsageError)
