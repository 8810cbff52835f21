"""A trial that does harm to those that it is trained together with: they finish, and it fails alone."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tiny_run import Tiny, end, wait_for

from lnlbench.errors import ExitCode

PLUGIN = '''
import os
import time
from pathlib import Path

from lnlbench.api import Method


class Deadly(Method):
    """Ends its process, together with others or by itself."""

    def loss(self, batch):
        os._exit(3)

    @staticmethod
    def head_losses(heads: Method.Heads, logits, batch):
        os._exit(3)


class Slow(Method):
    """Takes its time, so that something can happen meanwhile."""

    @staticmethod
    def head_losses(heads: Method.Heads, logits, batch):
        Path("begun").touch()
        time.sleep(0.2)
        return -heads.log_probabilities(logits, batch.labels).mean(1)

    def loss(self, batch):
        raise NotImplementedError
'''


@pytest.fixture
def plugin(tiny: Tiny) -> Tiny:
    Path("harm.py").write_text(PLUGIN)
    return tiny


def test_a_process_that_ends_takes_no_other_trial_along(plugin: Tiny) -> None:
    own = ["--plugin", "./harm.py:Deadly", "--set", "method=ce,gce,elr,deadly"]
    code, _, err = plugin.run("--batched", *own, executor="ray")
    assert code == ExitCode.INCOMPLETE
    assert "A process that trained 4 trials together has ended; 4 of them run one by one." in err
    frame = plugin.frame()
    assert frame["status"].to_dict() == {"ce": "done", "gce": "done", "elr": "done", "deadly": "failed"}
    assert frame.loc["deadly", "error"].startswith("WorkerDied")
    assert frame["batched"].isna().all()


def test_a_limit_holds_for_as_many_trials_as_there_are(plugin: Tiny) -> None:
    own = ["--plugin", "./harm.py:Slow", "--set", "method=ce,slow", "--set", "lp.batch_size=8"]
    code, _, err = plugin.run("--batched", *own, "--trial-timeout", "1", executor="ray")
    assert code == ExitCode.INCOMPLETE
    assert "2 trials together has ended; 2 of them run one by one." in err
    assert "failed" in set(plugin.frame()["status"])


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_ctrl_c_saves_all_and_the_same_command_continues(plugin: Tiny, executor: str) -> None:
    own = ["--batched", "--plugin", "./harm.py:Slow", "--set", "method=ce,elr,slow", "--set", "lp.epochs=4"]
    process = plugin.start(*own, executor=executor)
    try:
        wait_for(lambda: Path("begun").exists(), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    finally:
        end(process)
    assert process.returncode == ExitCode.INTERRUPTED
    assert len(list(plugin.out.glob("checkpoints/*.ckpt"))) == 3
    code, _, err = plugin.run(*own, executor=executor)
    assert code == ExitCode.OK, err
    frame = plugin.frame()
    assert frame["batched"].to_dict() == {"ce": 3, "elr": 3, "slow": 3}
