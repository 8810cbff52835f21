"""Names and messages that mean harm: refused, or escaped in every output."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from hostile import EVIL, GRID, trial
from results_factory import make_plan

from lnlbench.basics.printable import printable
from lnlbench.cli import main
from lnlbench.console.progress import Progress
from lnlbench.errors import ExitCode, LnlbenchError
from lnlbench.records.record import Record, Status
from lnlbench.records.store import Store


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    return tmp_path


@pytest.fixture(params=EVIL)
def results(request: pytest.FixtureRequest, folder: Path) -> Path:
    return make_results(folder / "results", request.param)


def make_results(path: Path, evil: str) -> Path:
    """Make a folder of results in which a text stands wherever a text can stand."""
    specs = [trial(evil), trial("failed", dataset=f"npz:{evil}"), trial("skipped")]
    metrics = {"best": 50.0, "last": 40.0, "oracle": 51.0, "best_epoch": 0}
    done = Record(
        specs[0],
        Status.DONE,
        metrics=metrics,
        times={"train_s": 1.0},
        events={evil: 1},
        execution={"device": evil, "threads": 1, "shared_device": False},
        environment={"lnlbench": evil, "commit": evil, "dirty": False},
        plugin={"origin": evil, "fingerprint": evil},
        data={"fingerprint": evil},
        finished=evil,
    )
    error = {"type": evil, "message": f"{evil}\n{evil}", "hint": evil, "traceback": evil}
    store = Store.open(path, create=True)
    store.put(done)
    store.put(Record(specs[1], Status.FAILED, error=error, finished=evil))
    skips = {spec.trial_id: evil for spec in specs if spec.method.name == "skipped"}
    table = {"caption": evil, "rows": ["method", "dataset"]}
    source = {"path": evil, "sha256": evil, "overrides": [f"--set {evil}", f"--where {evil}"]}
    store.put_plan({**make_plan(specs, skips, "grid", table), "title": evil, "source": source})
    return path


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    code = main(list(arguments))
    captured = capsys.readouterr()
    assert code in (ExitCode.OK, ExitCode.INCOMPLETE), captured.err
    assert printable(captured.out + captured.err) == captured.out + captured.err
    return captured.out


# What stands for characters that LaTeX has a meaning for.
ESCAPES = {
    "char",
    *(f"text{name}" for name in ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")),
}


def test_hostile_names_in_latex(results: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def commands(text: str) -> set[str]:
        return set(re.findall(r"\\([A-Za-z]+)", text))

    latex = output_of(capsys, "table", "--out", str(results), "--format", "latex")
    harmless = make_results(folder / "harmless", "harmless")
    ours = commands(output_of(capsys, "table", "--out", str(harmless), "--format", "latex"))
    assert "toprule" in ours
    assert commands(latex) <= ours | ESCAPES
    assert latex.isascii()
    bare = re.sub(r"\\[{}%&$#_\\]", "", latex)
    assert bare.count("{") == bare.count("}")
    for line in bare.splitlines():
        # A comment is a line of its own or empty, so nothing after a percent sign gets lost.
        assert "%" not in line.strip("%")


def test_hostile_names_in_markdown(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    markdown = output_of(capsys, "table", "--out", str(results), "--format", "markdown")
    assert set(re.findall(r"<(/?[A-Za-z!-]+)", markdown)) <= {"sup", "/sup", "br", "ins", "/ins", "!--"}
    assert markdown.count("-->") == 1
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 5


@pytest.mark.parametrize("verb", [["table", "--format", "csv"], ["export"]])
def test_hostile_names_in_csv(results: Path, capsys: pytest.CaptureFixture[str], verb: list[str]) -> None:
    text = output_of(capsys, *verb, "--out", str(results))
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))


def test_hostile_names_in_text_and_json(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output_of(capsys, "table", "--out", str(results))
    status = output_of(capsys, "status", "--out", str(results))
    assert "[bold" not in status or "[bold red]x[/] :skull:" in status  # as it is, and no markup
    report = json.loads(output_of(capsys, "status", "--out", str(results), "--format", "json"))
    # The command that it proposes hands the text on as one argument, to no shell but the user's.
    command = report["next"].split(" --out ")[0]
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {command.replace(chr(0), '')}"], capture_output=True, check=True
    ).stdout
    evil = next(iter(report["skipped"]))["reason"].replace("\0", "")
    assert evil.encode() in words.split(b"\0")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_in_progress(evil: str, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    error = {"type": "Error", "message": evil}
    progress.finished(Record(trial(evil), Status.FAILED, error=error))
    said = capsys.readouterr().err
    assert printable(evil).strip() in said
    assert printable(said) == said


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_plugin_names_are_refused(
    folder: Path, evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plugin.py").write_text(
        f"from lnlbench.api import Method\nclass Evil(Method):\n    name = {evil!r}\n", encoding="utf-8"
    )
    Path("grid.toml").write_text(GRID.format(dataset="digits"))
    code = main(["run", "--grid", "grid.toml", "--dry-run", "--plugin", "plugin.py"])
    said = capsys.readouterr().err
    assert code == ExitCode.USAGE
    assert "cannot be the name of a method" in said
    assert printable(said) == said


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_names_in_grids_and_arguments(
    folder: Path, evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for dataset in (evil, f"npz:{evil}"):
        Path("grid.toml").write_text(
            GRID.format(dataset=json.dumps(dataset)[1:-1].replace("\x7f", "\\u007f")), encoding="utf-8"
        )
        for arguments in (["--grid", "grid.toml"], ["--grid", "quickstart", "--set", f"dataset={dataset}"]):
            code = main(["run", *arguments, "--dry-run"])
            captured = capsys.readouterr()
            assert code == ExitCode.USAGE or (code == ExitCode.OK and "missing: " in captured.out)
            assert printable(captured.out + captured.err) == captured.out + captured.err
    # Nothing was made by a name, wherever it points.
    assert {path.name for path in folder.iterdir()} <= {"grid.toml", "cache"}


@pytest.mark.parametrize("name", ["../../escape", "a/b", "..", ".hidden", "a\\b", "x" * 300, "%2e%2e"])
def test_plans_stay_in_their_folder(folder: Path, name: str) -> None:
    store = Store.open(folder / "results", create=True)
    try:
        store.put_plan({"grid": name, "trials": []})
    except LnlbenchError:
        assert store.plans() == {}
    else:
        assert list(store.plans()) == [name]
    inside = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
    assert inside == {"results"}
