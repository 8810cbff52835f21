"""A run on several nodes: no shared folder is needed, and a lost node takes little with it."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from killable import EVERY_METHOD, Run, descendants
from tiny_run import wait_for

from lnlbench.basics.files import Damaged
from lnlbench.errors import ExitCode
from lnlbench.trials import checkpoint

pytestmark = pytest.mark.timeout(900)

# A mount that nobody else sees hides the folders of the driver from a node, as another machine would.
HIDE = 'for folder in $HIDDEN; do mount -t tmpfs none "$folder" || exit; done; exec "$@"'


class Cluster:
    """Ray's nodes on this machine, started as its users start them; trials run on all but the head.

    Its token is its own, so that the test talks to no other cluster.
    """

    def __init__(self, folder):
        self._folder = folder
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.nodes = []
        self._head, output = self._start("--head", "--port=0", "--num-cpus=0", "--include-dashboard=false")
        self.address = wait_for(lambda: find_address(output), self._head)

    def _start(self, *options, hidden=()):
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        if hidden:
            user = [] if os.geteuid() == 0 else ["--map-root-user"]
            ray = ["unshare", "--mount", *user, "sh", "-c", HIDE, "sh", *ray]
        output = self._folder / f"node{len(self.nodes)}{options[0]}.txt".replace("/", "_")
        with output.open("w") as file:
            process = subprocess.Popen(
                ray,
                stdout=file,
                stderr=file,
                env=self.environment | {"HIDDEN": " ".join(map(str, hidden))},
                start_new_session=True,
            )
        return process, output

    def add_node(self, hidden=()):
        """Start a node with one core, for which some folders are empty and its own."""
        node, output = self._start(f"--address={self.address}", "--num-cpus=1", hidden=hidden)
        wait_for(lambda: "Ray runtime started" in output.read_text(), node)
        self.nodes.append(node)
        return node

    def kill(self, node):
        """Kill a node with its workers, as a machine that goes down does."""
        for pid in (node.pid, *descendants(node.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def stop(self):
        for node in (*self.nodes, self._head):
            self.kill(node)


def find_address(output):
    _, found, rest = output.read_text().partition("--address='")
    return rest.partition("'")[0] if found else None


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    cluster = Cluster(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, cluster.environment[name])
    yield cluster
    cluster.stop()


def start(cluster, tmp_path, *options, grid=EVERY_METHOD):
    run = Run(tmp_path, grid, tmp_path / "cache", ["--ray-address", cluster.address, "--jobs", "2", *options])
    return run, run.start()


def errors(tmp_path):
    return (tmp_path / "stderr.txt").read_text()


def can_hide():
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *user, "true"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_hide(), reason="this system does not let us hide folders from a process")
def test_nodes_share_no_folder_and_extract_their_features_once(cluster, tmp_path):
    hidden = [tmp_path / "cache", tmp_path / "runs"]
    for folder in hidden:
        folder.mkdir()
    nodes = [cluster.add_node(hidden) for _ in range(2)]
    # Methods that need the same features, so that each node extracts once, whatever runs on it.
    grid = ["--where", "tuning=lp", "--where", "method=ce,gce,elr"]
    run, process = start(cluster, tmp_path, *grid, "--seeds", "0-1")
    assert process.wait(600) == ExitCode.OK, errors(tmp_path)

    # Everything that the run has found is on the driver's disk, and nothing of it on the nodes'.
    records = run.records()
    assert len(records) == 6
    assert {str(record.status) for record in records.values()} == {"done"}
    assert not list((tmp_path / "cache").glob("features/*.npy"))
    caches = []
    for node in nodes:
        cache, runs = (Path(f"/proc/{node.pid}/root{folder}") for folder in hidden)
        assert not list(runs.iterdir())
        caches.append({path.name: path.stat().st_mtime_ns for path in cache.glob("features/*.npy")})
    assert caches[0].keys() == caches[1].keys()
    assert caches[0]
    # The first trial of each node pays for the features, and all others find them.
    assert len([record for record in records.values() if not record.times["features_shared"]]) == 2

    # A second grid of the same features extracts nothing.
    _, process = start(cluster, tmp_path, *grid, "--seeds", "2")
    assert process.wait(600) == ExitCode.OK, errors(tmp_path)
    later = [record for trial, record in run.records().items() if trial not in records]
    assert len(later) == 3
    assert all(record.times["features_shared"] for record in later)
    for node, before in zip(nodes, caches, strict=True):
        cache = Path(f"/proc/{node.pid}/root{tmp_path}/cache")
        assert {path.name: path.stat().st_mtime_ns for path in cache.glob("features/*.npy")} == before


def test_a_node_that_is_lost_takes_only_what_runs_on_it(cluster, tmp_path):
    nodes = [cluster.add_node() for _ in range(2)]
    checkpoints = tmp_path / "checkpoints"
    run, process = start(
        cluster,
        tmp_path,
        *("--checkpoints", str(checkpoints)),
        *("--where", "tuning=fft", "--where", "method=ce,gce,elr,turn"),
        grid=EVERY_METHOD.replace("epochs = 2", "epochs = 20"),
    )

    def in_flight():
        return {path.stem for path in checkpoints.glob("*.ckpt")} - run.records().keys()

    def in_early_epochs(trial):
        content = checkpoint.read(checkpoints / f"{trial}.ckpt")
        return not isinstance(content, Damaged) and content["state"]["epoch"] < 15

    wait_for(lambda: run.records() and sum(map(in_early_epochs, in_flight())) == 2, process)
    finished, running = run.records(), in_flight()
    cluster.kill(nodes[1])
    assert process.wait(600) == ExitCode.OK, errors(tmp_path)
    records = run.records()
    assert len(records) == 4
    assert {str(record.status) for record in records.values()} == {"done"}
    for trial, record in finished.items():  # those that were done are as they were
        assert records[trial] == record
    continued = {trial for trial, record in records.items() if record.execution["continued"]}
    assert len(continued) == 1
    assert continued <= running
    assert not in_flight()


DEADLY = '''
import os
import signal
import time

from lnlbench.api import Method, functional


class Deadly(Method):
    """Ends every node that it comes to."""

    def loss(self, batch):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
'''


# Without --checkpoints a trial starts anew on the next node, which is how this one comes to three.
def test_a_trial_that_ends_three_nodes_is_a_failure_and_the_others_finish(cluster, tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    for _ in range(4):
        cluster.add_node()
    grid = EVERY_METHOD.replace("epochs = 4", "epochs = 1")
    plugin = ["--plugin", "deadly.py:Deadly", "--set", "method=deadly,ce", "--where", "tuning=lp"]
    run, process = start(cluster, tmp_path, *plugin, grid=grid)
    assert process.wait(600) == ExitCode.INCOMPLETE, errors(tmp_path)
    by_method = {record.spec.method.name: record for record in run.records().values()}
    assert str(by_method["ce"].status) == "done"
    assert by_method["deadly"].error["type"] == "NodeDied"
    assert by_method["deadly"].error["message"] == "3 nodes were lost while they ran the trial."


def test_a_cluster_that_does_not_let_us_in_is_an_error_with_advice(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    _, process = start(cluster, tmp_path, "--where", "method=ce", "--where", "tuning=lp")
    assert process.wait(300) == ExitCode.USAGE
    assert f"The Ray cluster at {cluster.address} cannot be joined" in errors(tmp_path)
    assert "RAY_AUTH_TOKEN" in errors(tmp_path)
    assert "Traceback" not in errors(tmp_path)


def test_a_run_that_no_node_has_room_for_says_so_and_can_be_interrupted(cluster, tmp_path):
    cluster.add_node()
    _, process = start(cluster, tmp_path, "--cpus-per-trial", "64", "--gpus-per-trial", "1")
    wait_for(lambda: "no node of the cluster has 64 CPUs and 1 GPUs" in errors(tmp_path), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)  # nothing is saved without --checkpoints: once is enough
    assert process.wait(60) == ExitCode.INTERRUPTED, errors(tmp_path)
    assert "Traceback" not in errors(tmp_path)
