"""What `lnlbench check` prints."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from lnlbench.cli import main
from lnlbench.conformance import Finding, Outcome, Report, check_method
from lnlbench.errors import ExitCode, PluginError


def test_the_report_prints_and_is_json() -> None:
    findings = (
        Finding("class", "documented", "It has a docstring.", Outcome.PASSED),
        Finding("lp", "runs", "It runs.", Outcome.FAILED, "it stops"),
        Finding("fft", "runs", "It runs.", Outcome.NOT_APPLICABLE, "too slow"),
    )
    report = Report("mine", "mine.py", findings, 1.2)
    assert not report.passed
    assert str(report).splitlines() == [
        "✓ class   documented",
        "✗ lp      runs: it stops",
        "           Rule: It runs.",
        "– fft     runs: too slow",
        "mine (mine.py) fails 1 of 2 checks, in 1 s.",
    ]
    value = json.loads(json.dumps(report.to_dict()))
    assert value["passed"] is False
    assert value["findings"][1] == {
        "mode": "lp",
        "check": "runs",
        "rule": "It runs.",
        "outcome": "failed",
        "reason": "it stops",
    }


@pytest.fixture
def declining(tmp_path: Path) -> Path:
    """A file with a method that fails before any training."""
    path = tmp_path / "declining.py"
    path.write_text(
        dedent('''
        from lnlbench.api import Method, Skip

        class Declining(Method):
            """Declines everything."""

            @classmethod
            def supports(cls, spec):
                return Skip("no")
        ''')
    )
    return path


def test_the_command_fails_with_the_report(declining: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(declining)]) == ExitCode.INCOMPLETE
    lines = capsys.readouterr().out.splitlines()
    assert "✗ class   supports: every tuning mode is declined" in lines
    assert lines[-1].startswith("declining (declining.py) fails 1 of 3 checks")


def test_the_command_takes_a_plugin_by_name_and_writes_json(
    declining: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", "declining", "--plugin", f"{declining}:Declining", "--format", "json"]
    assert main(arguments) == ExitCode.INCOMPLETE
    value = json.loads(capsys.readouterr().out)
    assert (value["method"], value["origin"], value["passed"]) == ("declining", "declining.py", False)


def test_an_unknown_method_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PluginError, match="Did you mean 'gce'"):
        check_method("gcee")
    assert main(["check", "gcee"]) == ExitCode.USAGE
    assert "Unknown method, backbone, data set or metric 'gcee'" in capsys.readouterr().err
