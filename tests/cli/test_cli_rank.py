"""The command: formats, files, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from results_factory import mini

from lnlbench.cli import main
from lnlbench.errors import ExitCode


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(mini(tmp_path / "out").root)


def test_ranks_what_is_complete(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", "--out", out, "--format", "json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    # GCE failed and TURN was skipped at symmetric 0.9, where CE and a stranger's method remain.
    assert {entrant["name"] for entrant in found["entrants"]} == {"FFT CE", "LP CE", "LP mine"}
    assert found["settings"] == ["Symm. 0.6", "Symm. 0.9"]
    assert any("LP GCE: no result in 1 of 2 settings" in reason for reason in found["left_out"])


def test_filters_and_metrics(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", "--out", out, "--where", "noise=symmetric-0.6", "--metric", "last"]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert printed.index("LP GCE") < printed.index("LP-FFT TURN")
    assert "5 methods in 1 setting" in printed
    assert main(["rank", "--out", out, "--where", "method=mine"]) == ExitCode.NOTHING_SELECTED


def test_writes_files(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, ranks = tmp_path / "ranking.md", tmp_path / "ranks.pdf"
    arguments = ["rank", "--out", out, "--format", "markdown", "--output", str(target), "--ranks", str(ranks)]
    assert main(arguments) == ExitCode.OK
    assert target.read_text().startswith("|  | method |")
    assert ranks.read_bytes().startswith(b"%PDF")
    front = tmp_path / "front.svg"
    noise = ["--where", "noise=symmetric-0.6", "--front", str(front)]
    assert main(["rank", "--out", out, *noise]) == ExitCode.OK
    assert b"<svg" in front.read_bytes()
    assert main(["rank", "--out", out, "--ranks", str(tmp_path / "ranks.gif")]) == ExitCode.USAGE
    assert ".svg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--by", "metod"], "method"), (["--metric", "bset"], "best"), (["--grid", "mni"], "mini")],
)
def test_mistakes_are_named(
    out: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", "--out", out, *arguments]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
