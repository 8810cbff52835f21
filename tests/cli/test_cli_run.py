"""The real command on small real data: run, continue, fail, and refuse bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import given_plugins
import numpy as np
import pytest
from small_grid import SMALL_GRID

import lnlbench
from lnlbench.cli import main
from lnlbench.errors import ExitCode
from lnlbench.noise import save_noise_file
from lnlbench.plugins import registry
from lnlbench.spec import DatasetSpec, NoiseSpec


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache, monkeypatch, capsys):
    """Call `lnlbench run` on the small grid; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNLBENCH_DATA", raising=False)
    Path("small.toml").write_text(SMALL_GRID)

    def call(*options, executor="inline", grid="small.toml"):
        given_plugins.forget()
        arguments = ["run", "--grid", grid, "--cache-dir", str(cache), "--cpus-per-trial", "1"]
        code = main([*arguments, "--executor", executor, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_run_ends_with_the_table_and_the_next_command(run):
    code, out, err = run()
    assert code == ExitCode.OK
    assert "2 trials to run" in err
    assert "[2/2]" in err
    table = out.splitlines()
    assert any(line.split()[:2] == ["LP", "CE"] for line in table)
    assert table[-1] == "Records are in runs/small. Next: lnlbench table --out runs/small --format latex"


def test_a_second_run_does_nothing_and_changes_nothing(run):
    run()
    before = {path: path.read_bytes() for path in Path("runs/small/trials").iterdir()}
    code, _out, err = run()
    assert code == ExitCode.OK
    assert "0 trials to run; 2 done" in err
    assert {path: path.read_bytes() for path in Path("runs/small/trials").iterdir()} == before


def test_runs_of_parts_of_a_grid_add_up(run):
    run("--where", "method=ce")
    code, _out, _ = run("--where", "method=gce", "--seeds", "0-1")
    assert code == ExitCode.OK
    frame = lnlbench.load("runs/small")
    assert sorted(zip(frame["method"], frame["seed"], strict=True)) == [("ce", 0), ("gce", 0), ("gce", 1)]
    assert set(frame["status"]) == {"done"}
    assert set(frame["noise"]) == {"symmetric"}
    assert (frame["realised_rate"] > 0.1).all()


def test_determinism_and_precision_are_in_the_records(run):
    code, _, _ = run("--deterministic", "--set", "precision=fp32", "--where", "method=ce")
    assert code == ExitCode.OK
    (trial,) = lnlbench.load("runs/small").to_dict("records")
    assert (trial["deterministic"], trial["precision"]) == (True, "fp32")
    code, _, err = run("--set", "precision=tf32", "--out", "other")
    assert code == ExitCode.USAGE
    assert "precision is 'tf32': that is a precision of NVIDIA's GPUs" in err
    assert not Path("other").exists()


def test_ray_and_inline_give_the_same_numbers(run):
    run("--out", "one")
    code, _, err = run("--out", "two", "--jobs", "2", executor="ray")
    assert code == ExitCode.OK, err
    columns = ["trial_id", "best", "last", "oracle", "head_backward", "realised_rate"]
    one, two = (lnlbench.load(folder).sort_values("trial_id")[columns] for folder in ("one", "two"))
    assert one.to_dict("list") == two.to_dict("list")


PLUGIN = """
import os
from lnlbench.api import Method, functional

class Fragile(Method):
    '''Cross-entropy that breaks as the environment says.'''

    def loss(self, batch):
        if os.environ.get("FRAGILE") == "raise":
            raise RuntimeError("glass jaw")
        if os.environ.get("FRAGILE") == "die":
            os._exit(7)
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
"""


@pytest.mark.parametrize(("harm", "executor"), [("raise", "inline"), ("raise", "ray"), ("die", "ray")])
def test_a_failed_trial_is_a_record_and_the_others_go_on(run, monkeypatch, harm, executor):
    Path("fragile.py").write_text(PLUGIN)
    options = ["--plugin", "fragile.py", "--set", "method=fragile,gce"]
    monkeypatch.setenv("FRAGILE", harm)
    code, out, err = run(*options, executor=executor)
    assert code == ExitCode.INCOMPLETE
    frame = lnlbench.load("runs/small").set_index("method")
    assert frame["status"].to_dict() == {"fragile": "failed", "gce": "done"}
    reason = {"raise": "RuntimeError: glass jaw", "die": "WorkerDied"}[harm]
    assert reason in frame.loc["fragile", "error"]
    assert "1 trials failed" in out
    assert "lnlbench status" in out
    # Kept as it is until asked for, then repaired.
    monkeypatch.delenv("FRAGILE")
    assert run(*options)[0] == ExitCode.INCOMPLETE
    code, _, err = run(*options, "--retry", "failed")
    assert code == ExitCode.OK
    assert "1 trials to run; 1 done" in err


def test_changed_code_makes_records_stale_and_says_so(run):
    Path("fragile.py").write_text(PLUGIN)
    options = ["--plugin", "fragile.py", "--set", "method=fragile,gce"]
    run(*options)
    Path("fragile.py").write_text(PLUGIN.replace("glass jaw", "glass chin"))
    code, _, err = run(*options)
    assert code == ExitCode.OK
    assert "1 record is stale: method changed (fragile): " in err
    assert "1 trials to run" in run(*options, "--retry", "stale")[2]


def test_a_folder_with_records_of_a_plugin_can_be_used_without_it(run):
    Path("fragile.py").write_text(PLUGIN)
    run("--plugin", "fragile.py", "--set", "method=fragile")
    assert run("--where", "method=ce")[0] == ExitCode.OK


def test_a_killed_run_continues_where_it_stopped(tmp_path, cache):
    (tmp_path / "small.toml").write_text(SMALL_GRID)
    command = [sys.executable, "-m", "lnlbench", "run", "--grid", "small.toml", "--cache-dir", str(cache)]
    command += ["--executor", "inline", "--cpus-per-trial", "1", "--seeds", "0-9", "--set", "lp.epochs=40"]
    trials = tmp_path / "runs" / "small" / "trials"

    def finished():
        return (
            {path.name: path.stat().st_mtime_ns for path in trials.glob("*.json")} if trials.exists() else {}
        )

    victim = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(finished()) < 3 and time.monotonic() < deadline:
        assert victim.poll() is None, victim.stderr.read().decode()
        time.sleep(0.01)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stderr.close()
    before = finished()
    assert 3 <= len(before) < 20
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == ExitCode.OK, done.stderr
    assert f"{20 - len(before)} trials to run; {len(before)} done" in done.stderr
    assert {name: finished()[name] for name in before} == before
    assert set(lnlbench.load(tmp_path / "runs" / "small")["status"]) == {"done"}


def test_a_dry_run_shows_the_plan_and_writes_nothing(run):
    code, out, _ = run("--dry-run", "--set", "tuning=lp,fft", "--set", "method=ce,dividemix")
    assert code == ExitCode.OK
    assert "4 trials: 0 done, 0 failed, 4 to run" in out
    assert "unit" in out
    assert not Path("runs").exists()


def test_a_dry_run_says_what_is_missing(run):
    code, out, _ = run("--dry-run", "--set", "dataset=cifar10")
    assert code == ExitCode.OK
    assert "missing: " in out
    assert "lnlbench data fetch cifar10" in out


def test_filters_that_leave_nothing_have_an_exit_code_of_their_own(run):
    code, _, err = run("--where", "tuning=lp", "--where", "method=turn", grid="quickstart")
    assert code == ExitCode.NOTHING_SELECTED
    assert "method=turn" in err


def npz(path, **arrays):
    base = {
        "x_train": np.zeros((20, 8, 8, 3), np.uint8),
        "y_train": np.arange(20) % 2,
        "x_test": np.zeros((4, 8, 8, 3), np.uint8),
        "y_test": np.arange(4) % 2,
    }
    np.savez(path, **(base | arrays))


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--set", "method=turm"], 2, "Did you mean 'turn'"),
        (["--set", "backbone=efficientnet_lite"], 2, "mean 'efficientnet_lite0' or 'efficientnet_lite2'?"),
        (["--set", "dataset=digit"], 2, "Did you mean 'digits'"),
        (["--set", "noise=symetric-0.4"], 2, "Did you mean 'symmetric'"),
        (["--set", "noise=symmetric-40"], 2, "a share, not a percentage"),
        (["--set", "lp.epoch=3"], 2, "Did you mean 'lp.epochs'"),
        (["--set", "lp.epochs=many"], 2, "lp.epochs"),
        (["--set", "methods.gce.qq=1.0"], 2, "no parameter 'qq'"),
        (["--set", "methods.gce.q=true"], 2, "a bool"),
        (["--set", "noise=asymmetric-0.4", "--set", "noise_options.asymmetric.map=superclass"], 2, "map"),
        (["--set", "dataset=cifar10"], 2, "lnlbench data fetch cifar10"),
        (["--set", "dataset=npz:nowhere.npz"], 2, "nowhere.npz"),
        (["--set", "backbone=timm:resnet18", "--set", "weights=pretrained"], 2, "resnet18"),
        (["--set", "dataset=features:x.npz", "--set", "tuning=fft"], 2, "cannot be fine-tuned"),
        (["--where", "method=turn"], 2, "turn"),
        (["--where", "metod=ce"], 2, "Did you mean 'method'"),
        (["--where", "seed=5"], 2, "no seed '5'"),
        (["--seeds", "x"], 2, "seeds"),
        (["--jobs", "2"], 2, "one trial at a time"),
        (["--plugin", "nowhere.py"], 2, "nowhere.py"),
        (["--dry"], 2, "--dry-run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_refused_before_any_work(run, options, code, says):
    found, _, err = run(*options)
    assert (found, "Traceback" in err) == (code, False), err
    assert says in err
    assert not list(Path().glob("runs/*/trials/*"))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x_train": np.array([None] * 20, dtype=object)}, "x_train"),
        ({"y_train": np.arange(19) % 2}, "y_train"),
        ({"x_train": np.zeros((20, 8, 8, 3))}, "uint8"),
    ],
    ids=["objects", "lengths", "type"],
)
def test_arrays_that_cannot_be_used_are_refused(run, arrays, says):
    npz("mine.npz", **arrays)
    code, _, err = run("--set", "dataset=npz:mine.npz")
    assert (code, "Traceback" in err) == (ExitCode.USAGE, False)
    assert says in err
    assert "mine.npz" in err


def test_a_folder_of_another_version_is_refused_and_left_alone(run):
    run("--where", "method=ce")
    marker = Path("runs/small/lnlbench.json")
    marker.write_text(json.dumps({"format": 99, "created_by": "lnlbench 9.0"}))
    code, _, err = run()
    assert code == ExitCode.USAGE
    assert "lnlbench 9.0" in err
    assert len(list(Path("runs/small/trials").iterdir())) == 1


def test_a_damaged_record_is_moved_aside_and_run_again(run):
    run()
    path = sorted(Path("runs/small/trials").glob("*.json"))[0]
    path.write_bytes(path.read_bytes()[:-20])
    code, _, err = run()
    assert code == ExitCode.OK
    assert path.name in err
    assert "1 trials to run; 1 done" in err
    assert (Path("runs/small/damaged") / path.name).exists()


@pytest.mark.parametrize("option", ["--dry-run", "--retry=all"])
def test_a_noise_file_that_does_not_fit_is_found_before_any_work(run, option):
    clean = (
        registry.datasets().load("digits")().load(DatasetSpec("digits", train_per_class=8), None).train.labels
    )
    other = np.roll(clean, 1)  # as many labels of as many classes
    spec = NoiseSpec("symmetric", 0.4)
    save_noise_file(Path("n.npz"), other, other, spec=spec, dataset="digits", classes=10, seed=0)
    code, _, err = run("--set", "noise=file:n.npz", option)
    assert (code, "does not belong to these data" in err) == (ExitCode.USAGE, True), err
    assert not list(Path().glob("runs/*/trials/*"))


def test_a_data_set_of_features_is_probed_without_a_backbone(run):
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (np.eye(3)[labels] * 4 + random.normal(size=(60, 3))).astype(np.float32)
    np.savez("mine.npz", x_train=features, y_train=labels, x_test=features, y_test=labels)
    sets = ["--set", "dataset=features:mine.npz", "--set", "noise=none"]
    sets += ["--set", "train_per_class=none", "--set", "test_per_class=none", "--set", "lp.epochs=30"]
    code, _, err = run(*sets)
    assert code == ExitCode.OK, err
    frame = lnlbench.load("runs/small").set_index("method")
    assert frame.loc["ce", "last"] > 80
    assert frame.loc["ce", "dataset"] == "features:mine.npz"
    assert frame["backbone"].isna().all()
    assert frame.loc["ce", "realised_rate"] == 0


def test_an_unexpected_error_leaves_a_log_and_exits_with_3(capsys, monkeypatch, tmp_path):
    import lnlbench.cli.status as status

    def broken(*_):
        raise ZeroDivisionError("for the test")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(status, "resolve_out", broken)
    assert main(["status"]) == ExitCode.INTERNAL
    assert "Internal error: ZeroDivisionError" in capsys.readouterr().err
    (log,) = tmp_path.glob("lnlbench-error-*.log")
    assert "Traceback" in log.read_text()
