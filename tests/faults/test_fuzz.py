"""Malformed grid files and command lines, ten thousand and more of them.

Every input is malformed by construction: a grid that was valid with one thing in it broken, bytes
that are no grid, a command line with one option or value that is wrong. Whatever it is, the command
says so in a paragraph and exits with 2 (a mistake) or 5 (nothing selected); a traceback, an
internal error, success, or a control character on the terminal fails the test. ``derandomize``
makes every run of this file the same.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_commands import any_arguments, command_lines
from broken_grids import VALID, mutated_grids, raw_files, write
from hypothesis import HealthCheck, given, settings

from lnlbench.basics.printable import printable
from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.plugins import find as entries
from lnlbench.plugins import registry

MUTATED_GRIDS = 5000
RAW_FILES = 2000
COMMAND_LINES = 4000
ANY_ARGUMENTS = 500  # not malformed by construction, and so not counted

# Minutes of a core that has nothing else to do; a busy machine takes longer.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a valid grid; finding entry points, the slowest step, is done once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    found = {group: entries.find(group) for group in entries.GROUPS}
    monkeypatch.setattr(registry, "find", found.__getitem__)
    (tmp_path / "valid.toml").write_text(write(VALID))
    return tmp_path


def call(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and all that it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(list(arguments))
    return code, output.getvalue()


def check_refusal(code: int, output: str) -> None:
    assert code in (ExitCode.USAGE, ExitCode.NOTHING_SELECTED), output
    check_output(output)
    # One paragraph; click puts the usage of the command in front of its own.
    paragraphs = [line for line in output.strip().split("\n\n") if line]
    assert paragraphs, "nothing was said"
    assert "Error: " in paragraphs[-1]
    assert len(output) < 6000


def check_output(output: str) -> None:
    assert "Traceback" not in output
    assert "Internal error" not in output
    assert printable(output) == output


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=checks
    )


def test_the_grid_that_is_mutated_is_valid() -> None:
    code, output = call("run", "--grid", "valid.toml", "--dry-run")
    assert code == ExitCode.OK, output
    assert "27 trials" in output or "30 trials" in output


@fuzz(MUTATED_GRIDS)
@given(content=mutated_grids())
def test_mutated_grids(folder: Path, content: bytes) -> None:
    (folder / "mutated.toml").write_bytes(content)
    check_refusal(*call("run", "--grid", "mutated.toml", "--dry-run"))


@fuzz(RAW_FILES)
@given(content=raw_files)
def test_files_that_are_no_grids(folder: Path, content: bytes) -> None:
    (folder / "raw.toml").write_bytes(content)
    check_refusal(*call("run", "--grid", "raw.toml", "--dry-run"))


@fuzz(COMMAND_LINES)
@given(line=command_lines())
def test_malformed_command_lines(folder: Path, line: list[str]) -> None:
    check_refusal(*call(*line))


@fuzz(ANY_ARGUMENTS)
@given(line=any_arguments())
def test_any_arguments(folder: Path, line: list[str]) -> None:
    code, output = call(*line)
    assert code != ExitCode.INTERNAL, output
    check_output(output)


def test_the_number_of_inputs() -> None:
    assert MUTATED_GRIDS + RAW_FILES + COMMAND_LINES >= 10_000
