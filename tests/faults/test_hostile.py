"""Hostile grids, environments and shell syntax."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import GRID, trial
from results_factory import make_plan

from lnlbench.basics.printable import printable
from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.records.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LNLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "sparse", "link in a circle", "secret"])
def test_grids_that_are_no_files(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("grid.toml")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "secret":
        path.symlink_to("/proc/self/environ")
    else:
        path.symlink_to(path)
    assert main(["run", "--grid", "grid.toml", "--dry-run"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert len(said) < 2000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LNLBENCH_CACHE", "/dev/null"),
        ("LNLBENCH_CACHE", "~no-such-user/cache"),
        ("LNLBENCH_CACHE", "a" * 5000),
        ("LNLBENCH_CACHE", "\x1b[31m"),
        ("LNLBENCH_DATA", "~no-such-user"),
        ("LNLBENCH_DATA", "a" * 5000),
        ("LNLBENCH_DATA", "\x1b[31m"),
        ("LNLBENCH_DATA", "\udcff"),
        ("COLUMNS", "many"),
        ("COLUMNS", "-1"),
        ("TERM", "\x1b[31m"),
        ("FORCE_COLOR", "\x1b"),
    ],
)
def test_environment_variables(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    Path("grid.toml").write_text(GRID.format(dataset="cifar10"))
    for arguments in (
        ["run", "--grid", "grid.toml", "--dry-run"],
        ["run", "--grid", "grid.toml"],
        ["list", "noise"],
    ):
        code = main(arguments)
        captured = capsys.readouterr()
        assert code in (ExitCode.OK, ExitCode.USAGE), captured.err
        assert printable(captured.out + captured.err) == captured.out + captured.err
        assert "Traceback" not in captured.err


def test_a_terminal_without_unicode(folder: Path) -> None:
    store = Store.open("results", create=True)
    spec = trial("ce")
    store.put_plan(make_plan([spec], {spec.trial_id: "größer ±1"}))
    done = subprocess.run(
        [sys.executable, "-m", "lnlbench", "status", "--out", "results"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    assert b"gr\\xf6\\xdfer \\xb11" in done.stdout


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node) for node in found]


def test_no_shell_no_code_and_no_pickle_is_made_of_text() -> None:
    """What could run text is called nowhere, and what could be told to is told not to."""
    forbidden = {"eval", "exec", "compile", "os.system", "os.popen", "pty.spawn", "__import__"}
    for path in sorted([*ROOT.glob("lnlbench/**/*.py"), *ROOT.glob("methods/**/*.py")]):
        for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert name not in forbidden, where
            if name == "pickle.dumps" and path.name == "standin_labels.py":
                continue  # writes a file like the authors', which the suite never unpickles
            assert name.split(".")[0] not in ("pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"), (
                where
            )
            assert "shell" not in given, where
            if name.startswith("subprocess."):
                assert isinstance(call.args[0], ast.List), where
            if name == "torch.load":
                assert given.get("weights_only") == "True", where
            if name in ("np.load", "numpy.load", "npy.read_array"):
                assert given.get("allow_pickle") == "False", where
            if name.endswith("from_pretrained"):
                assert given.get("trust_remote_code") == "False", where


def test_names_with_shell_syntax_run_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "$(touch pwned);touch pwned`touch pwned`|touch pwned&.toml"
    Path(name).write_text(GRID.format(dataset="digits"))
    code = main(["run", "--grid", name, "--dry-run", "--out", f"{name} out"])
    assert code == ExitCode.OK, capsys.readouterr().err
    assert main(["status", "--grid", name]) == ExitCode.USAGE
    assert [path.name for path in folder.iterdir() if path.name != "cache"] == [name]
