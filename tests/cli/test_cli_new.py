"""lnlbench new: what it writes works as it stands."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lnlbench.api import Method
from lnlbench.cli import main
from lnlbench.conformance import check_method
from lnlbench.errors import ExitCode
from lnlbench.plugins import registry
from lnlbench.plugins.templates import render


def test_a_new_method_installs_and_passes_the_test_that_comes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("setuptools", reason="builds the plugin without isolation, for want of a network")
    source, site = tmp_path / "source", tmp_path / "site"
    assert main(["new", "method", "my_2nd_loss", "--dir", str(source)]) == ExitCode.OK
    assert f"lnlbench check {source / 'lnlbench_my_2nd_loss.py'}" in capsys.readouterr().out
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)], check=True
    )
    monkeypatch.syspath_prepend(site)
    assert registry.methods().entry("my_2nd_loss").origin == "lnlbench-my-2nd-loss 0.1.0"
    spec = importlib.util.spec_from_file_location("generated", source / "tests" / "test_my_2nd_loss.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.test_keeps_the_rules_of_the_suite()


def test_the_name_is_the_same_when_the_file_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "method", "a_1b"]) == ExitCode.OK
    assert registry.methods().add_path("lnlbench-a-1b/lnlbench_a_1b.py").name == "a_1b"


def test_the_code_is_formatted_as_ours() -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is not installed")
    options = ["format", "--line-length", "110", "--isolated", "--check", "-"]
    for kind in ("method", "backbone", "dataset"):
        for path, text in render(kind, "my_plugin").items():
            if path.endswith(".py"):
                subprocess.run([ruff, *options], input=text, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["backbone", "dataset"])
def test_a_new_backbone_and_a_new_data_set_keep_the_rules(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, "my_thing"]) == ExitCode.OK
    (line,) = re.findall(r"lnlbench check .*", capsys.readouterr().out)
    assert main(line.split()[1:]) == ExitCode.OK
    setup = (tmp_path / "lnlbench-my-thing" / "setup.cfg").read_text()
    assert f"lnlbench.{kind}s =\n    my_thing = lnlbench_my_thing:MyThing" in setup


@pytest.mark.parametrize("name", ["My", "my-loss", "2nd", "my__loss", "_my", "my_", ""])
def test_names_that_cannot_be(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "method", "--dir", str(tmp_path / "x"), "--", name]) == ExitCode.USAGE
    assert "cannot be the name of a method" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_name_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "method", "ce", "--dir", str(tmp_path)]) == ExitCode.USAGE
    assert "The method name 'ce' is taken by lnlbench" in capsys.readouterr().err


def test_a_folder_with_something_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").touch()
    assert main(["new", "method", "my_loss", "--dir", str(tmp_path)]) == ExitCode.USAGE
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["new", "method", "my_loss", "--dir", str(tmp_path / "file" / "x")]) == ExitCode.USAGE
    assert "cannot be written: Not a directory." in capsys.readouterr().err


def test_the_template_shows_every_hook_that_there_is() -> None:
    text = render("method", "my_method")["lnlbench_my_method.py"]
    shown = set(re.findall(r"^    (?:# )?(?:def |class )?(\w+)\b(?:\(.*:| *=|:)", text, re.MULTILINE))
    hooks = {name for name in vars(Method) if not name.startswith("_")}
    # Resolving parameters is not for overriding, and Heads is a type; the other half of state_dict goes
    # without saying.
    assert hooks - {"resolve", "create", "load_state_dict", "Heads"} <= shown
    assert shown <= hooks | {"name"}


def test_the_commented_hooks_of_the_template_work(tmp_path: Path) -> None:
    head, _, hooks = render("method", "my_method")["lnlbench_my_method.py"].partition("lnlbench.api:\n")
    head = re.sub(r"(?m)^from lnlbench.api import .*$", "from lnlbench.api import *", head)
    lines = (line[4:].removeprefix("#").removeprefix(" ") for line in hooks.splitlines())
    code = [f"    {line}" for line in lines if "every attribute is saved" not in line]
    path = tmp_path / "hooks.py"
    path.write_text("\n".join([head, *code]), encoding="utf-8")
    report = check_method(str(path))
    assert report.passed, report
    assert report.method == "my_method"
