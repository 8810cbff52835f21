"""Several runs at once, disks that are full or read-only, interruptions, clocks that jump, crowds."""

import ctypes
import json
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
from results_factory import make_record
from tiny_run import end, wait_for

import lnlbench
from lnlbench.basics import files
from lnlbench.errors import ExitCode
from lnlbench.grids.plan import plan
from lnlbench.records.store import Store
from lnlbench.trials import recording, trial

pytestmark = pytest.mark.timeout(900)  # for a machine that has other work; none takes so long alone

PLUGIN = '''
import resource
import time
from pathlib import Path

from lnlbench.api import Method, functional

HERE = Path(__file__).parent


class Slow(Method):
    """Cross-entropy that rests in its second epoch for as long as the file "pause" says."""

    def epoch(self, phase):
        super().epoch(phase)
        if phase.epoch == 1 and (HERE / "pause").exists():
            (HERE / "reached").touch()
            time.sleep(float((HERE / "pause").read_text()))

    def loss(self, batch):
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)


class Hoards(Method):
    """Cross-entropy that leaves no room on the disk while there is a file "full"."""

    def loss(self, batch):
        if (HERE / "full").exists():
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        return functional.cross_entropy(self.network(batch.inputs), batch.labels)
'''
SLOW = ("--plugin", "plugin.py:Slow", "--set", "method=ce,slow,gce", "--set", "lp.epochs=3")


@pytest.fixture
def plugin(tiny):
    Path("plugin.py").write_text(PLUGIN)
    return tiny


@pytest.fixture
def process():
    """Keep the processes of a test, and kill those that it leaves."""
    started = []

    def keep(it):
        started.append(it)
        return it

    yield keep
    for it in started:
        end(it)


# One folder, one cache


def test_a_second_run_on_one_folder_refuses_and_names_the_first(plugin, process):
    Path("pause").write_text("600")
    first = process(plugin.start(*SLOW))
    wait_for(Path("reached").exists, first)
    code, _, err = plugin.run(*SLOW)
    assert code == ExitCode.USAGE
    assert f"Another run is writing to 'runs/tiny' (process {first.pid} on " in err
    assert plugin.call("status", "--out", "runs/tiny")[0] == ExitCode.OK  # reading is free

    # The lock of a killed run holds nobody, though its files are still there.
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert (plugin.out / ".lock").exists()
    assert json.loads((plugin.out / ".lock.json").read_text())["pid"] == first.pid
    Path("pause").unlink()
    code, _, err = plugin.run(*SLOW)
    assert code == ExitCode.OK, err
    assert "2 trials to run; 1 done" in err
    (record,) = (record for record in Store.open(plugin.out).records() if record.spec.method.name == "slow")
    assert len(record.execution["continued"]) == 1


def test_runs_that_fill_one_cache_at_the_same_time_extract_once(tiny, process, tmp_path):
    tiny.cache = tmp_path / "cold"
    runs = [process(tiny.start("--out", f"out{number}")) for number in range(2)]
    for run in runs:
        _, err = run.communicate(timeout=300)
        assert run.returncode == ExitCode.OK, err
    one, two = (lnlbench.load(f"out{number}").sort_values("trial_id") for number in range(2))
    for column in ("trial_id", "best", "last", "oracle", "layout"):
        assert list(one[column]) == list(two[column])
    # What extraction took is measured by whoever does it, so equal times are those of one extraction.
    assert list(one["features_s"]) == list(two["features_s"])
    assert len(list((tiny.cache / "features").glob("*.npy"))) == 2
    assert not list((tiny.cache / "features").glob("*.part"))


# Places that cannot be written


@pytest.mark.parametrize("option", ["--out", "--cache-dir", "--checkpoints"])
@pytest.mark.parametrize("below", ["", "/folder"])
def test_a_file_where_a_folder_should_be_is_refused_before_training(tiny, option, below):
    Path("file").write_text("")
    code, _, err = tiny.run(option, f"file{below}")
    assert code == ExitCode.USAGE, err
    assert "'file" in err or "/file" in err
    assert "Traceback" not in err
    assert not list(Path().glob("runs/*/trials/*"))


def obey_permissions():
    """Give up what lets root write everywhere; called between fork and exec."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "root cannot be bound by permissions here")


@pytest.fixture
def read_only(tiny):
    """Make folders read-only, and whole again at the end."""
    changed = []

    def change(folder):
        changed.append(folder)
        folder.chmod(0o555)

    yield change
    for folder in changed:
        folder.chmod(0o755)


def test_a_read_only_output_folder_is_refused(tiny, process, read_only):
    tiny.out.mkdir(parents=True)
    read_only(tiny.out)
    run = process(tiny.start(preexec_fn=obey_permissions))
    _, err = run.communicate(timeout=300)
    assert run.returncode == ExitCode.USAGE, err
    assert "'runs/tiny' cannot be used: " in err
    assert "Permission denied" in err


def test_a_read_only_cache_is_used_for_what_is_in_it(tiny, process, read_only, tmp_path):
    tiny.cache = tmp_path / "read-only"
    assert tiny.run("--out", "here")[0] == ExitCode.OK
    for folder in ("features", "calibration"):
        read_only(tiny.cache / folder)
    run = process(tiny.start(preexec_fn=obey_permissions))
    _, err = run.communicate(timeout=300)
    assert run.returncode == ExitCode.OK, err
    undisturbed, tiny.out = tiny.numbers(), Path("here")
    assert tiny.numbers() == undisturbed
    # What is not in it cannot be put there.
    run = process(tiny.start("--set", "train_per_class=9", preexec_fn=obey_permissions))
    _, err = run.communicate(timeout=300)
    assert run.returncode == ExitCode.USAGE, err
    assert "The cache '" in err
    assert "Permission denied" in err


# A full disk; a limit on the size of files stands in for it


def limit_files(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize(
    ("size", "what"),
    [
        (100_000, "The cache '"),
        (50_000, "The checkpoint '"),
        (1_500, "The plan of grid 'tiny' could not"),
    ],
)
def test_a_full_disk_stops_the_run_and_keeps_what_was_saved(tiny, process, tmp_path, size, what):
    if "cache" in what:
        tiny.cache = tmp_path / "cold"
    else:
        assert tiny.run("--where", "method=ce")[0] == ExitCode.OK
    before = tiny.records()
    run = process(tiny.start(preexec_fn=limit_files(size)))
    _, err = run.communicate(timeout=300)
    assert run.returncode == ExitCode.USAGE, err
    assert what in err
    assert "File too large" in err
    assert "Traceback" not in err
    assert tiny.records() == before
    # A run that starts no trial leaves no folder.
    assert not Path(tiny.out).exists() or Store.open(tiny.out).read_all()[1] == []
    code, _, err = tiny.run()
    assert code == ExitCode.OK, err
    assert f"{2 - len(before)} trials to run" in err
    assert {name: tiny.records()[name] for name in before} == before


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_trial_that_cannot_be_saved_stops_the_run(plugin, executor):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    hoards = ("--plugin", "plugin.py:Hoards", "--set", "method=ce,hoards,gce", "--set", "lp.epochs=3")
    Path("full").touch()
    try:
        code, _, err = plugin.run(*hoards, executor=executor)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == ExitCode.USAGE, err
    assert "The checkpoint '" in err
    assert "File too large" in err
    assert "Traceback" not in err
    assert list(plugin.frame()["status"]) == ["done", "pending", "pending"]
    Path("full").unlink()
    code, _, err = plugin.run(*hoards)
    assert code == ExitCode.OK, err
    assert "2 trials to run; 1 done" in err


# Interruptions


@pytest.mark.parametrize(
    ("executor", "number"), [("inline", signal.SIGINT), ("inline", signal.SIGTERM), ("ray", signal.SIGINT)]
)
def test_an_interrupted_run_saves_its_epoch_and_continues(plugin, process, executor, number):
    assert plugin.run(*SLOW, "--out", "undisturbed")[0] == ExitCode.OK
    Path("pause").write_text("5")
    run = process(plugin.start(*SLOW, executor=executor))
    wait_for(Path("reached").exists, run)
    os.killpg(run.pid, number)
    _, err = run.communicate(timeout=300)
    assert run.returncode == ExitCode.INTERRUPTED, err
    assert "Interrupted: finishing and saving the epochs that run." in err
    assert "The same command continues." in err
    assert "Traceback" not in err
    assert plugin.frame()["status"].to_dict() == {"ce": "done", "slow": "pending", "gce": "pending"}
    assert len(list((plugin.out / "checkpoints").glob("*.ckpt"))) == 1
    before = plugin.records()

    # The pause is in the epoch that was saved: had it been lost, this would reach it again.
    Path("reached").unlink()
    code, _, err = plugin.run(*SLOW)
    assert code == ExitCode.OK, err
    assert "2 trials to run; 1 done" in err
    assert not Path("reached").exists()
    assert {name: plugin.records()[name] for name in before} == before
    assert not list((plugin.out / "checkpoints").iterdir())
    continued = {row["trial_id"]: row for row in plugin.numbers()}
    plugin.out = Path("undisturbed")
    assert continued == {row["trial_id"]: row for row in plugin.numbers()}


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_run_that_is_interrupted_twice_stops_at_once(plugin, process, executor):
    Path("pause").write_text("600")
    run = process(plugin.start(*SLOW, executor=executor))
    wait_for(Path("reached").exists, run)
    os.killpg(run.pid, signal.SIGINT)
    # The flag for workers says that the first one was noticed; two at once may become one.
    wait_for(lambda: list((plugin.out / "checkpoints").glob(".stop-*")), run)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=300)
    assert run.returncode == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert plugin.frame()["status"].to_dict() == {"ce": "done", "slow": "pending", "gce": "pending"}
    Path("pause").unlink()
    code, _, err = plugin.run(*SLOW)
    assert code == ExitCode.OK, err
    assert "2 trials to run; 1 done" in err


# Clocks and crowds


def test_clocks_that_jump_change_no_duration(tiny, monkeypatch):
    draw = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: draw.uniform(0, 4e9))
    years = iter(["2031", "1970", "2100", "2001"] * 10)
    for module in (trial, recording):  # a trial's start and its end
        monkeypatch.setattr(module, "now", lambda: f"{next(years)}-01-01T00:00:00+00:00")
    started = time.monotonic()
    code, out, err = tiny.run()
    elapsed = time.monotonic() - started
    assert code == ExitCode.OK, err
    for record in Store.open(tiny.out).records():
        durations = [value for name, value in record.times.items() if name.endswith("_s")]
        durations += [entry[name] for entry in record.history for name in ("train_s", "eval_s")]
        # Features may have been extracted by an earlier run, in as honest a time.
        assert all(0 <= value < max(elapsed, record.times["features_s"] + 1) for value in durations)
    assert "stale" not in out
    assert "0 trials to run; 2 done" in tiny.run()[2]


CROWD = 10_000


@pytest.mark.timeout(240)  # a minute or so on a slow machine; quadratic work would take hours
def test_ten_thousand_records_are_no_trouble(tiny, monkeypatch):
    seeds = ("--seeds", f"0-{CROWD // 2 - 1}")
    planned = plan("tiny.toml", seeds=seeds[1])
    store = Store.open(tiny.out, create=True)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda _: None)
        store.put_plan(planned.to_dict())
        for item in planned.planned[:-1]:
            store.put(make_record(item.spec, plugin={}, data={}, environment={}))
    code, out, _ = tiny.call("status", "--out", "runs/tiny", "--format", "json")
    assert code == ExitCode.OK
    assert json.loads(out)["grids"]["tiny"] == {"done": CROWD - 1, "failed": 0, "skipped": 0, "pending": 1}
    code, out, _ = tiny.call("table", "--out", "runs/tiny")
    assert code == ExitCode.INCOMPLETE
    assert f"1 of {CROWD // 2} seeds pending" in out
    code, out, _ = tiny.run(*seeds, "--dry-run")
    assert code == ExitCode.OK
    assert f"{CROWD} trials: {CROWD - 1} done, 0 failed, 1 to run" in out
    code, _, err = tiny.run(*seeds)
    assert code == ExitCode.OK
    assert f"1 trials to run; {CROWD - 1} done" in err


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--seeds", "0-99999"], "200,000 trials"),
        (["--seeds", "0-999999999999"], "1,000,000,000,000"),
        (["--seeds", "0-60000,60001-99999", "--set", "tuning=lp,fft,lp-fft"], "600,000 trials"),
    ],
)
def test_an_absurd_grid_is_refused_with_its_count(tiny, options, count):
    for more in ([], ["--dry-run"]):
        code, _, err = tiny.run(*options, *more)
        assert code == ExitCode.USAGE
        assert count in err
        assert "100,000" in err
    assert not Path("runs").exists()
