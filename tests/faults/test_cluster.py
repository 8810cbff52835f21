"""A run on several nodes: results come home without a shared folder, and a lost node loses little."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killable import EVERY_METHOD, Run, descendants

from lnlbench.errors import ExitCode

# Ray's own multi-node cluster on one machine; each node has a raylet, the parent of its workers.
NODE = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
print(cluster.address, flush=True)
for _ in range(2):
    node = cluster.add_node(num_cpus=1)
    print(node.all_processes["raylet"][0].process.pid, flush=True)
cluster.wait_for_nodes()
print("ready", flush=True)
for line in sys.stdin:
    pass
cluster.shutdown()
"""


@pytest.fixture
def cluster():
    """Start a head without cores and two nodes with one each; returns its address and their raylets."""
    process = subprocess.Popen(
        [sys.executable, "-c", NODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    lines = []
    while (line := process.stdout.readline().strip()) != "ready":
        assert line or process.poll() is None, "the cluster did not start"
        lines.append(line)
    numbers = [line for line in lines if line.isdigit()]
    address = next(line for line in lines if ":" in line and not line.isdigit())
    yield address, [int(number) for number in numbers]
    children = descendants(process.pid)
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
    for pid in children:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(600)
def test_a_node_that_is_lost_takes_nothing_with_it(cluster, tmp_path):
    address, raylets = cluster
    grid = EVERY_METHOD.replace("epochs = 3", "epochs = 6")
    options = [
        "--ray-address",
        address,
        "--jobs",
        "2",
        "--where",
        "tuning=fft",
        "--where",
        "method=ce,gce,elr,turn",
    ]
    run = Run(tmp_path, grid, tmp_path / "cache", options)
    process = run.start()
    deadline = time.monotonic() + 240
    while not run.records():  # both nodes have work by now
        assert process.poll() is None, (tmp_path / "stderr.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    finished = set(run.records())
    victim = raylets[1]
    for pid in (victim, *descendants(victim)):
        os.kill(pid, signal.SIGKILL)
    assert process.wait(400) == ExitCode.OK, (tmp_path / "stderr.txt").read_text()
    records = run.records()
    assert len(records) == 4
    assert finished <= records.keys()
    assert {str(record.status) for record in records.values()} == {"done"}
    assert not run.checkpoints()
