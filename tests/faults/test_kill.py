"""Killed at any instant, a run continues: nothing is lost, nothing is run twice, nothing changes."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from killable import EVERY_METHOD, Run, descendants, is_running, kill_all
from tiny_run import wait_for

from lnlbench.errors import ExitCode
from lnlbench.records.record import Status

KILLS = int(os.environ.get("LNLBENCH_KILLS", "20"))
NOISE = ["symmetric-0.4", "asymmetric-0.3"][: 1 if KILLS < 10 else 2]  # few kills need few trials
TRIALS = 20 * len(NOISE)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def grid():
    return EVERY_METHOD.replace('["symmetric-0.4"]', json.dumps(NOISE))


@pytest.fixture(scope="module")
def undisturbed(grid, cache, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("undisturbed"), grid, cache)
    done = run.complete("--executor", "inline", timeout=900)
    assert done.returncode == ExitCode.OK, done.stderr
    assert len(run.records()) == TRIALS
    return run


def finished_files(run):
    trials = run.out / "trials"
    return {path.name: path.stat().st_mtime_ns for path in trials.glob("*.json")} if trials.exists() else {}


def progress_files(run):
    """What trials leave while they run: another value means that one has gone on."""
    folder = run.out / "checkpoints"
    saved = {}
    for path in folder.glob("*.ckpt") if folder.exists() else ():
        with suppress(FileNotFoundError):  # its trial is done
            saved[path.name] = path.stat().st_mtime_ns
    return saved, finished_files(run)


@pytest.mark.timeout(1500)
def test_a_run_that_is_killed_at_random_instants(undisturbed, grid, cache, tmp_path, record_property):
    """kill -9 of driver, Ray and workers; each time the same command continues."""
    instants = random.Random(20)
    run = Run(tmp_path, grid, cache)
    kills = in_flight = 0
    saved: dict[str, int] = {}  # trials that were unfinished at some kill, with their epochs then
    while kills < KILLS:
        before, seen = finished_files(run), progress_files(run)
        process = run.start()
        # A quarter of the kills hit the start of Ray, which takes seconds; the others come when
        # trials are under way, at any instant of some of their epochs.
        if kills % 4 == 0:
            wait = instants.uniform(0.5, 8.0)
        else:
            wait = instants.uniform(0.0, 5.0)
            while progress_files(run) == seen and process.poll() is None:
                time.sleep(0.005)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        if process.poll() is not None:
            break  # all trials are done
        kill_all(process)
        kills += 1
        after = finished_files(run)
        assert before.items() <= after.items(), "a finished trial was run again"
        unfinished = run.checkpoints() - run.records().keys()
        in_flight += bool(unfinished)
        for trial in unfinished:
            saved[trial] = saved.get(trial, 0) + 1
    before = finished_files(run)
    last = run.complete(timeout=900)
    assert last.returncode == ExitCode.OK, last.stderr
    assert before.items() <= finished_files(run).items()

    pd.testing.assert_frame_equal(run.export(), undisturbed.export())
    records = run.records()
    assert len(records) == TRIALS
    for trial in saved:
        # One entry per process that the trial went through before the one that finished it.
        assert records[trial].execution["continued"], f"{records[trial].spec.describe()} began again"
    assert run.checkpoints() == set()
    assert kills >= KILLS // 2, "the run was too short to be killed often"
    assert in_flight >= kills // 4, "the kills hit too few trials"
    record_property("kills", kills)
    record_property("continued", len(saved))
    print(f"{kills} kills, {in_flight} of them with an unfinished trial, {len(saved)} trials continued")


@pytest.mark.timeout(600)
def test_at_most_one_epoch_is_lost(cache, tmp_path):
    """The epochs before a kill are not trained again: their times in the record are those of before."""
    one = EVERY_METHOD.replace(
        '"ce", "gce", "elr", "elr_plus", "dividemix", "unicon", "turn"', '"dividemix"'
    ).replace("epochs = 2", "epochs = 30")
    run = Run(tmp_path, one, cache, ["--executor", "inline", "--where", "tuning=fft"])
    process = run.start()
    deadline = time.monotonic() + 240
    expected = None
    while expected is None:
        assert time.monotonic() < deadline
        assert process.poll() is None, (tmp_path / "stderr.txt").read_text()
        for trial in run.checkpoints():
            state = read_state(run, trial)
            if state is not None and len(state["history"]) >= 3:
                expected = trial
        time.sleep(0.02)
    kill_all(process)
    history = read_state(run, expected)["history"]
    assert run.complete().returncode == ExitCode.OK
    record = run.records()[expected]
    assert len(record.history) == 30
    # Bit for bit, seconds included: these epochs are those that were saved. (What is measured by class lies
    # beside the record.)
    for kept, saved in zip(record.history, history, strict=False):
        assert dict(kept) == {name: saved[name] for name in kept}
    assert {"loss", "validation", "test", "train_s", "eval_s"} <= set(record.history[0])


def read_state(run, trial):
    from lnlbench.basics.files import Damaged
    from lnlbench.trials.checkpoint import read

    content = read(run.out / "checkpoints" / f"{trial}.ckpt")
    return None if isinstance(content, Damaged) else content["state"]


@pytest.mark.timeout(300)
def test_workers_do_not_outlive_their_driver(cache, tmp_path):
    """When the driver alone is killed, its workers end, and leave the folder to the next run."""
    run = Run(tmp_path, EVERY_METHOD, cache)
    process = run.start()
    wait_for(lambda: run.checkpoints() or run.records(), process, 120)
    workers = {pid for pid in descendants(process.pid) if is_training(pid)}
    assert workers
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while alive := {pid for pid in workers if is_running(pid)}:
        assert time.monotonic() < deadline, f"{alive} are still there"
        time.sleep(0.1)


def is_training(pid):
    """Whether a process is a worker that Ray has given a trial to; it says so in its title."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ImplicitFunc")
    except OSError:
        return False


# As on a machine with GPUs, where extraction runs in processes of its own.
EXTRACTS_IN_ACTORS = """
import sys
from lnlbench.cli import main
from lnlbench.running import session
session._in_actors = lambda job: True
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.timeout(600)
def test_a_driver_that_is_killed_while_actors_extract(tmp_path):
    run = Run(
        tmp_path, EVERY_METHOD, tmp_path / "cache", ["--where", "tuning=lp", "--where", "method=ce,unicon"]
    )
    run.command[1:3] = ["-c", EXTRACTS_IN_ACTORS]
    features = tmp_path / "cache" / "features"
    process = run.start()
    wait_for(lambda: list(features.glob("*.npy")), process)
    actors = {pid for pid in descendants(process.pid) if is_extracting(pid)}
    assert actors
    os.kill(process.pid, signal.SIGKILL)  # the driver alone
    process.wait()
    deadline = time.monotonic() + 60
    while alive := {pid for pid in actors if is_running(pid)}:
        assert time.monotonic() < deadline, f"{alive} are still there"
        time.sleep(0.1)
    kept = {path.name: path.stat().st_mtime_ns for path in features.glob("*.npy")}
    done = run.complete(timeout=400)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "Traceback" not in done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in features.glob("*.npy")}
    assert kept.items() <= after.items(), "features were extracted twice"
    assert {record.status for record in run.records().values()} == {Status.DONE}


def is_extracting(pid):
    """Whether a process is an actor that extracts features."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::_Extractor")
    except OSError:
        return False
