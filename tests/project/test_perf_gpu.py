"""The GPU's acceptance runs on a CPU, at sizes that measure nothing; what needs CUDA says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lnlbench.benchmarks.perf.gpu import command
from lnlbench.benchmarks.perf.gpu.bench import Bench, NeedsCUDAError
from lnlbench.benchmarks.perf.gpu.processes import run_part

NEED_CUDA = {"machine", "syncs", "memory"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("gpu") / "report.json"
    arguments = ["gpu", "--quick", "--device", "cpu", "--json", str(file)]
    process = subprocess.run(
        [sys.executable, "-m", "lnlbench.benchmarks.perf", *arguments], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_every_part_passes_or_needs_cuda(report: dict[str, Any]) -> None:
    assert list(report["parts"]) == list(command.PARTS)
    statuses = {name: part["status"] for name, part in report["parts"].items()}
    assert statuses == {name: "needs CUDA" if name in NEED_CUDA else "passed" for name in statuses}


def test_the_environment_is_described(report: dict[str, Any]) -> None:
    assert (report["device"], report["quick"]) == ("cpu", True)
    assert report["environment"]["versions"].keys() >= {"torch", "timm", "transformers"}


def test_the_cpu_agrees_with_itself_exactly(report: dict[str, Any]) -> None:
    rows = {row["cell"]: row for row in report["parts"]["agree"]["rows"]}
    assert {"ce lp", "ce fft", "unicon lp-fft", "resized on the device"} <= rows.keys()
    assert all(value == 0.0 for row in rows.values() if "loss" in row for value in row["loss"].values())


def test_faults_are_recorded_and_the_trials_after_them_done(report: dict[str, Any]) -> None:
    rows = {row["fault"]: row for row in report["parts"]["faults"]["rows"]}
    assert rows["asserts_on_the_device"]["becomes"].startswith("failed: index")
    assert rows["runs_out_of_memory"]["becomes"].startswith("failed: ")
    assert rows["sets_switches"]["becomes"] == "done"
    assert all(row["after"] == ["done", "done"] for row in rows.values())


def sound(bench: Bench) -> None:
    bench.row(name="a", value=1.5)
    bench.check("it holds", True)


def unsound(bench: Bench) -> None:
    bench.row(name="a", value=1.5)
    bench.check("it holds", False, "1 > 0")


def raising(bench: Bench) -> None:
    bench.row(name="a", value=1.5)
    raise RuntimeError("broken")


def ending(bench: Bench) -> None:
    bench.row(name="a", value=1.5)
    os._exit(7)


def needy(bench: Bench) -> None:
    bench.row(name="a", value=1.5)
    raise NeedsCUDAError("a queue")


def slow(bench: Bench) -> None:
    bench.row(name="a", value=1.5)
    bench.in_time("the rest", needed=bench.seconds + 1.0)


@pytest.mark.parametrize(
    ("function", "status", "said"),
    [
        (sound, "passed", None),
        (unsound, "failed", None),
        (raising, "failed", "RuntimeError: broken"),
        (ending, "failed", "Its process ended with exit code 7."),
        (needy, "needs CUDA", None),
        (slow, "unfinished", None),
    ],
)
def test_what_becomes_of_a_part(function: Any, status: str, said: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: these use none
        found = run_part(function, "cpu", False, 60.0)
    assert found["status"] == status
    assert found["rows"] == [{"name": "a", "value": 1.5}]  # what it had said by then is kept
    assert said is None or said in found["error"]


@pytest.mark.parametrize(
    ("status", "code"), [("passed", 0), ("needs CUDA", 0), ("failed", 1), ("unfinished", 1)]
)
def test_exit_code_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, code: int) -> None:
    part = {
        "status": status,
        "seconds": 1.0,
        "rows": [{"cpu": "x"}],
        "checks": [],
        "notes": [],
        "error": None,
    }
    monkeypatch.setattr("lnlbench.benchmarks.perf.gpu.processes.run_part", lambda *_: dict(part))
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # the command sets both
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    file = tmp_path / "r.json"
    done = CliRunner().invoke(
        command.main,
        ["--quick", "--device", "cpu", "--part", "scale", "--part", "files", "--json", str(file)],
    )
    assert done.exit_code == code
    assert [each["status"] for each in json.loads(file.read_text())["parts"].values()] == [status] * 2


def test_without_a_gpu_it_says_how_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"rows": [{"gpu": None}], "error": None}
    monkeypatch.setattr("lnlbench.benchmarks.perf.gpu.processes.run_part", lambda *_: nothing)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    done = CliRunner().invoke(command.main, [])
    assert done.exit_code == 1
    assert "--device cpu --quick" in done.output


def test_the_table_names_what_does_not_hold() -> None:
    part = {
        "question": "is it so?",
        "status": "failed",
        "seconds": 2.0,
        "rows": [],
        "checks": [{"what": "a", "ok": True, "detail": ""}, {"what": "b", "ok": False, "detail": "2 > 1"}],
        "notes": [],
        "error": None,
    }
    environment = {"gpu": "A GPU", "cpu": "A CPU", "versions": {"torch": "2.0"}}
    text = command.render(
        {"device": "cuda", "quick": False, "environment": environment, "parts": {"x": part}}
    )
    machine, _, line, broken = text.splitlines()
    assert machine == "A GPU, torch 2.0"
    assert line.split() == ["x", "failed", "1/2", "0", "2.0", "is", "it", "so?"]
    assert broken.strip() == "✗ b: 2 > 1"
